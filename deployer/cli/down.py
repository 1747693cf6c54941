"""`deployer down`."""

import click

from deployer.cli import options, output
from deployer.paths import home


@click.command()
@click.argument("name", required=False)
@options.assume_yes
@options.dry_run
@options.as_json
def command(*, name: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Stop and remove a deployment's server. Its releases, key, model and verified image stay."""
    from deployer.workflow import lifecycle

    del yes
    deployment = lifecycle.chosen(home(), name)
    if dry_run:
        click.echo(f"would stop {deployment}", err=True)
        return
    stopped = lifecycle.down(home(), deployment, output.Progress(quiet=as_json))
    if as_json:
        output.document({"format_version": 1, "name": deployment, "changed": stopped})
