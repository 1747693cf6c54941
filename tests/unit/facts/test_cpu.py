"""Processors from recorded texts."""

from pathlib import Path

import pytest

from deployer.facts import cpu
from deployer.facts.cpu import Answers
from tests.unit.facts.conftest import plant

ARM_BLOCK = """processor\t: {number}
BogoMIPS\t: 2000.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd4f
CPU revision\t: 0
"""


def x86(number: int, package: int, core: int, flags: str = "fpu avx avx2") -> str:
    return (
        f"processor\t: {number}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\n"
        f"physical id\t: {package}\ncore id\t\t: {core}\nflags\t\t: {flags}\n"
    )


def two_sockets() -> str:
    """Two sockets of two cores with two hyper-threads each, numbered as Linux does: 0-3, then their siblings."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)] * 2
    return "\n".join(x86(number, package, core) for number, (package, core) in enumerate(pairs))


def test_hyper_threads_and_sockets() -> None:
    facts = cpu.read(Answers("x86_64", two_sockets(), nodes="0-1\n"))
    assert (facts.cores, facts.threads, facts.available_cores, facts.numa_nodes) == (4, 8, 4, 2)
    assert facts.vendor == "GenuineIntel"
    assert facts.model == "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    assert facts.flags == ("avx", "avx2", "fpu")


@pytest.mark.parametrize(
    ("affinity", "levels", "expected"),
    [
        (None, (), 4),
        ({0, 4}, (), 1),
        ({0, 1, 2}, (), 3),
        ({0, 1, 2, 3}, (("250000 100000",),), 2),
        ({0, 1, 2, 3}, (("50000 100000",),), 1),
        ({0, 1}, (("800000 100000",),), 2),
    ],
)
def test_available_cores_respect_the_cpuset_and_the_quota(
    affinity: set[int] | None, levels: tuple[tuple[str, ...], ...], expected: int
) -> None:
    allowed = None if affinity is None else frozenset(affinity)
    facts = cpu.read(Answers("x86_64", two_sockets(), affinity=allowed, cpu_levels=levels))
    assert facts.available_cores == expected


def test_arm_has_features_and_numbers_for_names() -> None:
    text = "\n".join(ARM_BLOCK.format(number=number) for number in range(4))
    facts = cpu.read(Answers("aarch64", text))
    assert (facts.model, facts.vendor, facts.architecture) == ("Neoverse-V2", "ARM", "aarch64")
    assert (facts.cores, facts.threads) == (4, 4)
    assert facts.flags is not None
    assert {"asimddp", "i8mm", "sve"} <= set(facts.flags)


def test_an_arm_part_nobody_named_is_unknown() -> None:
    facts = cpu.read(Answers("aarch64", ARM_BLOCK.format(number=0).replace("0xd4f", "0xfff").replace("0x41", "0xee")))
    assert (facts.model, facts.vendor) == (None, None)


def test_topology_comes_from_sysfs_where_cpuinfo_is_silent(tmp_path: Path) -> None:
    base = "sys/devices/system/cpu"
    files = {"proc/cpuinfo": "\n".join(ARM_BLOCK.format(number=number) for number in range(4))}
    for number in range(4):
        files[f"{base}/cpu{number}/topology/physical_package_id"] = "0\n"
        files[f"{base}/cpu{number}/topology/core_id"] = f"{number // 2}\n"
    answers = cpu.ask(plant(tmp_path, files))
    assert answers.topology[3] == ("0", "1")
    assert cpu.read(answers).cores == 2


def test_nothing_readable_is_unknown() -> None:
    facts = cpu.read(Answers("x86_64", ""))
    assert (facts.model, facts.cores, facts.available_cores, facts.flags) == (None, None, None, None)


def test_this_machine_has_cores() -> None:
    facts = cpu.probe()
    assert facts.cores is not None
    assert facts.available_cores is not None
    assert 1 <= facts.available_cores <= facts.cores
