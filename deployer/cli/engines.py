"""`deployer engines`."""

from pathlib import Path

import click

from deployer.cli import options, output, show
from deployer.paths import home


@click.command()
@options.host_file
@options.as_json
def command(*, host_file: Path | None, as_json: bool) -> None:
    """Every engine and image against this host: can or cannot run, why, and what would change it."""
    from deployer.workflow import planning

    verdicts = planning.engines(home(), host_file)
    if as_json:
        output.document({"format_version": 1, "engines": verdicts})
    else:
        show.verdicts(verdicts)
