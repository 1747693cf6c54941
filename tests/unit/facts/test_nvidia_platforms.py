"""NVIDIA where NVML is absent, elsewhere or knows less: Jetson, DGX Spark, GH200, WSL, a host of virtual machines."""

import shutil
from pathlib import Path

import pytest

from deployer.facts import memory, nvidia, tegra, unified
from deployer.types import Gpu, MemoryFacts, NvidiaFacts
from tests.unit.facts.conftest import Probe
from tests.unit.facts.trees import lay_out


def test_jetson_orin_with_jetpack_6(probe: Probe, tmp_path: Path) -> None:
    lay_out("jetson-orin", tmp_path)
    driver, gpus = probe("jetson-orin", root=tmp_path)
    assert driver == NvidiaFacts(driver="540.4.0", cuda="12.6", l4t="36.4.3")
    [gpu] = unified.share(gpus, memory.probe(tmp_path))
    assert (gpu.name, gpu.compute_capability, gpu.architecture) == ("NVIDIA Jetson AGX Orin", "8.7", "ampere")
    assert (gpu.unified_memory, gpu.memory_total_mib, gpu.memory_free_mib) == (True, 62840, 59392)
    assert (gpu.uuid, gpu.error) == ("54d0709b-558d-5a59-9c65-0c5fc14a21a4", None)


def test_jetson_xavier_has_no_nvml(probe: Probe, tmp_path: Path) -> None:
    lay_out("jetson-xavier", tmp_path)
    driver, [gpu] = probe("jetson-orin", library=tmp_path, root=tmp_path)
    assert driver == NvidiaFacts(cuda="11.4", l4t="35.4.1")
    assert (gpu.name, gpu.compute_capability, gpu.architecture) == ("Jetson-AGX", "7.2", "volta")
    assert (gpu.unified_memory, gpu.memory_total_mib, gpu.error) == (True, None, None)


def test_nvml_that_does_not_start_is_no_error_on_a_jetson(probe: Probe, tmp_path: Path) -> None:
    lay_out("jetson-xavier", tmp_path)
    driver, [gpu] = probe("not-loaded", root=tmp_path)
    assert driver == NvidiaFacts(cuda="11.4", l4t="35.4.1")
    assert gpu.compute_capability == "7.2"


@pytest.mark.parametrize(
    ("release", "l4t", "cuda"),
    [
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref", "32.7.1", "10.2"),
        ("# R32 (release), REVISION: 3.1", "32.3.1", None),
        ("# R36 (release), REVISION: 3.0", "36.3.0", "12.2"),
        ("# R38 (release), REVISION: 2.0", "38.2.0", "13.0"),
        ("# R99 (release), REVISION: 1", "99.1", "13.0"),
    ],
)
def test_releases_of_jetson_linux(release: str, l4t: str, cuda: str | None) -> None:
    jetson = tegra.read(tegra.Answers(release=release))
    assert jetson is not None
    assert (jetson.l4t, jetson.cuda, jetson.compute_capability, jetson.name) == (l4t, cuda, None, None)


@pytest.mark.parametrize(
    ("chip", "capability"),
    [("tegra210", "5.3"), ("tegra186", "6.2"), ("tegra194", "7.2"), ("tegra234", "8.7"), ("tegra264", "11.0")],
)
def test_chips(chip: str, capability: str) -> None:
    jetson = tegra.read(tegra.Answers(compatible=f"nvidia,board\0nvidia,{chip}\0", model="NVIDIA X Developer Kit\0"))
    assert jetson == tegra.Jetson("NVIDIA X", capability, None, None)


def test_another_board_is_no_jetson() -> None:
    assert (
        tegra.read(tegra.Answers(compatible="raspberrypi,5-model-b\0brcm,bcm2712\0", model="Raspberry Pi 5\0")) is None
    )


def test_dgx_spark_has_what_the_host_has_free(probe: Probe, tmp_path: Path) -> None:
    lay_out("gb10", tmp_path)
    driver, gpus = probe("gb10", root=tmp_path)
    assert driver == NvidiaFacts(driver="580.173.02", cuda="13.0")
    [gpu] = unified.share(gpus, memory.probe(tmp_path))
    assert (gpu.name, gpu.compute_capability, gpu.unified_memory) == ("NVIDIA GB10", "12.1", True)
    assert (gpu.memory_total_mib, gpu.memory_free_mib) == (124610, 118164)


def test_gh200_has_memory_of_its_own(probe: Probe) -> None:
    _, [gpu] = probe("gh200")
    assert (gpu.architecture, gpu.unified_memory, gpu.memory_total_mib, gpu.error) == ("hopper", False, 97871, None)


def test_wsl_keeps_the_library_off_the_loaders_path(probe: Probe, tmp_path: Path, nvml_library: Path) -> None:
    root = lay_out("wsl2-rtx3060", tmp_path / "root")
    folder = root / "usr/lib/wsl/lib"
    folder.mkdir(parents=True)
    assert probe("wsl2-rtx3060", library=tmp_path, root=root) == (None, ())
    shutil.copy(nvml_library / nvidia.LIBRARY, folder)
    driver, [gpu] = probe("wsl2-rtx3060", library=tmp_path, root=root)
    assert driver == NvidiaFacts(driver="581.57", cuda="13.0")
    assert (gpu.name, gpu.memory_total_mib, gpu.error) == ("NVIDIA GeForce RTX 3060", 12288, None)
    assert gpu.processes is not None
    assert gpu.processes[0].memory_mib is None


def test_a_damaged_library_of_wsl_is_not_absent(probe: Probe, tmp_path: Path) -> None:
    root = lay_out("wsl2-rtx3060", tmp_path / "root")
    (root / "usr/lib/wsl/lib").mkdir(parents=True)
    (root / "usr/lib/wsl/lib" / nvidia.LIBRARY).write_text("not a library\n" * 100)
    driver, _ = probe("wsl2-rtx3060", library=tmp_path, root=root)
    assert driver is not None
    assert "is there but cannot be loaded" in (driver.error or "")


def test_a_host_that_gave_its_cards_to_virtual_machines(probe: Probe, tmp_path: Path) -> None:
    lay_out("proxmox-vfio", tmp_path)
    driver, gpus = probe("p40x2-580", library=tmp_path, root=tmp_path)
    assert driver is not None
    assert (driver.error or "").startswith(
        "Every NVIDIA card is held by vfio-pci for virtual machines, at 0000:01:00.0"
    )
    assert [(gpu.index, gpu.pci_bus_id, gpu.driver) for gpu in gpus] == [
        (0, "0000:01:00.0", "vfio-pci"),
        (1, "0000:02:00.0", "vfio-pci"),
    ]
    assert all("run deployer in the machine that has it" in (gpu.error or "") for gpu in gpus)


def test_memory_is_shared_by_integrated_gpus_only() -> None:
    host = MemoryFacts(total_mib=1000, available_mib=400)
    card = Gpu(index=0, memory_total_mib=23040, memory_free_mib=22776, unified_memory=False)
    mapped = Gpu(index=1, memory_total_mib=500, memory_free_mib=490, unified_memory=True)
    untold = Gpu(index=2, unified_memory=True)
    shared = unified.share((card, mapped, untold), host)
    assert shared[0] == card
    assert [(gpu.memory_total_mib, gpu.memory_free_mib) for gpu in shared[1:]] == [(500, 400), (1000, 400)]
    assert unified.share((mapped,), MemoryFacts())[0].memory_free_mib == 490
