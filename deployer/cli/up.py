"""`deployer up`."""

import sys
from typing import Any

import click

from deployer.cli import options, output, show
from deployer.errors import PreconditionError
from deployer.paths import home
from deployer.types import Plan, Request


@click.command()
@click.argument("target_name", metavar="[MODEL|PLAN]")
@options.request_options
@click.option(
    "--timeout", type=click.FloatRange(min=1), help="Seconds to wait until it answers (default: from its size)."
)
@click.option("--no-build", is_flag=True, help="Never build an image.")
@options.assume_yes
@options.dry_run
@options.verbose
@options.as_json
def command(
    *,
    target_name: str,
    timeout: float | None,
    no_build: bool,
    yes: bool,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Bring a model up: plan if needed, fetch, start, verify that it answers, remember what worked.

    A saved plan needs no question; a model is planned, shown and asked about first, unless --yes.
    """
    from deployer.workflow import bring_up, serving

    target = options.target(target_name, flags)
    if not isinstance(target, Plan) and (dry_run or not yes):
        _show(target, as_json=as_json)
    if dry_run:
        return
    if not yes and not isinstance(target, Plan):
        _confirm()
    report = output.Progress(quiet=as_json, verbose=verbose)
    wishes = serving.Options(timeout_s=timeout, allow_build=not no_build)
    outcome = bring_up.up(target, home(), wishes, report)
    output.document(outcome) if as_json else show.outcome(outcome)


def _show(request: Request, *, as_json: bool) -> None:
    from deployer.workflow import planning

    show.plan(planning.plan(request, home()), err=as_json)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise PreconditionError("there is no terminal to ask for a yes", hint="add --yes, or bring up a saved plan")
    click.confirm("Bring it up?", abort=True, err=True)
