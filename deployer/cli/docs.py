"""`deployer docs`."""

import click


@click.command()
@click.argument("engine")
def command(*, engine: str) -> None:
    """What we know of ENGINE: its profile with its comments and the source of each fact."""
    from deployer import catalog

    click.echo_via_pager(catalog.engine_text(engine))
