"""`deployer status`."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from deployer.cli import options, output, show_status
from deployer.paths import home
from deployer.types import Row


@click.command()
@click.argument("names", metavar="[NAME]", nargs=-1)
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
    """What runs, and whether it answers; with --watch or --json also its memory, speed and requests."""
    if file is not None:
        if again:
            raise click.UsageError("--watch shows what runs here; leave --file away", ctx)
        from deployer.cli import several

        several.state(several.wish(ctx, file, names), as_json=as_json)
        return
    name = options.one(ctx, names, "NAME") if names else None
    if again:
        watch(name, interval, as_json=as_json)
        return
    from deployer.workflow import lifecycle

    rows(lifecycle.status(home(), name, metrics=as_json), as_json=as_json)


def rows(found: Sequence[Row], *, as_json: bool, **more: object) -> None:
    """The table, or its document with `more` in it."""
    if as_json:
        output.document({"format_version": 1, "deployments": found, **more})
        return
    if not found:
        click.echo("nothing is deployed; start with: deployer plan MODEL", err=True)
        return
    output.table(show_status.HEADER, [show_status.cells(row) for row in found])


def watch(name: str | None, interval_s: float, *, as_json: bool) -> None:
    """Show it until Ctrl-C, which is how it ends: a table on a terminal, else a line for each deployment and look."""
    from deployer.workflow import watching

    looks = watching.watch(home(), name, interval_s)
    try:
        if as_json:
            for found in looks:
                output.document_line({"format_version": 1, "at": _now(), "deployments": found})
        elif sys.stdout.isatty():
            _on_screen(looks)
        else:
            for found in looks:
                _lines(found)
    except KeyboardInterrupt:
        return


def _on_screen(looks: Iterator[tuple[Row, ...]]) -> None:
    from rich.live import Live

    with Live(auto_refresh=False) as screen:
        for found in looks:
            screen.update(show_status.watched_table(found), refresh=True)


def _lines(found: Sequence[Row]) -> None:
    for row in found:
        click.echo(show_status.line(row, _now()))
    if not found:
        click.echo(f"{_now()} nothing is deployed")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
