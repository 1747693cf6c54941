"""The NVIDIA probe against a compiled library: the real binding, the real loader, a real child process."""

from pathlib import Path

import pytest

from deployer.types import NvidiaFacts
from tests.unit.facts.conftest import Probe, plant_card


def test_two_p40_on_driver_580(probe: Probe) -> None:
    driver, gpus = probe("p40x2-580")
    assert driver == NvidiaFacts(driver="580.95.05", cuda="13.0")
    assert [gpu.index for gpu in gpus] == [0, 1]
    first = gpus[0]
    assert (first.vendor, first.name, first.architecture) == ("nvidia", "Tesla P40", "pascal")
    assert first.uuid == "GPU-6b1f9c1e-0f3d-4c52-9a51-3d7f0d1c2a10"
    assert (first.compute_capability, first.pci_bus_id) == ("6.1", "00000000:03:00.0")
    assert (first.memory_total_mib, first.memory_free_mib, first.memory_reserved_mib) == (23040, 22586, 264)
    assert (first.unified_memory, first.display, first.mig, first.error) == (False, False, None, None)


def test_driver_535_reports_cuda_12_2(probe: Probe) -> None:
    driver, gpus = probe("p40x2-535")
    assert driver == NvidiaFacts(driver="535.183.01", cuda="12.2")
    assert len(gpus) == 2


def test_a_process_is_named_without_its_arguments(probe: Probe) -> None:
    _, gpus = probe("p40x2-580")
    assert gpus[0].processes is not None
    [process] = gpus[0].processes
    assert (process.pid, process.name, process.memory_mib) == (4242, "python3", 300)
    assert gpus[1].processes == ()


def test_rtx_4090_drives_a_display_and_hides_memory_of_a_process(probe: Probe) -> None:
    _, gpus = probe("rtx4090")
    [gpu] = gpus
    assert (gpu.architecture, gpu.memory_total_mib, gpu.display) == ("ada", 24564, True)
    assert gpu.processes is not None
    assert (gpu.processes[0].pid, gpu.processes[0].name, gpu.processes[0].memory_mib) == (3100, None, None)


def test_mixed_box(probe: Probe) -> None:
    _, gpus = probe("p40-3090-mixed")
    assert [(gpu.architecture, gpu.compute_capability) for gpu in gpus] == [("pascal", "6.1"), ("ampere", "8.6")]


def test_a_lost_gpu_stays_with_its_error_and_the_others_are_whole(probe: Probe) -> None:
    driver, gpus = probe("lost-gpu")
    assert driver is not None
    assert driver.error is None
    assert [gpu.error is None for gpu in gpus] == [True, False, False]
    assert gpus[0].memory_total_mib == 23040
    assert gpus[1].error is not None
    assert "fallen off the bus" in gpus[1].error
    assert gpus[1].name is None
    assert gpus[2].error is not None
    assert (gpus[2].name, gpus[2].uuid) == ("Tesla P40", "GPU-a2c5e770-8d11-4b7e-8a8e-51c9e1f7b3d4")


def test_an_old_driver_without_the_newer_functions(probe: Probe, old_nvml_library: Path) -> None:
    driver, gpus = probe("old-driver", library=old_nvml_library)
    assert driver == NvidiaFacts(driver="440.100", cuda="10.2")
    [gpu] = gpus
    assert (gpu.memory_total_mib, gpu.memory_free_mib, gpu.memory_reserved_mib) == (11441, 11380, None)
    assert (gpu.architecture, gpu.mig, gpu.error) == ("kepler", None, None)
    assert gpu.processes is not None
    assert (gpu.processes[0].pid, gpu.processes[0].memory_mib) == (77, 100)


def test_functions_that_say_not_found_leave_facts_unknown(probe: Probe) -> None:
    _, gpus = probe("functions-missing")
    [gpu] = gpus
    assert gpu.name == "Tesla K80"
    unknown = (gpu.compute_capability, gpu.architecture, gpu.memory_total_mib, gpu.unified_memory, gpu.display)
    assert unknown == (None, None, None, None, None)
    assert (gpu.processes, gpu.mig, gpu.error) == (None, None, None)


def test_mig_slices_have_their_own_memory(probe: Probe) -> None:
    _, gpus = probe("a100-mig")
    [gpu] = gpus
    assert gpu.error is None
    assert (gpu.memory_total_mib, gpu.processes) == (None, None)
    assert gpu.mig is not None
    assert gpu.mig.enabled
    assert [(part.memory_total_mib, part.memory_free_mib) for part in gpu.mig.devices] == [(40192, 40154), (9728, 9715)]
    assert [(part.uuid or "")[:4] for part in gpu.mig.devices] == ["MIG-", "MIG-"]
    assert gpu.mig.devices[0].name == "NVIDIA A100-SXM4-80GB MIG 3g.40gb"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mismatch", "Reboot this host"),
        ("not-loaded", "sudo modprobe nvidia"),
        ("no-permission", "Permission denied on /dev/nvidia*"),
        ("unknown", "recreate the container"),
        ("no-gpu", "lists no GPU"),
        ("crash", "exit status -6"),
    ],
)
def test_a_driver_that_fails_says_why(probe: Probe, name: str, words: str) -> None:
    driver, gpus = probe(name)
    assert driver is not None
    assert driver.error is not None
    assert words in driver.error
    assert gpus == ()


def test_a_driver_without_its_compute_library_keeps_the_gpus(probe: Probe) -> None:
    driver, gpus = probe("no-libcuda")
    assert driver is not None
    assert (driver.driver, driver.cuda) == ("580.95.05", None)
    assert "libcuda" in (driver.error or "")
    assert gpus[0].name == "Tesla P40"


def test_a_hang_is_cut_off(probe: Probe) -> None:
    """Without the limit it would go on for ever: the driver's function never returns."""
    driver, gpus = probe("hang", timeout_s=0.7)
    assert driver is not None
    assert "NVML did not answer within 0.7 s" in (driver.error or "")
    assert gpus == ()


def test_a_hang_on_the_second_gpu_keeps_the_first(probe: Probe) -> None:
    for timeout_s in (1, 4, 16):  # a busy machine needs longer for the first one
        driver, gpus = probe("hang-second", timeout_s=timeout_s)
        if len(gpus) == 2:
            break
    assert driver == NvidiaFacts(driver="580.95.05", cuda="13.0")
    assert [gpu.error is None for gpu in gpus] == [True, False]
    assert gpus[0].memory_total_mib == 23040
    assert f"did not answer within {timeout_s} s" in (gpus[1].error or "")


def test_no_library_and_no_card_is_no_nvidia(probe: Probe, tmp_path: Path) -> None:
    assert probe("p40x2-580", library=tmp_path, root=tmp_path) == (None, ())


def test_a_card_without_a_driver(probe: Probe, tmp_path: Path) -> None:
    plant_card(tmp_path, "0000:03:00.0", driver="nouveau")
    plant_card(tmp_path, "0000:04:00.0", driver=None, kind="0x040300")
    plant_card(tmp_path, "0000:05:00.0", driver="amdgpu", vendor="0x1002")
    driver, gpus = probe("p40x2-580", library=tmp_path, root=tmp_path)
    assert driver is not None
    assert (driver.error or "").startswith("NVIDIA card without a driver at 0000:03:00.0 (kernel driver: nouveau):")
    assert [(gpu.vendor, gpu.pci_bus_id, gpu.driver) for gpu in gpus] == [("nvidia", "0000:03:00.0", "nouveau")]
    assert "held by the kernel driver nouveau" in (gpus[0].error or "")


@pytest.mark.parametrize(("name", "repair"), [("not-loaded", "sudo modprobe nvidia"), ("mismatch", "Reboot this host")])
def test_cards_stay_in_the_list_when_the_driver_answers_for_none(
    name: str, repair: str, probe: Probe, tmp_path: Path
) -> None:
    plant_card(tmp_path, "0000:03:00.0", driver=None)
    plant_card(tmp_path, "0000:82:00.0", driver="vfio-pci")
    driver, gpus = probe(name, root=tmp_path)
    assert driver is not None
    assert repair in (driver.error or "")
    assert [(gpu.index, gpu.pci_bus_id) for gpu in gpus] == [(0, "0000:03:00.0"), (1, "0000:82:00.0")]
    assert "the driver answers for none" in (gpus[0].error or "")
    assert "held by the kernel driver vfio-pci" in (gpus[1].error or "")


def test_a_library_that_cannot_be_loaded_is_not_absent(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library\n" * 100)
    driver, _ = probe("p40x2-580", library=tmp_path)
    assert driver is not None
    assert "is there but cannot be loaded" in (driver.error or "")


def test_a_card_that_the_driver_does_not_list_stays_with_its_error(probe: Probe, tmp_path: Path) -> None:
    for address in ("0000:03:00.0", "0000:82:00.0", "0000:84:00.0"):
        plant_card(tmp_path, address, driver="nvidia")
    plant_card(tmp_path, "0000:85:00.0", driver="vfio-pci")
    _, gpus = probe("p40x2-580", root=tmp_path)
    assert [gpu.index for gpu in gpus] == [0, 1, 2, 3]
    assert [gpu.pci_bus_id for gpu in gpus[2:]] == ["0000:84:00.0", "0000:85:00.0"]
    assert "Kepler ends with 470" in (gpus[2].error or "")
    assert "open kernel modules are loaded, which serve Turing and newer" in (gpus[2].error or "")
    assert "held by the kernel driver vfio-pci" in (gpus[3].error or "")
