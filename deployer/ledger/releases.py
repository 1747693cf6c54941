"""Releases: numbered folders `deployments/<name>/releases/<n>/` that never change but for their record.

A folder is filled under a hidden name and renamed when it is whole, so a release is complete or is not there. The
files can be brought up by hand with plain `docker compose up`: they are readable, and no secret is among them.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, StateError
from deployer.ledger.files import (
    atomic_write,
    encode,
    load,
    make_folder,
    read,
    remove_tree,
    state_errors,
    sync_folder,
    unique,
    write_new,
)
from deployer.ledger.names import check_file_name, checked_name, is_alive, now, whoami
from deployer.paths import Home
from deployer.types import Bundle, HealthReport, Observation, Plan, Release, ReleaseStatus

PLAN_FILE = "plan.json"
RECORD_FILE = "release.json"
_RESERVED = frozenset({PLAN_FILE, RECORD_FILE})
_DRAFT = ".new-"
_MAX_DIGITS = 9


def create(home: Home, plan: Plan, bundle: Bundle, message: str | None = None) -> Release:
    """Write the next release of the plan's name, status `pending`; its number is never used again.

    Safe for writers at the same time, though the caller normally holds the host's lock. BadInputError for a bad name,
    StateError when the state folder cannot be written; nothing is then left behind.
    """
    files = {check_file_name(file): text for file, text in bundle.files.items()}
    if taken := sorted(_RESERVED & files.keys()):
        raise BadInputError(f"a bundle cannot hold a file named {taken[0]}", hint="name it otherwise")
    root = home.deployments / checked_name(plan.name)
    parent = make_folder(root / "releases")
    with state_errors("write a release in", parent):
        _clear_abandoned(parent)
        draft = parent / f"{_DRAFT}{unique()}"
        draft.mkdir()
        try:
            draft.chmod(0o755)
            _fill(draft, {PLAN_FILE: encode(plan)} | {file: text.encode() for file, text in files.items()})
            release = _publish(draft, parent, _last_number(root) + 1, _record(plan, message))
        except BaseException:
            remove_tree(draft)
            raise
    atomic_write(root / "last-number", f"{release.number}\n".encode(), mode=0o644)
    return release


def mark(
    home: Home,
    release: Release,
    status: ReleaseStatus,
    *,
    message: str | None = None,
    health: HealthReport | None = None,
    measured: Observation | None = None,
) -> Release:
    """Rewrite the record of a release; what is given as None stays as it is. Raises as `read_release`."""
    kept = read_release(home, release.name, release.number)
    marked = msgspec.structs.replace(
        kept,
        status=status,
        message=message or kept.message,
        health=health or kept.health,
        measured=measured or kept.measured,
    )
    atomic_write(folder(home, release) / RECORD_FILE, encode(marked), mode=0o644)
    return marked


def read_release(home: Home, name: str, number: int) -> Release:
    """Read one release.

    A lost or damaged record is made again from the plan, as `pending` with a message: its end is not known any more.
    BadInputError when there is no such release, StateError when neither can be read or a newer version wrote it.
    """
    path = _existing(home, name, number) / RECORD_FILE
    try:
        found = load(path, Release)
        reason = f"{RECORD_FILE} is missing"
    except StateError as error:
        if "corrupt" not in error.details:
            raise
        found, reason = None, error.message
    if found is not None:
        return found
    record = _record(_plan_in(path.parent), f"how it ended is not known: {reason}")
    return msgspec.structs.replace(record, name=name, number=number)


def read_plan(home: Home, release: Release) -> Plan:
    """Read the plan of a release. BadInputError when there is no such release, StateError when it cannot be read."""
    return _plan_in(folder(home, release))


def read_bundle(home: Home, release: Release) -> Bundle:
    """Read the rendered files of a release."""
    there = folder(home, release)
    with state_errors("read", there):
        names = sorted(path.name for path in there.iterdir() if not path.name.startswith("."))
    files = {}
    for name in names:
        if name not in _RESERVED and ".corrupt-" not in name:
            files[name] = (read(there / name) or b"").decode("utf-8", errors="replace")
    return Bundle(files=files)


def folder(home: Home, release: Release) -> Path:
    """Return the folder of a release that exists. BadInputError otherwise."""
    return _existing(home, release.name, release.number)


def numbers(home: Home, name: str) -> tuple[int, ...]:
    """Return the numbers of all releases, newest first."""
    parent = home.deployments / checked_name(name) / "releases"
    with state_errors("read", parent):
        try:
            found = [int(path.name) for path in parent.iterdir() if _is_number(path.name) and path.is_dir()]
        except FileNotFoundError:
            return ()
    return tuple(sorted(found, reverse=True))


def history(home: Home, name: str, on_warning: Callable[[str], None] | None = None) -> tuple[Release, ...]:
    """Return all readable releases, newest first; `on_warning` hears of the others."""
    found = []
    for number in numbers(home, name):
        try:
            found.append(read_release(home, name, number))
        except StateError as error:
            (on_warning or (lambda _: None))(f"release {number} was passed over: {error.message}")
    return tuple(found)


def deployments(home: Home) -> tuple[str, ...]:
    """Return the names of all deployments that have a release, sorted."""
    with state_errors("read", home.deployments):
        try:
            names = [path.name for path in home.deployments.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return ()
    found = []
    for name in names:
        with contextlib.suppress(BadInputError):
            if numbers(home, name):
                found.append(name)
    return tuple(sorted(found))


def _existing(home: Home, name: str, number: int) -> Path:
    there = home.deployments / checked_name(name) / "releases" / str(number)
    if there.is_dir():
        return there
    raise BadInputError(
        f"deployment {name!r} has no release {number}",
        hint=f"`deployer history {name}` lists those that exist",
        details={"existing": list(numbers(home, name))},
    )


def _plan_in(there: Path) -> Plan:
    plan = load(there / PLAN_FILE, Plan)
    if plan is None:
        raise StateError(f"{there / PLAN_FILE} is missing", hint="choose another release: `deployer history`")
    return plan


def _record(plan: Plan, message: str | None) -> Release:
    return Release(
        name=plan.name,
        number=0,
        status="pending",
        created_at=now(),
        plan_hash=plan.plan_hash,
        image=plan.image.digest or plan.image.image_id or plan.image.reference,
        engine=plan.engine,
        model=plan.model.ref,
        user=whoami(),
        message=message,
    )


def _fill(draft: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        write_new(draft / name, data, mode=0o644)


def _publish(draft: Path, parent: Path, number: int, release: Release) -> Release:
    """Rename the draft to the first free number: renaming to a folder that holds files fails."""
    while True:
        numbered = msgspec.structs.replace(release, number=number)
        (draft / RECORD_FILE).unlink(missing_ok=True)
        write_new(draft / RECORD_FILE, encode(numbered), mode=0o644)
        sync_folder(draft)
        try:
            draft.rename(parent / str(number))
        except OSError:
            if not (parent / str(number)).exists():
                raise
            number += 1
            continue
        sync_folder(parent)
        return numbered


def _last_number(root: Path) -> int:
    """Highest number ever given: the counter remembers those whose folders were removed by hand."""
    try:
        text = (read(root / "last-number", max_bytes=64) or b"").decode("ascii", errors="replace").strip()
    except StateError:
        text = ""
    there = [int(path.name) for path in (root / "releases").iterdir() if _is_number(path.name)]
    return max([*there, int(text) if _is_number(text) else 0], default=0)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and not text.startswith("0") and len(text) <= _MAX_DIGITS


def _clear_abandoned(parent: Path) -> None:
    """Remove what a killed process left half-made."""
    for path in parent.glob(f"{_DRAFT}*"):
        pid = path.name.removeprefix(_DRAFT).partition("-")[0]
        if not (_is_number(pid) and is_alive(int(pid))):
            remove_tree(path)
