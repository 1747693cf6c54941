"""The processor: model, cores, instruction sets, NUMA nodes, and the cores this process may really use."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.facts import cgroup
from deployer.facts.arm import arm_name
from deployer.facts.text import colon_pairs, count_list, read_text
from deployer.types import CpuFacts

Core = tuple[str, str]


class Answers(msgspec.Struct, frozen=True):
    """Files of the kernel. `topology` maps a CPU number to (package, core) where `/proc/cpuinfo` does not say."""

    architecture: str
    cpuinfo: str
    topology: dict[int, Core] = {}
    nodes: str = ""
    affinity: frozenset[int] | None = None
    cpu_levels: tuple[tuple[str, ...], ...] = ()


def probe(root: Path = Path("/")) -> CpuFacts:
    """Ask this machine: Linux by its own files, any other system through py-cpuinfo (which takes about a second)."""
    if os.uname().sysname != "Linux":
        return _elsewhere()
    return read(ask(root))


def ask(root: Path = Path("/")) -> Answers:
    """Read the files."""
    cpuinfo = read_text(root / "proc/cpuinfo")
    return Answers(
        architecture=os.uname().machine,
        cpuinfo=cpuinfo,
        topology={} if "core id" in cpuinfo else _ask_topology(root / "sys/devices/system/cpu"),
        nodes=read_text(root / "sys/devices/system/node/has_cpu"),
        affinity=frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        cpu_levels=cgroup.ask("cpu", root),
    )


def read(answers: Answers) -> CpuFacts:
    """Give the facts. Cores are physical: distinct pairs of (package, core), so hyper-threads count once."""
    blocks = [
        pairs for pairs in map(colon_pairs, answers.cpuinfo.split("\n\n")) if pairs.get("processor", "").isdigit()
    ]
    cores = {int(block["processor"]): _core(block, answers.topology) for block in blocks}
    first = blocks[0] if blocks else {}
    flags = first.get("flags", first.get("Features"))
    model, vendor = _name(first)
    return CpuFacts(
        model=model,
        vendor=vendor,
        architecture=answers.architecture or None,
        cores=len(set(cores.values())) or None,
        threads=len(blocks) or None,
        available_cores=available_cores(cores, answers.affinity, answers.cpu_levels),
        numa_nodes=count_list(answers.nodes) or None,
        flags=None if flags is None else tuple(sorted(set(flags.split()))),
    )


def available_cores(
    cores: dict[int, Core], affinity: frozenset[int] | None, levels: Sequence[Sequence[str]]
) -> int | None:
    """Count the physical cores in the cpuset, cut to the whole cores of the CPU quota; at least one."""
    usable = {core for number, core in cores.items() if affinity is None or number in affinity}
    if not usable:
        return None
    quota = cgroup.quota_cores(levels)
    return max(1, len(usable) if quota is None else min(len(usable), int(quota)))


def _core(block: dict[str, str], topology: dict[int, Core]) -> Core:
    """Tell which physical core a CPU is on; without any word about it, each CPU is its own core."""
    if "core id" in block:
        return (block.get("physical id", "0"), block["core id"])
    number = int(block["processor"])
    return topology.get(number, ("", str(number)))


def _name(block: dict[str, str]) -> tuple[str | None, str | None]:
    """Give model and vendor; ARM kernels print only numbers for both."""
    if "CPU implementer" in block:
        vendor, model = arm_name(block["CPU implementer"], block.get("CPU part", ""))
        return block.get("model name") or model, vendor
    return block.get("model name") or None, block.get("vendor_id") or None


def _ask_topology(folder: Path) -> dict[int, Core]:
    found = {}
    for cpu in folder.glob("cpu[0-9]*"):
        package = read_text(cpu / "topology/physical_package_id").strip()
        core = read_text(cpu / "topology/core_id").strip()
        if core and cpu.name[3:].isdigit():
            found[int(cpu.name[3:])] = (package, core)
    return found


def _elsewhere() -> CpuFacts:
    """Ask py-cpuinfo; it does not tell physical cores, so they stay unknown."""
    import cpuinfo

    found = cpuinfo.get_cpu_info()
    flags = found.get("flags")
    return CpuFacts(
        model=found.get("brand_raw"),
        vendor=found.get("vendor_id_raw"),
        architecture=os.uname().machine,
        threads=found.get("count"),
        flags=None if flags is None else tuple(sorted(flags)),
    )
