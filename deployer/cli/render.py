"""`deployer render`."""

from pathlib import Path
from typing import Any

import click

from deployer.cli import options, output
from deployer.paths import home


@click.command()
@click.argument("target_name", metavar="MODEL|PLAN")
@options.request_options
@options.host_file
@click.option("--target", type=click.Choice(["compose"]), default="compose", show_default=True, help="Kind of files.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to (default: ./NAME)."
)
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    target_name: str,
    host_file: Path | None,
    target: str,
    directory: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the files that `up` would use, for review."""
    from deployer.workflow import review

    del target
    written = review.render_to(options.target(ctx, target_name, flags), home(), directory, host_file=host_file)
    if as_json:
        output.document({"format_version": 1, "files": [str(path) for path in written]})
        return
    for path in written:
        click.echo(str(path))
