"""Counters of processor time: of this very machine, and of trees as both versions of cgroups write them."""

import os
import time
from pathlib import Path

import pytest

from deployer.runtime.processor import processor
from deployer.types import ServerState

CONTAINER = "c" * 64
STAT = "cpu  1000 20 300 5000 70 8 9 10 400 40\ncpu0 500 0 0 0 0 0 0 0 0 0\ncpu1 500 0 0 0 0 0 0 0 0 0\nintr 1\n"


def server(pid: int | None, container_id: str | None = None) -> ServerState:
    return ServerState(name="demo", runtime="process", status="running", pid=pid, container_id=container_id)


def test_work_of_this_process_is_counted_as_its_own() -> None:
    before = processor(server(os.getpid()))
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    after = processor(server(os.getpid()))
    assert before is not None
    assert after is not None
    assert 0.2 <= after.own_s - before.own_s <= 5.0
    assert after.busy_s - before.busy_s >= 0.2
    assert after.at_s > before.at_s
    assert (
        after.processors == len([line for line in Path("/proc/stat").read_text().splitlines() if line[:3] == "cpu"]) - 1
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with two processors; the server is process 7 with a child 8, and 9 is a stranger."""
    folder = tmp_path / "proc"
    for pid, parent, ticks in ((7, 1, "100 50"), (8, 7, "30 20"), (9, 1, "7000 0")):
        (folder / str(pid)).mkdir(parents=True)
        (folder / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} 0 0 0 0 0 0 0 0 0 {ticks} 0 0\n")
        (folder / str(pid) / "cgroup").write_text(f"4:cpu,cpuacct:/docker/{CONTAINER}\n0::/docker/{CONTAINER}\n")
    (folder / "stat").write_text(STAT)
    return folder


@pytest.mark.parametrize(
    ("place", "text", "throttled"),
    [
        ("docker", "usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000\n", 2.5),
        ("cpu/docker", "nr_periods 9\nnr_throttled 3\nthrottled_time 2500000000\n", 2.5),
        ("docker", "usage_usec 5\n", None),
        ("docker", "a line of three words\n", None),
    ],
)
def test_both_versions_of_cgroups(proc: Path, tmp_path: Path, place: str, text: str, throttled: float | None) -> None:
    folder = tmp_path / "cgroup" / place / CONTAINER
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text(text)
    found = processor(server(7, CONTAINER), proc=proc, cgroups=tmp_path / "cgroup")
    tick = os.sysconf("SC_CLK_TCK")
    assert found is not None
    assert found.throttled_s == throttled
    assert found.own_s == 200 / tick
    assert found.busy_s == (1000 + 20 + 300 + 8 + 9 + 10) / tick
    assert found.processors == 2


def test_what_cannot_be_seen_is_unknown(proc: Path, tmp_path: Path) -> None:
    assert processor(server(None)) is None
    assert processor(server(7, "d" * 64), proc=proc, cgroups=tmp_path) is None
    (proc / "stat").unlink()
    assert processor(server(7), proc=proc, cgroups=tmp_path) is None
