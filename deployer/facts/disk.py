"""Space on the disk that holds a path."""

import os
from pathlib import Path

import msgspec

from deployer.types import DiskFacts

_MIB = 1024 * 1024


class Answers(msgspec.Struct, frozen=True):
    """The path asked for, and bytes of the disk below it; None when it cannot be asked."""

    path: str
    free: int | None
    total: int | None


def probe(path: Path) -> DiskFacts:
    """Ask this machine."""
    return read(ask(path))


def ask(path: Path) -> Answers:
    """Ask the nearest folder above `path` that exists and may be asked."""
    path = path.expanduser().absolute()
    for folder in (path, *path.parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return Answers(str(path), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    return Answers(str(path), None, None)


def read(answers: Answers) -> DiskFacts:
    """Give MiB; `free` is what an ordinary user may still write."""
    return DiskFacts(path=answers.path, free_mib=_mib(answers.free), total_mib=_mib(answers.total))


def _mib(size: int | None) -> int | None:
    return None if size is None else size // _MIB
