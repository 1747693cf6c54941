"""`deployer rollback`."""

import click

from deployer.cli import completing, options, output, show
from deployer.paths import home


@click.command()
@click.argument("words", metavar="[N] [NAME]", nargs=-1, shell_complete=completing.deployment)
@options.assume_yes
@options.dry_run
@options.verbose
@options.as_json
def command(*, words: tuple[str, ...], yes: bool, dry_run: bool, verbose: bool, as_json: bool) -> None:
    """Serve again with an earlier healthy release: N, or the newest one before the current that has another plan."""
    from deployer.workflow import lifecycle, serving

    del yes
    number, name = _number_and_name(words)
    if dry_run:
        target = lifecycle.rollback_target(home(), name, number)
        click.echo(f"would serve release {target.number} of {target.name} again", err=True)
        if as_json:
            would = {"name": target.name, "changed": False, "release": target.number}
            output.document({"format_version": 1, "dry_run": True, **would})
        return
    report = output.Progress(quiet=as_json, verbose=verbose)
    outcome = lifecycle.rollback(home(), name, number, serving.Options(), report)
    output.document(outcome) if as_json else show.outcome(outcome)


def _number_and_name(words: tuple[str, ...]) -> tuple[int | None, str | None]:
    numbers = [word for word in words if word.isdecimal()]
    names = [word for word in words if not word.isdecimal()]
    if len(numbers) > 1 or len(names) > 1:
        raise click.UsageError("at most one release number and one deployment name")
    return (int(numbers[0]) if numbers else None), (names[0] if names else None)
