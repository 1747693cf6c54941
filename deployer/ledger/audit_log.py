"""What was changed on this host, by whom, and how it ended: one JSON line each, only ever appended."""

import os
from pathlib import Path

import msgspec

from deployer.ledger.files import make_folder, state_errors, sync_folder
from deployer.ledger.names import now, whoami
from deployer.paths import Home
from deployer.types import FORMAT_VERSION

_TAIL_BYTES = 4 * 1024 * 1024


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `at` is UTC; `release` is None where the change made none; `detail` never holds a secret."""

    format_version: int = FORMAT_VERSION
    at: str
    user: str
    action: str
    deployment: str | None
    release: int | None
    result: str
    detail: str | None = None


def audit(
    home: Home, action: str, deployment: str | None, release: int | None, result: str, *, detail: str | None = None
) -> AuditEntry:
    """Append one line and put it on the disk. StateError when the file cannot be written."""
    entry = AuditEntry(
        at=now(), user=whoami(), action=action, deployment=deployment, release=release, result=result, detail=detail
    )
    path = _path(home)
    make_folder(home.state)
    with state_errors("append to", path):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            start = b"" if _ends_a_line(descriptor) else b"\n"
            os.write(descriptor, start + msgspec.json.encode(entry) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    return entry


def audit_entries(home: Home, limit: int = 100) -> tuple[AuditEntry, ...]:
    """Return the last `limit` changes, newest first; a line that a crash cut short is passed over."""
    path = _path(home)
    with state_errors("read", path):
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                lines = file.read(_TAIL_BYTES).splitlines()
        except FileNotFoundError:
            return ()
    found: list[AuditEntry] = []
    for line in reversed(lines):
        if len(found) == limit:
            break
        entry = _decode(line)
        if entry is not None:
            found.append(entry)
    return tuple(found)


def _decode(line: bytes) -> AuditEntry | None:
    try:
        return msgspec.json.decode(line, type=AuditEntry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _path(home: Home) -> Path:
    return home.state / "audit.jsonl"
