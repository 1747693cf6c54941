"""`deployer rollback`."""

import click

from deployer.cli import options, output, show
from deployer.paths import home


@click.command()
@click.argument("number", type=int, required=False)
@click.option("--name", help="Which deployment, when there are several.")
@options.assume_yes
@options.dry_run
@options.verbose
@options.as_json
def command(*, number: int | None, name: str | None, yes: bool, dry_run: bool, verbose: bool, as_json: bool) -> None:
    """Serve again with an earlier healthy release (the newest one before the current, or NUMBER)."""
    from deployer.workflow import lifecycle, serving

    del yes
    if dry_run:
        target = lifecycle.rollback_target(home(), name, number)
        click.echo(f"would serve release {target.number} of {target.name} again", err=True)
        return
    report = output.Progress(quiet=as_json, verbose=verbose)
    outcome = lifecycle.rollback(home(), name, number, serving.Options(), report)
    if as_json:
        output.document(outcome)
    else:
        show.outcome(outcome)
