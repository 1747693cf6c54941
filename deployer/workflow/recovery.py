"""When a start fails: nothing half-started stays, and what served before serves again."""

import msgspec

from deployer import ledger
from deployer.errors import DeployerError, InterruptedByUserError, NotServingError, RolledBackError
from deployer.paths import Home
from deployer.types import Plan, Release
from deployer.workflow import running, serving
from deployer.workflow.report import Reporter

UNPROVED_S = 10.0
"""What never passed the gate serves nobody whose answer would have to be waited for; and what hangs does not end."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change under way: the new release, the one that is meant to serve, and what was running and is stopped."""

    release: Release
    previous: Release | None
    stopped: Plan | None
    home: Home
    options: serving.Options
    report: Reporter


def close(home: Home, name: str) -> None:
    """Mark what an `up` that was killed left `pending`. Under the host's lock nobody is at work on it any more."""
    for release in ledger.history(home, name):
        if release.status == "pending" and release.message is None:
            ledger.mark(home, release, "failed", message="cut off before it was verified")


def undo(change: Change, error: BaseException) -> BaseException:
    """Remove the new release, bring the old one back, and return the error that says which of the two happened."""
    plan = ledger.read_plan(change.home, change.release)
    running.stop(plan, change.home, change.report, timeout_s=UNPROVED_S)
    interrupted = isinstance(error, (KeyboardInterrupt, InterruptedByUserError))
    reason = "interrupted" if interrupted else str(error) or type(error).__name__
    ledger.mark(change.home, change.release, "failed", message=reason)
    restored = _restore(change)
    if interrupted:
        return _interruption(change, error, restored=restored)
    return _verdict(change, error, restored=restored) if isinstance(error, DeployerError) else error


def _restore(change: Change) -> bool:
    previous = change.previous
    if previous is None or change.stopped is None:
        return False
    change.report.note(f"bringing release {previous.number} back")
    plan = ledger.read_plan(change.home, previous)
    try:
        serving.serve(plan, previous, change.home, change.options, change.report)
    except DeployerError as error:
        change.report.note(f"release {previous.number} did not come back either: {error.message}")
        running.stop(plan, change.home, change.report, timeout_s=UNPROVED_S)
        return False
    return True


def _now(change: Change, *, restored: bool) -> str:
    return f"release {change.previous.number} serves again" if restored and change.previous else "nothing is serving"


def _interruption(change: Change, error: BaseException, *, restored: bool) -> InterruptedByUserError:
    said = InterruptedByUserError(f"interrupted; {_now(change, restored=restored)}", hint="deployer status")
    said.exit_code = error.exit_code if isinstance(error, InterruptedByUserError) else said.exit_code
    return said


def _verdict(change: Change, error: DeployerError, *, restored: bool) -> DeployerError:
    kind: type[DeployerError] = RolledBackError if restored else NotServingError
    release = change.release
    return kind(
        f"release {release.number} of {release.name} did not start: {error.message}; {_now(change, restored=restored)}",
        hint=error.hint,
        details={**error.details, "cause": error.message, "release": release.number, "serving": restored},
    )
