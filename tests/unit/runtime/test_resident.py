"""Main memory of a server: of real processes, and of kernel files as containers have them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deployer.runtime import resident
from deployer.types import ServerState

CONTAINER = "99dd2b821aee501987bb902fc2b3aa5bdfc1c9f20ba22c65a1e55ccbb3365890"
MIB = 1024 * 1024


def state(pid: int | None, **changes: Any) -> ServerState:
    return ServerState(name="demo", runtime="compose", status="running", pid=pid, **changes)


class Kernel:
    """A small /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        self.proc.mkdir()
        self.cgroups.mkdir()

    def process(self, pid: int, parent: int, rss: tuple[int, int, int] | None, groups: str = "0::/\n") -> None:
        folder = self.proc / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a (strange) name) S {parent} 1 1\n")
        (folder / "cgroup").write_text(groups)
        if rss is not None:
            names = ("RssAnon", "RssShmem", "RssFile")
            lines = [f"{name}:\t{size * 1024:8d} kB" for name, size in zip(names, rss, strict=True)]
            (folder / "status").write_text("Name:\tx y\n" + "\n".join(lines) + "\n")

    def group(self, path: str, **files: str) -> None:
        folder = self.cgroups / path
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name.replace("_", ".", 1)).write_text(text)

    def read(self, pid: int, **changes: Any) -> Any:
        return resident(state(pid, **changes), proc=self.proc, cgroups=self.cgroups)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_a_real_process_and_its_child_are_counted() -> None:
    code = (
        "import subprocess, sys; held = b'x' * (48 << 20);"
        "child = subprocess.Popen([sys.executable, '-c', 'held = b\"y\" * (32 << 20); print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True); child.stdout.readline();"
        "print(child.pid, flush=True); input(); child.communicate()"
    )
    process = subprocess.Popen((sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    found = resident(state(process.pid))
    process.communicate("\n", timeout=60)
    assert set(found.pids) == {process.pid, child}
    assert 80 <= (found.anonymous_mib or 0) <= 140
    assert 0 < (found.file_mib or 0) < 60
    assert found.cgroup_mib is None
    assert found.used_mib == (found.anonymous_mib or 0) + (found.file_mib or 0)


def test_of_file_pages_the_largest_process_stands_for_all(kernel: Kernel) -> None:
    kernel.process(7, 1, (100, 8, 90))
    kernel.process(8, 7, (50, 8, 40))
    kernel.process(9, 8, (10, 0, 5))
    kernel.process(10, 1, (999, 999, 999))
    found = kernel.read(7)
    assert found.pids == (7, 8, 9)
    assert (found.anonymous_mib, found.file_mib, found.used_mib) == (168, 90, 258)


def test_a_containers_own_count_without_page_cache(kernel: Kernel) -> None:
    kernel.process(7, 1, (100, 0, 90), f"0::/system.slice/docker-{CONTAINER}.scope\n")
    kernel.group(
        f"system.slice/docker-{CONTAINER}.scope",
        memory_current=str(500 * MIB),
        memory_stat=f"anon {100 * MIB}\nfile {380 * MIB}\nshmem {4 * MIB}\nkernel {16 * MIB}\n",
    )
    found = kernel.read(7, container_id=CONTAINER)
    assert found.cgroup_mib == 124
    assert found.used_mib == 124 + 90


def test_the_same_where_controllers_have_hierarchies_of_their_own(kernel: Kernel) -> None:
    kernel.process(7, 1, (100, 0, 90), f"4:memory:/docker/{CONTAINER}\n3:cpu,cpuacct:/docker/{CONTAINER}\n0::/\n")
    kernel.group(
        f"memory/docker/{CONTAINER}",
        memory_usage_in_bytes=str(300 * MIB),
        memory_stat=f"total_cache {200 * MIB}\ntotal_shmem {1 * MIB}\n",
    )
    assert kernel.read(7, container_id=CONTAINER).cgroup_mib == 101


def test_a_stranger_with_the_containers_pid_is_not_measured(kernel: Kernel) -> None:
    kernel.process(7, 1, (100, 0, 90), "0::/user.slice\n")
    found = kernel.read(7, container_id=CONTAINER)
    assert found.used_mib is None
    assert found.pids == ()
    assert found.why == "the container's processes cannot be seen from here"


def test_a_process_that_tells_nothing_has_a_reason(kernel: Kernel) -> None:
    kernel.process(7, 1, None)
    assert kernel.read(7).why == "the server's processes cannot be read from here"
    assert resident(state(None)).why == "the server has no process"


def test_this_process_is_read_in_less_than_a_tenth_of_a_second() -> None:
    def seconds() -> float:
        began_s = time.thread_time()
        assert resident(state(os.getpid())).used_mib is not None
        return time.thread_time() - began_s

    assert min(seconds() for _ in range(5)) < 0.1
