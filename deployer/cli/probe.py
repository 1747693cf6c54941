"""`deployer probe`."""

import click

from deployer.cli import options, output, show
from deployer.paths import home


@click.command()
@options.as_json
@click.option("--refresh", is_flag=True, help="Ask the host again (it always is asked; kept for scripts).")
def command(*, as_json: bool, refresh: bool) -> None:
    """What is true of this host. `probe --json > host.json` makes a file for `plan --host`."""
    from deployer.workflow import planning

    del refresh
    facts = planning.probe(home())
    if as_json:
        output.document(facts)
    else:
        show.host(facts)
