"""Device files: which numeric group may open them, and whether this user may."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.types import DeviceNode


class Answer(msgspec.Struct, frozen=True):
    """A device file as `stat` shows it; `mode` is None when it is not there."""

    path: str
    mode: int | None = None
    group: int = 0
    openable: bool = False


def ask(path: str, root: Path = Path("/")) -> Answer:
    """Look at one file, without opening it: opening `/dev/kfd` already makes a compute context."""
    where = root / path.lstrip("/")
    try:
        found = where.stat()
        openable = os.access(where, os.R_OK | os.W_OK)
    except OSError:
        return Answer(path)
    return Answer(path, stat.S_IMODE(found.st_mode), found.st_gid, openable)


def read(answer: Answer) -> DeviceNode | None:
    """Give the file, None when it is not there. A group is named when membership is what opens the file."""
    if answer.mode is None:
        return None
    group_may = answer.mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP | stat.S_IWGRP
    all_may = answer.mode & (stat.S_IROTH | stat.S_IWOTH) == stat.S_IROTH | stat.S_IWOTH
    return DeviceNode(
        path=answer.path, group=answer.group if group_may and not all_may else None, openable=answer.openable
    )


def access(nodes: Sequence[DeviceNode]) -> str | None:
    """Say what this user may not open and how to change that; None when all may be opened."""
    closed = [node for node in nodes if node.openable is False]
    if not closed:
        return None
    groups = ",".join(str(group) for group in sorted({node.group for node in closed if node.group is not None}))
    repair = f"run `sudo usermod -aG {groups} $USER` and log in again" if groups else "run it as root"
    return (
        f"This user may not open {' and '.join(node.path for node in closed)}. A container that root's engine starts "
        f"still may; for a program on the host or a rootless engine, {repair}."
    )
