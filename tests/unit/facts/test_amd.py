"""AMD cards, from the files of whole machines."""

from pathlib import Path

import pytest

from deployer.facts import amd, amd_reading, device_files, kfd, pci
from deployer.types import AmdFacts, Gpu, GpuProcess
from tests.unit.facts.conftest import plant_card
from tests.unit.facts.trees import lay_out


def heard(name: str, root: Path) -> tuple[AmdFacts | None, tuple[Gpu, ...]]:
    return amd.probe(lay_out(name, root))


def test_rx_7900_xtx(tmp_path: Path) -> None:
    driver, [gpu] = heard("rx7900xtx", tmp_path)
    assert driver == AmdFacts()
    assert (gpu.index, gpu.vendor, gpu.name, gpu.driver) == (0, "amd", "AMD Radeon RX 7900 XTX", "amdgpu")
    assert (gpu.gfx, gpu.architecture, gpu.compute_capability) == ("gfx1100", "rdna3", None)
    assert (gpu.memory_total_mib, gpu.memory_free_mib, gpu.unified_memory) == (24560, 24210, False)
    assert (gpu.pci_bus_id, gpu.uuid) == ("0000:0c:00.0", "GPU-a1ffc9d1799c317f")
    assert (gpu.display, gpu.error) == (False, None)
    assert gpu.processes == (GpuProcess(pid=4711, name="llama-server", memory_mib=300),)
    assert [node.path for node in gpu.nodes] == ["/dev/kfd", "/dev/dri/renderD128"]
    assert gpu.device_groups == tuple({(tmp_path / "dev/kfd").stat().st_gid})


def test_a_card_beside_the_gpu_of_the_processor(tmp_path: Path) -> None:
    driver, [card, integrated] = heard("rx6800-apu", tmp_path)
    assert driver == AmdFacts()
    assert (card.name, card.gfx, card.memory_total_mib, card.unified_memory) == (
        "AMD Radeon RX 6800",
        "gfx1030",
        16368,
        False,
    )
    assert (integrated.name, integrated.gfx, integrated.architecture) == ("AMD GPU 1002:164e", "gfx1036", "rdna2")
    assert (integrated.memory_total_mib, integrated.memory_free_mib) == (31987, 31897)
    assert (integrated.unified_memory, integrated.display, card.display) == (True, True, False)
    assert (card.uuid, integrated.uuid) == (None, None)
    assert card.device_groups == integrated.device_groups == ()


def test_two_mi210_stand_in_the_order_of_rocm_not_of_the_bus(tmp_path: Path) -> None:
    driver, gpus = heard("mi210x2", tmp_path)
    assert driver == AmdFacts(driver="6.12.12")
    assert [(gpu.index, gpu.pci_bus_id) for gpu in gpus] == [(0, "0000:63:00.0"), (1, "0000:43:00.0")]
    assert [gpu.name for gpu in gpus] == ["AMD Instinct MI210"] * 2
    assert {gpu.gfx for gpu in gpus} == {"gfx90a"}
    assert {gpu.architecture for gpu in gpus} == {"cdna2"}
    assert [gpu.memory_total_mib for gpu in gpus] == [65520, 65520]
    assert [gpu.uuid for gpu in gpus] == ["GPU-1901ead3a2ecd4a6", "GPU-51276ac12ce05db3"]
    assert [node.path for node in gpus[1].nodes] == ["/dev/kfd", "/dev/dri/renderD129"]


def test_strix_halo_has_what_it_may_map_of_the_host(tmp_path: Path) -> None:
    _, [gpu] = heard("strix-halo", tmp_path)
    assert (gpu.name, gpu.gfx, gpu.architecture) == ("AMD Radeon 8060S", "gfx1151", "rdna3.5")
    assert (gpu.unified_memory, gpu.memory_total_mib, gpu.memory_free_mib) == (True, 63794, 63777)


def test_a_large_carve_out_is_the_cards_own_memory() -> None:
    counters = {"mem_info_vram_total": 96 * 1024**3, "mem_info_gtt_total": 16 * 1024**3}
    card = amd_reading.Card(
        pci.PciCard("0000:c5:00.0", "amdgpu"), "x", counters, "", discrete=False, display=False, render=None
    )
    assert not amd_reading.is_integrated(card)


def test_files_of_root_alone_do_not_make_the_card_unusable(tmp_path: Path) -> None:
    _, [gpu] = heard("radeon-vii", tmp_path)
    assert (gpu.name, gpu.gfx, gpu.architecture, gpu.error) == ("AMD Radeon VII", "gfx906", "gcn5", None)
    assert [node.group is None for node in gpu.nodes] == [True, False]


def test_without_the_compute_driver_only_vulkan_is_left(tmp_path: Path) -> None:
    driver, [seen, hidden] = heard("amd-no-kfd", tmp_path)
    assert driver is not None
    assert (driver.error or "").startswith("/dev/kfd is not here, which ROCm needs: pass it to this container")
    assert (seen.name, seen.gfx, seen.error, seen.processes) == ("AMD Radeon RX 7900 XT", None, None, None)
    assert [node.path for node in seen.nodes] == ["/dev/dri/renderD128"]
    assert (hidden.error or "").startswith("/dev/dri/renderD129 of this AMD card is not here")


def test_a_card_that_the_compute_driver_leaves_out(tmp_path: Path) -> None:
    lay_out("rx7900xtx", tmp_path)
    (tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties").unlink()
    driver, [gpu] = amd.probe(tmp_path)
    assert driver is not None
    assert "does not offer the AMD card at 0000:0c:00.0" in (driver.error or "")
    assert (gpu.gfx, gpu.error, gpu.uuid) == (None, None, "GPU-a1ffc9d1799c317f")


@pytest.mark.parametrize(
    ("held_by", "words"),
    [
        (None, "has no driver: load it with `sudo modprobe amdgpu`"),
        ("vfio-pci", "is held by vfio-pci, for virtual machines"),
        ("radeon", "is held by the kernel driver radeon: bind it to amdgpu"),
        ("amdgpu", "has no render node"),
    ],
)
def test_cards_that_cannot_be_used(tmp_path: Path, held_by: str | None, words: str) -> None:
    plant_card(tmp_path, "0000:05:00.0", driver=held_by, vendor="0x1002", kind="0x120000")
    driver, [gpu] = amd.probe(tmp_path)
    assert (driver is None) == (held_by != "amdgpu")
    assert words in (gpu.error or "")


def test_no_card_is_no_amd(tmp_path: Path) -> None:
    plant_card(tmp_path, "0000:05:00.0", driver="amdgpu", vendor="0x1002", kind="0x040300")
    assert amd.probe(tmp_path) == (None, ())


@pytest.mark.parametrize(
    ("version", "gfx", "architecture"),
    [
        (90006, "gfx906", "gcn5"),
        (90008, "gfx908", "cdna"),
        (90010, "gfx90a", "cdna2"),
        (90012, "gfx90c", "gcn5"),
        (90402, "gfx942", "cdna3"),
        (90500, "gfx950", "cdna4"),
        (100100, "gfx1010", "rdna"),
        (100302, "gfx1032", "rdna2"),
        (110501, "gfx1151", "rdna3.5"),
        (120001, "gfx1201", "rdna4"),
        (120500, "gfx1250", None),
        (80003, "gfx803", None),
        (0, None, None),
        (99999, None, None),
    ],
)
def test_targets(version: int, gfx: str | None, architecture: str | None) -> None:
    assert kfd.gfx_name(version) == gfx
    assert amd_reading.architecture(gfx) == architecture


@pytest.mark.parametrize("text", ["", "vendor_id 4098\n", "nonsense", "vendor_id -1\ngfx_target_version x\n"])
def test_a_node_without_a_gpu_is_none(text: str) -> None:
    assert kfd.read_node("1", text) is None


def test_what_this_user_may_not_open_is_said_with_the_way_out() -> None:
    closed = device_files.read(device_files.Answer("/dev/kfd", 0o660, 992, openable=False))
    open_ = device_files.read(device_files.Answer("/dev/dri/renderD128", 0o666, 992, openable=True))
    root_only = device_files.read(device_files.Answer("/dev/dri/renderD129", 0o600, 0, openable=False))
    assert closed is not None
    assert open_ is not None
    assert root_only is not None
    assert (closed.group, open_.group, root_only.group) == (992, None, None)
    assert device_files.access([open_]) is None
    assert device_files.access([closed, open_]) == (
        "This user may not open /dev/kfd. A container that root's engine starts still may; for a program on the host "
        "or a rootless engine, run `sudo usermod -aG 992 $USER` and log in again."
    )
    assert "run it as root" in (device_files.access([root_only]) or "")
    assert device_files.read(device_files.Answer("/dev/kfd")) is None
