"""`deployer down`."""

from pathlib import Path

import click

from deployer.cli import completing, options, output
from deployer.paths import home


@click.command()
@click.argument("names", metavar="[NAME]", nargs=-1, shell_complete=completing.deployment)
@options.declared
@options.assume_yes
@options.dry_run
@options.as_json
@click.pass_context
def command(
    ctx: click.Context, /, *, names: tuple[str, ...], file: Path | None, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Stop and remove a deployment's server. Its releases, key, model and verified image stay.

    A server that was adopted is only forgotten. `gateway` is the gateway before several deployments.
    """
    del yes
    if file is not None:
        from deployer.cli import several

        several.down(several.wish(ctx, file, names), dry_run=dry_run, as_json=as_json)
        return
    from deployer.workflow import lifecycle

    deployment = lifecycle.chosen(home(), options.one(ctx, names, "NAME") if names else None)
    if dry_run:
        would = "forget" if lifecycle.is_adopted(home(), deployment) else "stop"
        click.echo(f"would {would} {deployment}", err=True)
        if as_json:
            done = {"name": deployment, "changed": False, "would": would}
            output.document({"format_version": 1, "dry_run": True, **done})
        return
    stopped = lifecycle.down(home(), deployment, output.Progress(quiet=as_json))
    if as_json:
        output.document({"format_version": 1, "name": deployment, "changed": stopped})
