"""When a start fails: nothing half-started stays, and what served before serves again."""

import msgspec

from deployer import ledger
from deployer.errors import DeployerError, NotServingError, RolledBackError
from deployer.paths import Home
from deployer.types import Release
from deployer.workflow import running, serving
from deployer.workflow.report import Reporter


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change under way: the new release, and the one that served before it."""

    release: Release
    previous: Release | None
    was_serving: bool
    home: Home
    options: serving.Options
    report: Reporter


def undo(change: Change, error: BaseException) -> BaseException:
    """Remove the new release, bring the old one back, and return the error that says which of the two happened."""
    plan = ledger.read_plan(change.home, change.release)
    running.stop(plan, change.home, change.report)
    ledger.mark(change.home, change.release, "failed", message=str(error) or type(error).__name__)
    restored = _restore(change)
    return _verdict(change, error, restored=restored) if isinstance(error, DeployerError) else error


def _restore(change: Change) -> bool:
    previous = change.previous
    if previous is None or not change.was_serving:
        return False
    change.report.note(f"bringing release {previous.number} back")
    plan = ledger.read_plan(change.home, previous)
    try:
        serving.serve(plan, previous, change.home, change.options, change.report)
    except DeployerError as error:
        change.report.note(f"release {previous.number} did not come back either: {error.message}")
        running.stop(plan, change.home, change.report)
        return False
    return True


def _verdict(change: Change, error: DeployerError, *, restored: bool) -> DeployerError:
    kind: type[DeployerError] = RolledBackError if restored else NotServingError
    number = change.previous.number if change.previous else None
    tail = f"release {number} serves again" if restored else "nothing is serving"
    return kind(
        f"release {change.release.number} of {change.release.name} did not start: {error.message}; {tail}",
        hint=error.hint,
        details={**error.details, "cause": error.message, "release": change.release.number, "serving": restored},
    )
