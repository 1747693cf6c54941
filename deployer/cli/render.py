"""`deployer render`."""

from pathlib import Path
from typing import Any

import click

from deployer.cli import options, output
from deployer.paths import home


@click.command()
@click.argument("words", metavar="MODEL|PLAN", nargs=-1)
@options.declared
@options.request_options
@options.host_file
@click.option("--target", type=click.Choice(["compose"]), default="compose", show_default=True, help="Kind of files.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to (default: ./NAME)."
)
@click.option("--monitoring", is_flag=True, help="Prometheus and Grafana too, with a dashboard for the engine.")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    words: tuple[str, ...],
    file: Path | None,
    host_file: Path | None,
    target: str,
    directory: Path | None,
    monitoring: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the files that `up` would use, for review."""
    del target
    written: tuple[Path, ...]
    if file is not None:
        if monitoring:
            raise click.UsageError("--monitoring is for one deployment; leave --file away", ctx)
        from deployer.cli import several

        written = several.render(several.wish(ctx, file, words, flags), directory, host_file=host_file)
    else:
        from deployer.workflow import review

        wanted = options.target(ctx, options.one(ctx, words, "MODEL|PLAN"), flags)
        written = review.render_to(wanted, home(), directory, host_file=host_file, monitoring=monitoring)
    if as_json:
        output.document({"format_version": 1, "files": [str(path) for path in written]})
        return
    for path in written:
        click.echo(str(path))
