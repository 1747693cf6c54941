"""Intel cards, from the files of whole machines; and what WSL hides."""

from pathlib import Path

from deployer.facts import amd, intel, wsl
from deployer.facts.pci import PciCard
from deployer.facts.pci_names import amd_name, intel_name
from tests.unit.facts.conftest import plant, plant_card
from tests.unit.facts.trees import lay_out


def test_arc_a770_under_i915(tmp_path: Path) -> None:
    [gpu] = intel.probe(lay_out("arc-a770", tmp_path))
    assert (gpu.vendor, gpu.name, gpu.architecture, gpu.driver) == ("intel", "Intel Arc A770", "alchemist", "i915")
    assert (gpu.memory_total_mib, gpu.memory_free_mib, gpu.unified_memory) == (None, None, False)
    assert (gpu.pci_bus_id, gpu.display, gpu.error) == ("0000:03:00.0", False, None)
    assert [node.path for node in gpu.nodes] == ["/dev/dri/renderD128"]


def test_intels_own_i915_tells_the_memory(tmp_path: Path) -> None:
    lay_out("arc-a770", tmp_path)
    plant(tmp_path, {"sys/bus/pci/devices/0000:03:00.0/drm/card0/lmem_total_bytes": "17079205888\n"})
    assert intel.probe(tmp_path)[0].memory_total_mib == 16288


def test_arc_b580_under_xe(tmp_path: Path) -> None:
    [gpu] = intel.probe(lay_out("arc-b580", tmp_path))
    assert (gpu.name, gpu.architecture, gpu.driver) == ("Intel Arc B580", "battlemage", "xe")
    assert (gpu.memory_total_mib, gpu.unified_memory, gpu.display) == (12288, False, True)


def test_integrated_and_cards_that_cannot_be_used(tmp_path: Path) -> None:
    integrated, without, held = intel.probe(lay_out("intel-igpu", tmp_path))
    assert (integrated.name, integrated.unified_memory, integrated.error) == ("Intel UHD Graphics 770", True, None)
    assert (integrated.memory_total_mib, integrated.display) == (None, True)
    assert without.name == "Intel Arc A750"
    assert "has no driver: Arc A needs Linux 6.2" in (without.error or "")
    assert held.name == "Intel GPU 8086:56ff"
    assert "held by the kernel driver vfio-pci" in (held.error or "")


def test_a_render_node_that_is_not_here(tmp_path: Path) -> None:
    plant_card(tmp_path, "0000:03:00.0", driver="xe", vendor="0x8086")
    assert "pass it to this container" in (intel.probe(tmp_path)[0].error or "")


def test_the_hosts_own_lists_name_what_is_not_known_here(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "usr/share/libdrm/amdgpu.ids": "# x\n1.0.0\n164E,\tC1,\tAMD Radeon Graphics\n744C,\tFF,\tAMD Radeon X\n",
            "usr/share/hwdata/pci.ids": "1002  AMD\n\t7fff  Navi 99 [Radeon RX 1]\n8086  Intel\n\t1234  Plain name\n",
        },
    )
    assert amd_name(PciCard("", None, "744c", "ff"), root=tmp_path) == "AMD Radeon X"
    assert amd_name(PciCard("", None, "164e", "c1"), root=tmp_path) == "AMD Radeon"
    assert amd_name(PciCard("", None, "7fff", "00"), root=tmp_path) == "AMD Radeon RX 1"
    assert amd_name(PciCard("", None, "7fff", "00"), "AMD Instinct MI999", tmp_path) == "AMD Instinct MI999"
    assert intel_name(PciCard("", None, "1234", "00"), tmp_path) == "Intel Plain name"
    assert intel_name(PciCard("", None, "7fff", "00"), tmp_path) == "Intel GPU 8086:7fff"
    assert amd_name(PciCard("", None, "", ""), root=tmp_path) == "AMD GPU 1002:"


def test_wsl_with_a_card_that_nothing_can_use(tmp_path: Path) -> None:
    lay_out("amd-wsl", tmp_path)
    assert amd.probe(tmp_path) == (None, ())
    [gpu] = wsl.probe(tmp_path)
    assert (gpu.vendor, gpu.name) == (None, None)
    assert "an AMD or Intel card cannot compute for a container here" in (gpu.error or "")


def test_wsl_with_nvidias_library_has_nothing_to_complain_of(tmp_path: Path) -> None:
    lay_out("wsl2-rtx3060", tmp_path)
    plant(tmp_path, {"usr/lib/wsl/lib/libnvidia-ml.so.1": ""})
    assert wsl.probe(tmp_path) == ()
    assert wsl.probe(tmp_path / "elsewhere") == ()
