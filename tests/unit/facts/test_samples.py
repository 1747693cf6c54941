"""The sample hosts say what the readers say of the same machines."""

import shutil
from pathlib import Path

import msgspec
import pytest

from deployer.facts import amd, intel, load_host_file, memory, unified
from deployer.paths import data_dir
from deployer.types import Gpu, HostFacts
from tests.unit.facts.conftest import Probe
from tests.unit.facts.trees import lay_out

replace = msgspec.structs.replace
NVIDIA = {
    "2080ti-3090-mixed": "2080ti-3090",
    "gb10": "gb10",
    "h100x8-580": "h100x8-580",
    "jetson-orin": "jetson-orin",
    "k80x2-470": "k80x2-470",
    "t4-580": "t4-580",
    "v100x4-535": "v100x4-535",
    "wsl2-rtx3060": "wsl2-rtx3060",
}


def sample(name: str) -> HostFacts:
    return load_host_file(data_dir("profiles") / "hosts" / f"{name}.json")


def anywhere(gpus: tuple[Gpu, ...]) -> list[Gpu]:
    """The same without what depends on who lays the files out: the group of a device file, and who may open it."""
    return [
        replace(gpu, nodes=tuple(replace(node, group=None, openable=None) for node in gpu.nodes), access=None)
        for gpu in gpus
    ]


@pytest.mark.parametrize("name", ["mi210x2", "rx7900xtx", "strix-halo"])
def test_amd(name: str, tmp_path: Path) -> None:
    lay_out(name, tmp_path)
    shutil.rmtree(tmp_path / "sys/class/kfd/kfd/proc", ignore_errors=True)
    driver, gpus = amd.probe(tmp_path)
    host = sample(name)
    assert anywhere(unified.share(gpus, host.memory)) == anywhere(host.gpus)
    assert driver == host.amd
    assert all(gpu.device_groups for gpu in host.gpus)


def test_intel(tmp_path: Path) -> None:
    assert anywhere(intel.probe(lay_out("arc-a770", tmp_path))) == anywhere(sample("arc-a770").gpus)


@pytest.mark.parametrize(("name", "answers"), NVIDIA.items())
def test_nvidia(name: str, answers: str, probe: Probe, tmp_path: Path) -> None:
    host = sample(name)
    if name in {"gb10", "jetson-orin"}:
        lay_out(name, tmp_path)
        assert memory.probe(tmp_path) == host.memory
    driver, gpus = probe(answers, root=tmp_path)
    assert unified.share(gpus, host.memory) == host.gpus
    assert driver == host.nvidia
