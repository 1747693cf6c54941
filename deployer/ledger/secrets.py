"""The API key of a deployment: a file that only its server and its owner can read. Never in a plan, argv or log."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from deployer.errors import BadInputError, PreconditionError, StateError
from deployer.ledger.files import atomic_write, make_folder, read, set_aside, state_errors
from deployer.ledger.names import checked_name
from deployer.paths import Home

CONTAINER_USER = "65532:65532"
_USER = re.compile(r"(\d{1,9}):(\d{1,9})")
_KEY = re.compile(rb"[\x21-\x7e]{1,512}")
_MAX_BYTES = 1024


def key_path(home: Home, name: str) -> Path:
    """Where the key of a deployment is, or will be."""
    return home.secrets / checked_name(name) / "api_key"


def ensure_key(home: Home, name: str, container_user: str = CONTAINER_USER) -> Path:
    """Return the key's file, made when there is none (43 characters, 256 bits).

    Root gives it to `container_user` (`uid:gid`), mode 0400, since a container sees the host's owner and mode; a user
    keeps it, mode 0600. Owner and mode of a key that is there are put right again. An empty or damaged key is kept
    aside and replaced: an engine may take an empty file for "no key".
    """
    path = key_path(home, name)
    try:
        present = _read_valid(path)
    except StateError as error:
        if "corrupt" not in error.details:
            raise
        present = None
    if present is None:
        return rotate_key(home, name, container_user)
    _protect(path, _owner(container_user))
    return path


def ensure_config(home: Home, name: str, container_user: str = CONTAINER_USER) -> Path:
    """Return the YAML file `api_key.yaml` beside the key, with the line `api-key: KEY`; owner and mode as the key's.

    For engines that take their key from a file of settings (SGLang `--config`). It follows the key: call it after
    `ensure_key`. PreconditionError when the deployment has no key.
    """
    import json

    path = key_path(home, name).with_suffix(".yaml")
    text = f"api-key: {json.dumps(read_key(home, name))}\n".encode()
    if read(path, 2 * _MAX_BYTES) != text:
        owner = _owner(container_user) if _is_root() else None
        atomic_write(path, text, mode=0o400 if _is_root() else 0o600, owner=owner)
    _protect(path, _owner(container_user))
    return path


def ensure_password(home: Home, name: str, file: str, container_user: str = CONTAINER_USER) -> Path:
    """Return the file of a password beside the key, made when there is none; owner and mode as the key's."""
    path = key_path(home, name).with_name(file)
    if not read(path, _MAX_BYTES):
        return _write_new(home, path, container_user)
    _protect(path, _owner(container_user))
    return path


def ensure_key_list(
    home: Home, name: str, deployments: Sequence[str], container_user: str = CONTAINER_USER
) -> tuple[Path, str]:
    """Return the file `backend_keys` beside the key of a gateway, and a digest of it; owner and mode as the key's.

    A line `DEPLOYMENT KEY` for each, for a proxy that passes requests on with each server's own key. PreconditionError
    when one of them has no key.
    """
    import hashlib

    path = key_path(home, name).with_name("backend_keys")
    text = "".join(f"{deployment} {read_key(home, deployment)}\n" for deployment in deployments).encode()
    if read(path, len(text) + _MAX_BYTES) != text:
        _make_folders(home, path)
        owner = _owner(container_user) if _is_root() else None
        atomic_write(path, text, mode=0o400 if _is_root() else 0o600, owner=owner)
    _protect(path, _owner(container_user))
    return path, hashlib.sha256(text).hexdigest()


def rotate_key(home: Home, name: str, container_user: str = CONTAINER_USER) -> Path:
    """Replace the key by a new one. A running server keeps the old one until it is started again."""
    return _write_new(home, key_path(home, name), container_user)


def store_key(home: Home, name: str, key: str) -> Path:
    """Keep the key of a server that is not ours, mode 0600, and return its file. BadInputError when it is no key."""
    data = key.strip().encode()
    if not _KEY.fullmatch(data):
        raise BadInputError("the API key holds characters that a header cannot carry", hint="use letters and digits")
    path = key_path(home, name)
    _make_folders(home, path)
    atomic_write(path, data, mode=0o600)
    return path


def forget_key(home: Home, name: str) -> None:
    """Remove a key and its folder."""
    path = key_path(home, name)
    with state_errors("remove", path):
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def read_key(home: Home, name: str) -> str:
    """Return the key itself. PreconditionError when the deployment has none, StateError when it cannot be read."""
    key = _read_valid(key_path(home, name))
    if key is None:
        raise PreconditionError(
            f"deployment {name!r} has no API key", hint=f"`deployer up` makes one in {key_path(home, name)}"
        )
    return key.decode()


def _write_new(home: Home, path: Path, container_user: str) -> Path:
    """Write 43 characters that nobody can guess (256 bits)."""
    import secrets

    _make_folders(home, path)
    made = secrets.token_urlsafe(32).encode()
    if _is_root():
        atomic_write(path, made, mode=0o400, owner=_owner(container_user))
    else:
        atomic_write(path, made, mode=0o600)
    return path


def _make_folders(home: Home, path: Path) -> None:
    make_folder(home.state)
    make_folder(home.secrets, mode=0o711)
    make_folder(path.parent, mode=0o711)


def _read_valid(path: Path) -> bytes | None:
    key = read(path, _MAX_BYTES)
    if key is None:
        return None
    key = key.strip()
    if _KEY.fullmatch(key):
        return key
    kept = set_aside(path) or path
    raise StateError(
        f"{path} holds no usable key; it was kept as {kept}",
        hint="`deployer up` makes a new key",
        details={"path": str(path), "corrupt": str(kept)},
    )


def _protect(path: Path, owner: tuple[int, int]) -> None:
    with state_errors("protect", path):
        path.chmod(0o400 if _is_root() else 0o600)
        if _is_root():
            os.chown(path, *owner)


def _owner(container_user: str) -> tuple[int, int]:
    found = _USER.fullmatch(container_user)
    if found is None:
        raise BadInputError(f"{container_user!r} is not a user of a container", hint="write it as numbers, `uid:gid`")
    return int(found[1]), int(found[2])


def _is_root() -> bool:
    return os.geteuid() == 0
