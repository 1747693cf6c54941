"""What was measured on hosts like this one, so that the next estimate can learn from it.

One JSON file a fingerprint under `home.ledger`, `observations/<fingerprint>.json`, replaced as a whole. It keeps the
newest 8 of each class and 64 in all: it is read for every plan. Each observation stands in its release's record too.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from deployer.errors import StateError
from deployer.ledger.files import atomic_write, encode, load, make_folder
from deployer.paths import Home
from deployer.types import FORMAT_VERSION, Observation

OF_A_CLASS, IN_ALL = 8, 64

_FINGERPRINT = re.compile(r"[0-9a-f]{4,64}")


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    """The file: observations oldest first. `last` is the highest serial number ever given."""

    format_version: int = FORMAT_VERSION
    last: int = 0
    observations: tuple[Observation, ...] = ()


def add_observation(home: Home, observation: Observation) -> Observation:
    """Append one and return it with its serial number. The caller holds the host's lock.

    A damaged file is set aside and begun anew. StateError when the folder cannot be written, or when a newer version
    wrote the file.
    """
    path = _path(home, observation.fingerprint)
    if path is None:
        return observation
    try:
        known = load(path, _Index) or _Index()
    except StateError as error:
        if "corrupt" not in error.details:
            raise
        known = _Index()
    numbered = msgspec.structs.replace(observation, serial=known.last + 1)
    kept = _bounded((*known.observations, numbered))
    make_folder(path.parent)
    atomic_write(path, encode(_Index(last=numbered.serial, observations=kept)), mode=0o644)
    return numbered


def observations(
    home: Home, fingerprint: str, on_warning: Callable[[str], None] | None = None
) -> tuple[Observation, ...]:
    """Return what was measured on hosts with this fingerprint, oldest first; a file that cannot be read is passed over.

    Warnings go to `on_warning`, by default to stderr.
    """
    path = _path(home, fingerprint)
    if path is None:
        return ()
    try:
        found = load(path, _Index)
    except StateError as error:
        (on_warning or _to_stderr)(f"measurements were passed over: {error.message}")
        return ()
    return found.observations if found is not None else ()


def all_observations(home: Home, on_warning: Callable[[str], None] | None = None) -> tuple[Observation, ...]:
    """Return those of every fingerprint, newest first."""
    names = sorted(path.stem for path in _folder(home).glob("*.json"))
    found = [item for name in names for item in observations(home, name, on_warning)]
    return tuple(sorted(found, key=lambda item: (item.when, item.serial), reverse=True))


def _bounded(known: Sequence[Observation]) -> tuple[Observation, ...]:
    """The newest of each class, and of all."""
    kept: list[Observation] = []
    counts: dict[tuple[str | None, ...], int] = {}
    for item in reversed(known):
        key = (item.engine, item.image, item.accelerator, item.architecture, item.quantization)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= OF_A_CLASS:
            kept.append(item)
    return tuple(reversed(kept[:IN_ALL]))


def _folder(home: Home) -> Path:
    return home.ledger / "observations"


def _path(home: Home, fingerprint: str) -> Path | None:
    """The file of a fingerprint; None for what is none, so that no other file is ever touched."""
    return _folder(home) / f"{fingerprint}.json" if _FINGERPRINT.fullmatch(fingerprint) else None


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
