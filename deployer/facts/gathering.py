"""All probes, one source each, asked side by side."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import msgspec

from deployer.facts import (
    amd,
    container,
    cpu,
    disk,
    intel,
    memory,
    nvidia,
    operating_system,
    programs,
    unified,
    wsl,
)
from deployer.facts.fingerprint import fingerprint
from deployer.types import (
    AmdFacts,
    ContainerFacts,
    CpuFacts,
    DiskFacts,
    Gpu,
    HostFacts,
    MemoryFacts,
    NvidiaFacts,
    OsFacts,
)


class _Found(msgspec.Struct):
    """Facts so far; what no probe filled in stays unknown."""

    os: OsFacts = OsFacts()
    cpu: CpuFacts = CpuFacts()
    memory: MemoryFacts = MemoryFacts()
    disk: DiskFacts = DiskFacts()
    nvidia: tuple[NvidiaFacts | None, tuple[Gpu, ...]] = (None, ())
    amd: tuple[AmdFacts | None, tuple[Gpu, ...]] = (None, ())
    intel: tuple[Gpu, ...] = ()
    wsl: tuple[Gpu, ...] = ()
    container: ContainerFacts | None = None
    programs: dict[str, str] | None = None


class Probe(msgspec.Struct, frozen=True):
    """One source: the fact it fills, the call, and whether it waits for another process and so gets a thread."""

    fact: str
    ask: Callable[[Path], object]
    waits: bool = False


PROBES = (
    Probe("nvidia", lambda _: nvidia.probe(), waits=True),
    Probe("container", lambda _: container.probe(), waits=True),
    Probe("amd", lambda _: amd.probe()),
    Probe("intel", lambda _: intel.probe()),
    Probe("wsl", lambda _: wsl.probe()),
    Probe("os", lambda _: operating_system.probe()),
    Probe("cpu", lambda _: cpu.probe()),
    Probe("memory", lambda _: memory.probe()),
    Probe("disk", disk.probe),
    Probe("programs", lambda _: programs.probe()),
)


def gather(disk_path: Path) -> HostFacts:
    """Ask every probe; `disk` is for the disk that holds `disk_path`. What cannot be had is unknown, never raised."""
    found = _Found()
    threads = [Thread(target=_fill, args=(found, probe, disk_path), daemon=True) for probe in PROBES if probe.waits]
    for thread in threads:
        thread.start()
    for probe in PROBES:
        if not probe.waits:
            _fill(found, probe, disk_path)
    for thread in threads:
        thread.join()
    return _assemble(found)


def _fill(found: _Found, probe: Probe, disk_path: Path) -> None:
    """Ask one probe; a kernel file of a form never seen leaves its fact unknown instead of ending the command."""
    try:
        setattr(found, probe.fact, probe.ask(disk_path))
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return


def in_one_list(*lists: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Number the GPUs of all makers through: NVIDIA's keep NVML's index, the others follow."""
    joined = [gpu for gpus in lists for gpu in gpus]
    return tuple(msgspec.structs.replace(gpu, index=index) for index, gpu in enumerate(joined))


def _assemble(found: _Found) -> HostFacts:
    driver, own = found.nvidia
    amd_facts, amd_gpus = found.amd
    gpus = in_one_list(own, amd_gpus, found.intel, () if driver is not None else found.wsl)
    host = HostFacts(
        hostname=os.uname().nodename or None,
        captured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        os=found.os,
        cpu=found.cpu,
        memory=found.memory,
        disk=found.disk,
        nvidia=driver,
        gpus=unified.share(gpus, found.memory),
        container=found.container,
        programs=found.programs,
        amd=amd_facts,
    )
    return msgspec.structs.replace(host, fingerprint=fingerprint(host))
