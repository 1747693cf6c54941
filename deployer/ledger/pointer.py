"""Which release serves, and which may go: `deployments/<name>/current` is a link replaced by one rename."""

import contextlib
from pathlib import Path

from deployer.errors import BadInputError, StateError
from deployer.ledger.files import remove_tree, state_errors, sync_folder, unique
from deployer.ledger.names import checked_name
from deployer.ledger.releases import folder, history, mark, numbers, read_plan, read_release
from deployer.paths import Home
from deployer.types import Plan, Release

KEEP = 10
KEEP_GOOD = 2
_GONE = ".gone-"


def current(home: Home, name: str) -> Release | None:
    """Return the release that is meant to serve; whether it runs is for the runtime to say.

    Where the link is lost or leads nowhere, the newest healthy release; None where there is none.
    """
    number = _linked(home, name)
    if number is not None:
        with contextlib.suppress(BadInputError):
            return read_release(home, name, number)
    return next((release for release in history(home, name) if release.status == "healthy"), None)


def current_plan(home: Home, name: str) -> Plan | None:
    """Return the plan of the current release; None where there is none. StateError when it cannot be read."""
    release = current(home, name)
    return None if release is None else read_plan(home, release)


def known_plan(home: Home, name: str) -> Plan | None:
    """Return the plan of the current release, or of the newest attempt where none was ever healthy; None without any.

    A plan that cannot be read counts as none: what runs can still be found and stopped by its label.
    """
    release = current(home, name)
    candidates = [release] if release is not None else list(history(home, name))
    for candidate in candidates:
        with contextlib.suppress(StateError):
            return read_plan(home, candidate)
    return None


def make_current(home: Home, release: Release) -> None:
    """Point `current` at a release: a reader sees the old one or the new one, never none.

    The one before it, if healthy, becomes superseded, and releases older than the retention go. BadInputError when
    the release does not exist, StateError when the link cannot be replaced.
    """
    folder(home, release)
    before = current(home, release.name)
    _link(home.deployments / release.name, release.number)
    if before is not None and before.number != release.number and before.status == "healthy":
        mark(home, before, "superseded")
    with contextlib.suppress(StateError):
        prune(home, release.name)


def prune(home: Home, name: str, keep: int = KEEP) -> tuple[int, ...]:
    """Remove old releases and return their numbers.

    Never removed: the newest `keep`, the current one, any `pending` one, and the two newest that were once healthy.
    """
    every = history(home, name)
    serving = current(home, name)
    good = [release.number for release in every if release.status in {"healthy", "superseded", "stopped"}][:KEEP_GOOD]
    safe = {*numbers(home, name)[: max(keep, 1)], *good, serving.number if serving else 0}
    safe |= {release.number for release in every if release.status == "pending"}
    gone = tuple(release.number for release in every if release.number not in safe)
    for left_by_a_crash in (home.deployments / name / "releases").glob(f"{_GONE}*"):
        remove_tree(left_by_a_crash)
    for number in gone:
        _remove(home.deployments / name / "releases" / str(number))
    return gone


def _link(root: Path, number: int) -> None:
    with state_errors("point", root / "current"):
        fresh = root / f".current-{unique()}"
        fresh.symlink_to(Path("releases") / str(number))
        try:
            fresh.replace(root / "current")
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync_folder(root)


def _remove(there: Path) -> None:
    """Hide it by one rename first, so that a half-removed release is never seen."""
    hidden = there.with_name(f"{_GONE}{there.name}-{unique()}")
    with state_errors("remove", there):
        there.rename(hidden)
    remove_tree(hidden)


def _linked(home: Home, name: str) -> int | None:
    try:
        last = (home.deployments / checked_name(name) / "current").readlink().name
    except OSError:
        return None
    return int(last) if last.isascii() and last.isdigit() else None
