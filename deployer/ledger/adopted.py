"""Servers that are not ours: `deployments/<name>/adopted.json`, where a deployment of ours has releases."""

import contextlib
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, StateError
from deployer.ledger.files import atomic_write, encode, load, make_folder, state_errors
from deployer.ledger.names import checked_name, now, whoami
from deployer.ledger.secrets import forget_key, store_key
from deployer.paths import Home
from deployer.types import Adopted

RECORD_FILE = "adopted.json"


def adopt(home: Home, found: Adopted, key: str | None) -> Adopted:
    """Keep the record, with the moment and the user, and a copy of the key; returns what was kept.

    BadInputError when the name is taken or the key is none, StateError when the state folder cannot be written.
    """
    path = _path(home, found.name)
    if _taken(path.parent):
        raise BadInputError(
            f"{found.name!r} names a deployment already", hint=f"choose another --name, or: deployer down {found.name}"
        )
    make_folder(path.parent)
    key_file = None if key is None else str(store_key(home, found.name, key))
    kept = msgspec.structs.replace(found, key_file=key_file, adopted_at=now(), user=whoami())
    atomic_write(path, encode(kept), mode=0o644)
    return kept


def adopted(home: Home, name: str) -> Adopted | None:
    """Read the record of an adopted server; None when this name has none. StateError when it cannot be read."""
    return load(_path(home, name), Adopted)


def all_adopted(home: Home) -> tuple[Adopted, ...]:
    """Read every record, sorted by name; one that cannot be read is passed over."""
    with state_errors("read", home.deployments):
        names = sorted(path.parent.name for path in home.deployments.glob(f"*/{RECORD_FILE}"))
    found = []
    for name in names:
        with contextlib.suppress(BadInputError, StateError):
            found.append(adopted(home, name))
    return tuple(record for record in found if record is not None)


def forget_adopted(home: Home, name: str) -> None:
    """Remove the record and our copy of its key; the server is not touched."""
    path = _path(home, name)
    forget_key(home, name)
    with state_errors("remove", path):
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _taken(folder: Path) -> bool:
    """True when something of ours has this name; a damaged record that was set aside is nothing."""
    with state_errors("read", folder):
        return folder.is_dir() and any(f"{RECORD_FILE}.corrupt-" not in path.name for path in folder.iterdir())


def _path(home: Home, name: str) -> Path:
    return home.deployments / checked_name(name) / RECORD_FILE
