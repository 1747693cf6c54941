"""Processor time of the machine and of a server, as counters: two readings tell who used it in between.

Sources: proc_stat(5) (first line: hundredths of a second of all processors, by kind), proc_pid_stat(5) (`utime`,
`stime`), Linux Documentation/admin-guide/cgroup-v2.rst (`cpu.stat`), scheduler/sched-bwc.rst (cgroup v1).
"""

import os
import time
from pathlib import Path

import msgspec

from deployer.runtime.resident import CGROUPS, PROC, cgroup_paths, process_tree
from deployer.types import Processor, ServerState

_IDLE = (3, 4)  # idle and iowait, counted after the word `cpu`
_OWN = slice(0, 8)  # user to steal; guest time is in user time already
_UTIME, _STIME = 11, 12  # fields 14 and 15 of /proc/<pid>/stat, counted after the program name


def processor(state: ServerState, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> Processor | None:
    """Read the counters now, of all copies together. None where the machine or their processes cannot be seen."""
    each = [found for one in state.engines if (found := _processor(one, proc, cgroups)) is not None]
    if len(each) < len(state.engines):
        return None
    held_back = [found.throttled_s for found in each if found.throttled_s is not None]
    return msgspec.structs.replace(
        each[-1], own_s=sum(found.own_s for found in each), throttled_s=sum(held_back) if held_back else None
    )


def _processor(state: ServerState, proc: Path, cgroups: Path) -> Processor | None:
    if state.pid is None:
        return None
    groups = cgroup_paths(proc, state.pid)
    if state.container_id is not None and not any(state.container_id in path for path in groups.values()):
        return None
    tick = os.sysconf("SC_CLK_TCK")
    try:
        lines = (proc / "stat").read_text().splitlines()
    except OSError:
        return None
    counts = [int(word) for word in lines[0].split()[1:]][_OWN]
    busy = sum(count for kind, count in enumerate(counts) if kind not in _IDLE)
    return Processor(
        at_s=time.monotonic(),
        busy_s=busy / tick,
        own_s=sum(_spent(proc, pid) for pid in process_tree(proc, state.pid)) / tick,
        throttled_s=_throttled(groups.get("", ""), groups.get("cpu", ""), cgroups),
        processors=sum(1 for line in lines if line.startswith("cpu")) - 1,
    )


def _spent(proc: Path, pid: int) -> int:
    try:
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[_UTIME]) + int(fields[_STIME])
    except (OSError, ValueError, IndexError):
        return 0


def _throttled(unified: str, own: str, cgroups: Path) -> float | None:
    """Seconds that its own limit of processors held it back; None where there is no such count."""
    places = (
        (cgroups / unified.lstrip("/"), "throttled_usec", 1e6),
        (cgroups / "cpu" / own.lstrip("/"), "throttled_time", 1e9),
    )
    for folder, word, unit in places:
        try:
            rows = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if rows.get(word, "").isdigit():
            return int(rows[word]) / unit
    return None
