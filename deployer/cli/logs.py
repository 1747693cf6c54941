"""`deployer logs`."""

import click

from deployer.cli import completing
from deployer.paths import home


@click.command()
@click.argument("name", required=False, shell_complete=completing.deployment)
@click.option("-f", "--follow", is_flag=True, help="Go on as new lines come.")
@click.option("--tail", type=click.IntRange(0), default=200, show_default=True, help="Lines from the end.")
def command(*, name: str | None, follow: bool, tail: int) -> None:
    """The engine's own log."""
    from deployer.workflow import lifecycle

    lifecycle.logs(home(), name, tail=tail, follow=follow, on_line=click.echo)
