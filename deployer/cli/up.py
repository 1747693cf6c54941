"""`deployer up`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from deployer.cli import completing, options, output, show
from deployer.paths import home
from deployer.types import Plan, Request
from deployer.types.several import SeveralPlans


@click.command()
@click.argument("words", metavar="MODEL|PLAN", nargs=-1, shell_complete=completing.model)
@options.declared
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
    words: tuple[str, ...],
    file: Path | None,
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
    from deployer.workflow import serving

    wishes = serving.Options(timeout_s=timeout, allow_build=not no_build)
    how = _How(yes=yes, dry_run=dry_run, verbose=verbose, as_json=as_json)
    if file is not None:
        from deployer.cli import several

        again = f"deployer up {options.retold_file(ctx, file, words)} --yes"
        _several(several.wish(ctx, file, words, flags, look=True), again, wishes, how)
    else:
        _one(ctx, options.one(ctx, words, "MODEL|PLAN"), flags, wishes, how)


class _How(msgspec.Struct, frozen=True):
    """How it is asked and told."""

    yes: bool
    dry_run: bool
    verbose: bool
    as_json: bool


def _one(ctx: click.Context, target_name: str, flags: dict[str, Any], wishes: Any, how: _How) -> None:
    from deployer.workflow import bring_up

    target = options.target(ctx, target_name, flags)
    again = f"deployer up {options.retold(ctx, target_name)} --yes"
    if how.dry_run or not (how.yes or isinstance(target, Plan)):
        _would(_show(target, following=again, as_json=how.as_json), how)
    if how.dry_run:
        return
    if not how.yes and not isinstance(target, Plan):
        output.confirm("Bring it up?", f"add --yes, or bring up a saved plan: {again}")
    report = output.Progress(quiet=how.as_json, verbose=how.verbose)
    outcome = bring_up.up(target, home(), wishes, report)
    output.document(outcome) if how.as_json else show.outcome(outcome)


def _several(asked: Any, again: str, wishes: Any, how: _How) -> None:
    from deployer.cli import several
    from deployer.workflow import several as together

    if how.dry_run or not how.yes:
        made = together.plan(asked, home())
        several.plans(made, following=again, err=how.as_json)
        _would(made, how)
    if how.dry_run:
        return
    if not how.yes:
        output.confirm("Bring them up?", f"add --yes: {again}")
    several.up(asked, wishes, as_json=how.as_json, verbose=how.verbose)


def _show(target: Request | Plan, *, following: str, as_json: bool) -> Plan:
    """The plan that would be brought up, shown; a saved plan is also held against this host."""
    from deployer.workflow import planning, staleness

    if isinstance(target, Plan):
        staleness.check(target, home())
    made = target if isinstance(target, Plan) else planning.plan(target, home(), keep=True)
    show.plan(made, following=following, err=as_json)
    return made


def _would(made: Plan | SeveralPlans, how: _How) -> None:
    """The document of a dry run: the plan is that of `plan --json`, with `-f` that of `plan -f --json`."""
    if how.dry_run and how.as_json:
        output.document({"format_version": 1, "dry_run": True, "changed": False, "plan": made})
