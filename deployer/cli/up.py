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
@click.pass_context
def command(
    ctx: click.Context,
    /,
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

    target = options.target(ctx, target_name, flags)
    if dry_run or not (yes or isinstance(target, Plan)):
        _show(target, following=f"deployer up {options.retold(ctx, target_name)} --yes", as_json=as_json)
    if dry_run:
        return
    if not yes and not isinstance(target, Plan):
        _confirm()
    report = output.Progress(quiet=as_json, verbose=verbose)
    wishes = serving.Options(timeout_s=timeout, allow_build=not no_build)
    outcome = bring_up.up(target, home(), wishes, report)
    output.document(outcome) if as_json else show.outcome(outcome)


def _show(target: Request | Plan, *, following: str, as_json: bool) -> None:
    """What would be brought up; a saved plan is also held against this host."""
    from deployer.workflow import planning, staleness

    if isinstance(target, Plan):
        staleness.check(target, home())
    made = target if isinstance(target, Plan) else planning.plan(target, home())
    show.plan(made, following=following, err=as_json)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise PreconditionError("there is no terminal to ask for a yes", hint="add --yes, or bring up a saved plan")
    click.confirm("Bring it up?", abort=True, err=True)
