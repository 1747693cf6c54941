"""Control groups from recorded texts: version 2, version 1, both at once, and inside a container."""

from pathlib import Path

import pytest

from deployer.facts import cgroup
from deployer.facts.cgroup import MemoryLimit
from tests.unit.facts.conftest import plant

GIB = 1024**3
V2_MOUNT = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)


def test_version_2_walks_up_from_the_own_group(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/system.slice"
    plant(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/system.slice/deployer.service\n",
            f"{base}/deployer.service/cpu.max": "max 100000\n",
            f"{base}/cpu.max": "150000 100000\n",
        },
    )
    found = cgroup.ask("cpu", tmp_path)
    assert found == (("max 100000\n",), ("150000 100000\n",), ("",))
    assert cgroup.quota_cores(found) == 1.5


def test_version_1_is_chosen_when_it_holds_the_controller(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "proc/self/mountinfo": V1_MOUNTS,
            "proc/self/cgroup": "4:memory:/user\n3:cpuacct,cpu:/user\n0::/elsewhere\n",
            "sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup.quota_cores(cgroup.ask("cpu", tmp_path)) == 3.0


def test_inside_a_container_the_mount_shows_only_the_own_group(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "proc/self/mountinfo": "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            "proc/self/cgroup": "4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": "cache 1\ninactive_file 1\ntotal_inactive_file 536870912\n",
        },
    )
    found = cgroup.ask("memory", tmp_path)
    assert len(found) == 1
    assert cgroup.memory_limit(found, 64 * GIB) == MemoryLimit(4 * GIB, 4 * GIB - GIB // 2)


def test_a_group_outside_the_mount_reads_the_mount_itself(tmp_path: Path) -> None:
    mount = cgroup.Mount("cgroup2", frozenset(), "/docker/abc", "/sys/fs/cgroup")
    assert cgroup.levels(mount, "/../other") == ("/sys/fs/cgroup",)
    assert cgroup.levels(mount, "/docker/abc/x") == ("/sys/fs/cgroup/x", "/sys/fs/cgroup")


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup.ask("cpu", tmp_path) == ()
    assert cgroup.quota_cores(()) is None
    assert cgroup.memory_limit((), GIB) is None


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max", None),
        ("9223372036854771712", None),
        ("", None),
        (str(2 * GIB), MemoryLimit(2 * GIB, GIB)),
        (str(GIB // 2), MemoryLimit(GIB // 2, 0)),
    ],
)
def test_memory_limits(limit: str, expected: MemoryLimit | None) -> None:
    assert cgroup.memory_limit(((limit, str(GIB), "anon 5\n"),), 8 * GIB) == expected


def test_the_tightest_level_counts() -> None:
    found = ((str(4 * GIB), str(GIB), ""), (str(3 * GIB), str(2 * GIB), ""))
    assert cgroup.memory_limit(found, 8 * GIB) == MemoryLimit(3 * GIB, GIB)


@pytest.mark.parametrize("text", ["max 100000", "-1 100000", "100000", "", "100000 0", "x y"])
def test_no_quota(text: str) -> None:
    assert cgroup.quota_cores(((text,),)) is None
