"""`deployer up`."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from deployer.cli import options, output, show
from deployer.errors import PreconditionError
from deployer.paths import home
from deployer.types import Plan, Request


@click.command()
@click.argument("words", metavar="MODEL|PLAN", nargs=-1)
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

        _several(several.wish(ctx, file, words, flags), file, wishes, how)
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
    if how.dry_run or not (how.yes or isinstance(target, Plan)):
        _show(target, following=f"deployer up {options.retold(ctx, target_name)} --yes", as_json=how.as_json)
    if how.dry_run:
        return
    if not how.yes and not isinstance(target, Plan):
        _confirm()
    report = output.Progress(quiet=how.as_json, verbose=how.verbose)
    outcome = bring_up.up(target, home(), wishes, report)
    output.document(outcome) if how.as_json else show.outcome(outcome)


def _several(asked: Any, file: Path, wishes: Any, how: _How) -> None:
    from deployer.cli import several
    from deployer.workflow import several as together

    if how.dry_run or not how.yes:
        following = f"deployer up -f {file} --yes"
        several.plans(together.plan(asked, home()), following=following, err=how.as_json)
    if how.dry_run:
        return
    if not how.yes:
        _confirm("Bring them up?")
    several.up(asked, wishes, as_json=how.as_json, verbose=how.verbose)


def _show(target: Request | Plan, *, following: str, as_json: bool) -> None:
    """What would be brought up; a saved plan is also held against this host."""
    from deployer.workflow import planning, staleness

    if isinstance(target, Plan):
        staleness.check(target, home())
    made = target if isinstance(target, Plan) else planning.plan(target, home(), keep=True)
    show.plan(made, following=following, err=as_json)


def _confirm(question: str = "Bring it up?") -> None:
    if not sys.stdin.isatty():
        raise PreconditionError("there is no terminal to ask for a yes", hint="add --yes, or bring up a saved plan")
    click.confirm(question, abort=True, err=True)
