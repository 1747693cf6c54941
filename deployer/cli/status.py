"""`deployer status`."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from deployer.cli import completing, options, output, show_status
from deployer.paths import home
from deployer.types.several import Overview


@click.command()
@click.argument("names", metavar="[NAME]", nargs=-1, shell_complete=completing.deployment)
@options.declared
@click.option("-w", "--watch", "again", is_flag=True, help="Ask again and again, until Ctrl-C.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between two looks."
)
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    names: tuple[str, ...],
    file: Path | None,
    again: bool,
    interval: float,
    as_json: bool,
) -> None:
    """What runs, and whether it answers; with --watch or --json also its memory, speed and requests.

    The gateway before several deployments is `gateway`.
    """
    if file is not None:
        if again:
            raise click.UsageError("--watch shows what runs here; leave --file away", ctx)
        from deployer.cli import several

        show(several.state(several.wish(ctx, file, names)), as_json=as_json)
        return
    name = options.one(ctx, names, "NAME") if names else None
    if again:
        watch(name, interval, as_json=as_json)
        return
    from deployer.workflow import overview

    show(overview.look(home(), name, metrics=as_json), as_json=as_json)


def show(found: Overview, *, as_json: bool) -> None:
    """The table and the gateway, or the document."""
    if as_json:
        output.document(found)
        return
    if not found.deployments and found.gateway is None:
        click.echo("nothing is deployed; start with: deployer plan MODEL", err=True)
        return
    if found.deployments:
        output.table(show_status.HEADER, [show_status.cells(row) for row in found.deployments])
    if found.gateway is not None:
        output.lines(show_status.gateway(found.gateway))


def watch(name: str | None, interval_s: float, *, as_json: bool) -> None:
    """Show it until Ctrl-C, which is how it ends: a table on a terminal, else a line for each deployment and look."""
    from deployer.workflow import watching

    looks = watching.watch(home(), name, interval_s)
    try:
        if as_json:
            for found in looks:
                output.document_line({"at": _now(), **msgspec.to_builtins(found)})
        elif sys.stdout.isatty():
            _on_screen(looks)
        else:
            for found in looks:
                _lines(found)
    except KeyboardInterrupt:
        return


def _on_screen(looks: Iterator[Overview]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as screen:
        for found in looks:
            page = show_status.page(found, screen.console.width)
            screen.update(Text("\n".join(page)), refresh=True)


def _lines(found: Overview) -> None:
    for row in found.deployments:
        click.echo(show_status.line(row, _now()))
    if found.gateway is not None:
        click.echo(show_status.gateway_line(found.gateway, _now()))
    if not found.deployments and found.gateway is None:
        click.echo(f"{_now()} nothing is deployed")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
