"""What the kernel's control groups allow this process: CPU quota and memory, version 1, version 2 and both at once.

Sources: Linux `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`, `scheduler/sched-bwc.rst`, proc(5).
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.facts.text import read_text

MIB = 1024 * 1024
_FILES = {
    "cgroup2": {"cpu": ("cpu.max",), "memory": ("memory.max", "memory.current", "memory.stat")},
    "cgroup": {
        "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
    },
}


class Mount(msgspec.Struct, frozen=True):
    """A mount in `/proc/self/mountinfo`: `top` is the part of the hierarchy at `point`; `kind` the file system."""

    kind: str
    controllers: frozenset[str]
    top: str
    point: str


class MemoryLimit(msgspec.Struct, frozen=True):
    """The tightest memory limit, and what is still free under every limit, in bytes."""

    limit: int
    free: int


def ask(controller: str, root: Path = Path("/")) -> tuple[tuple[str, ...], ...]:
    """Read the controller's files (`cpu` or `memory`) from this process's own group up to the top of the mount.

    Gives one tuple of file contents for each level, own group first; a missing file is an empty text.
    """
    mounts = read_mounts(read_text(root / "proc/self/mountinfo"))
    groups = read_membership(read_text(root / "proc/self/cgroup"))
    found = choose_mount(mounts, controller)
    if found is None:
        return ()
    names = _FILES[found.kind][controller]
    group = groups.get(controller if found.kind == "cgroup" else "", "/")
    folders = levels(found, group)
    return tuple(tuple(read_text(root / folder.lstrip("/") / name) for name in names) for folder in folders)


def read_mounts(mountinfo: str) -> tuple[Mount, ...]:
    """Find the cgroup mounts in `/proc/self/mountinfo`."""
    found = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if not separator or not left[4:] or not right[2:] or right[0] not in _FILES:
            continue
        found.append(Mount(right[0], frozenset(right[2].split(",")), left[3], left[4]))
    return tuple(found)


def read_membership(cgroup: str) -> dict[str, str]:
    """Map each version 1 controller, and `""` for version 2, to this process's group (`/proc/self/cgroup`)."""
    groups: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, group = rest.partition(":")
        if separator:
            groups.update(dict.fromkeys(controllers.split(","), group))
    return groups


def choose_mount(mounts: Sequence[Mount], controller: str) -> Mount | None:
    """Choose the hierarchy that holds a controller: a version 1 mount of it, else version 2."""
    first = [mount for mount in mounts if mount.kind == "cgroup" and controller in mount.controllers]
    second = [mount for mount in mounts if mount.kind == "cgroup2"]
    return next(iter(first + second), None)


def levels(mount: Mount, group: str) -> tuple[str, ...]:
    """List the group's folder and every folder above it, up to the mount point (seen from inside a container too)."""
    top = "" if mount.top == "/" else mount.top
    inside = group.removeprefix(top) if group == top or group.startswith(top + "/") else ""
    parts = [part for part in inside.split("/") if part not in {"", ".."}]
    return tuple("/".join([mount.point, *parts[:depth]]) for depth in range(len(parts), -1, -1))


def quota_cores(found: Sequence[Sequence[str]]) -> float | None:
    """Give the tightest CPU quota in cores; None without one. Both versions read "quota period" in microseconds."""
    quotas = []
    for texts in found:
        quota, _, period = " ".join(texts).partition(" ")
        if quota.strip().isdigit() and period.strip().isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_limit(found: Sequence[Sequence[str]], total: int) -> MemoryLimit | None:
    """Give the tightest memory limit below `total` bytes; None without one.

    Inactive page cache counts as free, because the kernel gives it back before it refuses memory: free = limit -
    (usage - inactive_file), the "working set" of Kubernetes (kubelet, `cadvisor` `setMemoryStats`).
    """
    limits, frees = [], []
    for limit_text, usage_text, stat_text in found:
        limit = limit_text.strip()
        if not limit.isdigit() or int(limit) >= total:
            continue
        usage = int(usage_text) if usage_text.strip().isdigit() else 0
        limits.append(int(limit))
        frees.append(max(0, int(limit) - max(0, usage - _inactive_file(stat_text))))
    return MemoryLimit(min(limits), min(frees)) if limits else None


def _inactive_file(stat: str) -> int:
    """Give the reclaimable page cache of a group and its children, in bytes (`total_` in version 1)."""
    values = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
    text = values.get("total_inactive_file", values.get("inactive_file", "0")).strip()
    return int(text) if text.isdigit() else 0
