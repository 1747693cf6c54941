"""The fingerprint changes with what decides compatibility, and with nothing else."""

import re
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from deployer.facts import fingerprint
from deployer.types import (
    ContainerFacts,
    CpuFacts,
    DiskFacts,
    Gpu,
    GpuProcess,
    HostFacts,
    MemoryFacts,
    MigFacts,
    NvidiaFacts,
    OsFacts,
)

P40 = Gpu(index=0, vendor="nvidia", name="Tesla P40", uuid="GPU-a", compute_capability="6.1", memory_total_mib=23040)
RTX = Gpu(index=1, vendor="nvidia", name="NVIDIA GeForce RTX 3090", compute_capability="8.6", memory_total_mib=24576)
HOST = HostFacts(
    hostname="one",
    os=OsFacts(system="Linux", distribution="debian 12", kernel="6.1.0"),
    cpu=CpuFacts(model="A", architecture="x86_64", cores=8, flags=("avx", "avx2", "fpu")),
    nvidia=NvidiaFacts(driver="580.95.05", cuda="13.0"),
    gpus=(P40, RTX),
    container=ContainerFacts(engine="docker", version="28.5.1", nvidia_runtime=True, cdi=("nvidia.com/gpu=0",)),
)


def test_it_is_twelve_hex_digits() -> None:
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(HOST))
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(HostFacts()))


@pytest.mark.parametrize(
    "change",
    [
        lambda h: replace(h, hostname="two", captured_at="2027-01-01T00:00:00Z", fingerprint="x"),
        lambda h: replace(h, os=OsFacts(system="Linux", distribution="fedora 44", kernel="7.0", wsl=False)),
        lambda h: replace(h, memory=MemoryFacts(total_mib=1), disk=DiskFacts(free_mib=2)),
        lambda h: replace(h, cpu=replace(h.cpu, flags=("avx2", "avx", "fpu", "hypervisor"), cores=4)),
        lambda h: replace(h, gpus=(replace(RTX, index=0), replace(P40, index=1, uuid="GPU-b"))),
        lambda h: replace(h, gpus=(replace(P40, memory_free_mib=5, processes=(GpuProcess(pid=1),), error="x"), RTX)),
        lambda h: replace(h, gpus=(*h.gpus, Gpu(index=2, vendor="nvidia", error="lost"))),
        lambda h: replace(h, nvidia=NvidiaFacts(driver="580.126.09", cuda="13.0")),
        lambda h: replace(h, container=replace(h.container or ContainerFacts(), version="28.5.2", compose="2.40")),
        lambda h: replace(h, gpus=(replace(P40, mig=MigFacts(enabled=False)), RTX)),
    ],
)
def test_it_stays(change: Callable[[HostFacts], HostFacts]) -> None:
    assert fingerprint(change(HOST)) == fingerprint(HOST)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: replace(h, os=OsFacts(system="Darwin")),
        lambda h: replace(h, cpu=replace(h.cpu, architecture="aarch64")),
        lambda h: replace(h, cpu=replace(h.cpu, flags=("avx", "avx2", "avx512f"))),
        lambda h: replace(h, gpus=(P40,)),
        lambda h: replace(h, gpus=(P40, P40, RTX)),
        lambda h: replace(h, gpus=(replace(P40, memory_total_mib=24576), RTX)),
        lambda h: replace(h, gpus=(replace(P40, mig=MigFacts(enabled=True)), RTX)),
        lambda h: replace(h, nvidia=NvidiaFacts(driver="535.183.01", cuda="13.0")),
        lambda h: replace(h, nvidia=NvidiaFacts(driver="580.95.05", cuda="13.1")),
        lambda h: replace(h, container=replace(h.container or ContainerFacts(), engine="podman")),
        lambda h: replace(h, container=replace(h.container or ContainerFacts(), nvidia_runtime=False)),
        lambda h: replace(h, container=replace(h.container or ContainerFacts(), cdi=())),
    ],
)
def test_it_changes(change: Callable[[HostFacts], HostFacts]) -> None:
    assert fingerprint(change(HOST)) != fingerprint(HOST)
