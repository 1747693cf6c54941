"""The stand-in for NVIDIA's library, compiled once, and a way to run the probe where the real loader finds it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from deployer.types import Gpu, NvidiaFacts

NVML = Path(__file__).parents[2] / "nvml"
Heard = tuple[NvidiaFacts | None, tuple[Gpu, ...]]
Probe = Callable[..., Heard]

_CODE = """
import sys
from pathlib import Path
import msgspec
from deployer.facts import nvidia
found = nvidia.probe(timeout_s=float(sys.argv[1]), root=Path(sys.argv[2]))
sys.stdout.buffer.write(msgspec.json.encode(found))
"""


def _compile(folder: Path, *flags: str) -> Path:
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *flags, "-o", str(target), str(NVML / "nvml.c")],
        check=True,
    )
    return folder


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _compile(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _compile(tmp_path_factory.mktemp("old-nvml"), "-DOLD_DRIVER")


@pytest.fixture(scope="session")
def probe(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """Run the NVIDIA probe in a fresh Python with one answer file, one library and one PCI tree."""
    empty = tmp_path_factory.mktemp("empty-root")

    def run(name: str, *, library: Path = nvml_library, timeout_s: float = 20.0, root: Path = empty) -> Heard:
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(library),
            "NVML_ANSWERS": str(NVML / "answers" / f"{name}.txt"),
        }
        done = subprocess.run(
            [sys.executable, "-c", _CODE, str(timeout_s), str(root)],
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
        found: Heard = msgspec.json.decode(done.stdout, type=Heard)
        return found

    return run


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write files of the kernel below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def plant_card(root: Path, address: str, *, driver: str | None, vendor: str = "0x10de", kind: str = "0x030200") -> Path:
    """Put a PCI device below `root`."""
    device = f"sys/bus/pci/devices/{address}"
    plant(root, {f"{device}/vendor": vendor + "\n", f"{device}/class": kind + "\n"})
    if driver is not None:
        (root / device / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")
    return root
