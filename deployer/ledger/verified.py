"""The ledger: images from which a server was started on this host and passed every health check.

One JSON file an entry under `home.ledger`, `<serial>.json`. The serial number orders them, never the clock. A
damaged entry, or one of a newer version, is passed over with a warning: it must not stand between a host and recovery.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from deployer.errors import StateError
from deployer.ledger.files import encode, load, make_folder, state_errors, sync_folder, unique, write_new
from deployer.paths import Home
from deployer.types import VerifiedImage

_ENTRY = re.compile(r"\d{6,9}\.json")


def add_verified(home: Home, entry: VerifiedImage) -> Path:
    """Write a new entry and return its file; older entries of the very same image, model and host are dropped.

    Safe for writers at the same time: each takes its own serial number. StateError when the folder cannot be written.
    """
    make_folder(home.ledger)
    with state_errors("add to", home.ledger):
        path = _write(home.ledger, entry)
        for older, known in _load_all(home, _no_warning):
            if older != path and _serial(older) < _serial(path) and _same(known, entry):
                older.unlink(missing_ok=True)
        sync_folder(home.ledger)
    return path


def entries(home: Home, on_warning: Callable[[str], None] | None = None) -> tuple[VerifiedImage, ...]:
    """Return every readable entry, newest first. Warnings go to `on_warning`, by default to stderr."""
    return tuple(entry for _, entry in _load_all(home, on_warning or _to_stderr))


def for_fingerprint(
    home: Home, fingerprint: str, on_warning: Callable[[str], None] | None = None
) -> tuple[VerifiedImage, ...]:
    """Return the entries made on a host with this fingerprint, newest first."""
    return tuple(entry for entry in entries(home, on_warning) if entry.fingerprint == fingerprint)


def find_verified(
    among: Iterable[VerifiedImage], *, engine: str, profile: str, recipe: str | None = None
) -> VerifiedImage | None:
    """Return the first entry (the newest of `entries`) of this engine and image profile; `recipe=None` takes any."""
    for entry in among:
        if (entry.engine, entry.profile) == (engine, profile) and recipe in {None, entry.recipe}:
            return entry
    return None


def forget_verified(home: Home, image_id: str) -> int:
    """Remove every entry of an image that is gone from this host; returns how many there were."""
    with state_errors("remove from", home.ledger):
        gone = [path for path, entry in _load_all(home, _no_warning) if entry.image_id == image_id]
        for path in gone:
            path.unlink(missing_ok=True)
    return len(gone)


def _write(folder: Path, entry: VerifiedImage) -> Path:
    """Write the whole file under a temporary name, then link it to a free number: `link` never replaces a file."""
    ready = folder / f".new-{unique()}"
    write_new(ready, encode(entry), mode=0o644)
    try:
        serial = max((_serial(path) for path in _files(folder)), default=0)
        while True:
            serial += 1
            with contextlib.suppress(FileExistsError):
                path = folder / f"{serial:06d}.json"
                os.link(ready, path)
                return path
    finally:
        ready.unlink()


def _load_all(home: Home, warn: Callable[[str], None]) -> list[tuple[Path, VerifiedImage]]:
    found = []
    with state_errors("read", home.ledger):
        paths = sorted(_files(home.ledger), key=_serial, reverse=True)
    for path in paths:
        try:
            entry = load(path, VerifiedImage)
        except StateError as error:
            warn(f"a ledger entry was passed over: {error.message}")
            continue
        if entry is not None:
            found.append((path, entry))
    return found


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _ENTRY.fullmatch(path.name)]
    except FileNotFoundError:
        return []


def _serial(path: Path) -> int:
    return int(path.stem)


def _same(one: VerifiedImage, other: VerifiedImage) -> bool:
    def key(entry: VerifiedImage) -> tuple[str, ...]:
        return (
            entry.engine,
            entry.profile,
            entry.recipe,
            entry.image_id,
            entry.fingerprint,
            entry.model,
            entry.quantization,
        )

    return key(one) == key(other)


def _no_warning(_: str) -> None:
    """Warnings belong to the reader, who sees the same files."""


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
