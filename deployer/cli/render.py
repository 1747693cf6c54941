"""`deployer render`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import completing, options, output
from deployer.paths import home

if TYPE_CHECKING:
    from deployer.workflow.rendering import Written


@click.command()
@click.argument("words", metavar="MODEL|PLAN", nargs=-1, shell_complete=completing.model)
@options.declared
@options.request_options
@options.host_file
@click.option("--target", type=options.OneOf(["compose"]), default="compose", show_default=True, help="Kind of files.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to (default: ./NAME)."
)
@click.option("--monitoring", is_flag=True, help="Prometheus and Grafana too, with a dashboard for the engine.")
@options.assume_yes
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
    yes: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the files that `up` would use, for review, and the plan as plan.json; nothing else is touched.

    Files of another deployment in that folder are replaced after a yes.
    """
    del target
    agree = None if yes else _agree
    if file is not None:
        if monitoring:
            raise click.UsageError("--monitoring is for one deployment; leave --file away", ctx)
        from deployer.cli import several

        wish = several.wish(ctx, file, words, flags, look=host_file is None)
        done = several.render(wish, directory, host_file=host_file, agree=agree)
    else:
        from deployer.workflow import rendering

        wanted = options.target(ctx, options.one(ctx, words, "MODEL|PLAN"), flags)
        done = rendering.render_to(wanted, home(), directory, host_file=host_file, monitoring=monitoring, agree=agree)
    _say(done, as_json=as_json)


def _agree(why: str) -> None:
    click.echo(output.printable(why), err=True)
    output.confirm("Replace them?", "choose another folder with --dir DIR, or add --yes")


def _say(done: "Written", *, as_json: bool) -> None:
    output.lines((f"removed {path}" for path in done.removed), err=True)
    output.lines((f"! {note}" for note in done.notes), err=True)
    if as_json:
        files, removed = ([str(path) for path in paths] for paths in (done.files, done.removed))
        output.document({"format_version": 1, "files": files, "removed": removed})
        return
    for path in done.files:
        click.echo(str(path))
