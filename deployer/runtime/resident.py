"""How much main memory a server holds: its whole process tree, and its container's own count.

A page of a file that several processes map is counted by each of them, so of file pages the largest process's stand for
all. Sources: proc_pid_status(5) (`RssAnon`, `RssFile`, `RssShmem`), Linux Documentation/admin-guide/cgroup-v2.rst and
cgroup-v1/memory.rst.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from deployer.types import ServerState

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_KIB, _MIB = 1024, 1024 * 1024
_PARENT = 1  # field 4 of /proc/<pid>/stat, counted after the program name (proc_pid_stat(5))


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory of a server in MiB, and the processes that are it; `why` where they cannot be seen."""

    pids: tuple[int, ...] = ()
    anonymous_mib: int | None = None
    file_mib: int | None = None
    cgroup_mib: int | None = None
    why: str | None = None

    @property
    def used_mib(self) -> int | None:
        """Memory of its own, by whichever count is larger, and the files it has mapped."""
        if self.anonymous_mib is None:
            return None
        return max(self.anonymous_mib, self.cgroup_mib or 0) + (self.file_mib or 0)


def resident(state: ServerState, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> Resident:
    """Read it now, of all copies together. Nothing is raised: what cannot be read is None, with the reason."""
    each = [_resident(one, proc, cgroups) for one in state.engines]
    seen = [found for found in each if found.pids]
    if len(each) == 1 or not seen:
        return each[0]
    groups = [found.cgroup_mib for found in seen]
    return Resident(
        pids=tuple(pid for found in seen for pid in found.pids),
        anonymous_mib=sum(found.anonymous_mib or 0 for found in seen),
        file_mib=max(found.file_mib or 0 for found in seen),
        cgroup_mib=None if None in groups else sum(size or 0 for size in groups),
        why=next((found.why for found in each if found.why), None),
    )


def _resident(state: ServerState, proc: Path, cgroups: Path) -> Resident:
    if state.pid is None:
        return Resident(why="the server has no process")
    groups = cgroup_paths(proc, state.pid)
    if state.container_id is not None and not any(state.container_id in path for path in groups.values()):
        return Resident(why="the container's processes cannot be seen from here")
    pids = process_tree(proc, state.pid)
    held = [found for pid in pids if (found := _status(proc, pid)) is not None]
    if not held:
        return Resident(why="the server's processes cannot be read from here")
    return Resident(
        pids=pids,
        anonymous_mib=sum(own for own, _, _ in held) // _KIB + max(shared for _, shared, _ in held) // _KIB,
        file_mib=max(mapped for _, _, mapped in held) // _KIB,
        cgroup_mib=_without_cache(groups, cgroups) if state.container_id is not None else None,
    )


def process_tree(proc: Path, root: int) -> tuple[int, ...]:
    """A process and all that descend from it, by the parents that the kernel names."""
    children: dict[int, list[int]] = {}
    for folder in proc.iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return tuple(found)


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[_PARENT])
    except (OSError, ValueError, IndexError):
        return None


def _status(proc: Path, pid: int) -> tuple[int, int, int] | None:
    """KiB of anonymous, shared and file pages; None for a process that is gone or a stranger's."""
    try:
        fields = _numbers((proc / str(pid) / "status").read_text(errors="replace").replace(":", ""))
    except OSError:
        return None
    if "RssAnon" not in fields:
        return None
    return fields["RssAnon"], fields.get("RssShmem", 0), fields.get("RssFile", 0)


def cgroup_paths(proc: Path, pid: int) -> Mapping[str, str]:
    """Path by controller; the unified hierarchy has the empty name."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    split = [line.split(":", 2) for line in lines if line.count(":") >= 2]  # noqa: PLR2004 - number:controllers:path
    return {name: path for _, names, path in split for name in names.split(",")}


def _without_cache(groups: Mapping[str, str], cgroups: Path) -> int | None:
    """MiB that the container is charged with but for the page cache, shared memory included."""
    unified = cgroups / groups.get("", "").lstrip("/")
    own = cgroups / "memory" / groups.get("memory", "").lstrip("/")
    for folder, usage, prefix in ((unified, "memory.current", ""), (own, "memory.usage_in_bytes", "total_")):
        try:
            charged = int((folder / usage).read_text())
            stat = _numbers((folder / "memory.stat").read_text())
        except (OSError, ValueError):
            continue
        cache = stat.get("total_cache" if prefix else "file", 0)
        return max(charged - cache + stat.get(f"{prefix}shmem", 0), 0) // _MIB
    return None


def _numbers(text: str) -> dict[str, int]:
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
