"""NVIDIA Jetson: a GPU inside the processor, which NVML does not know before JetPack 6 and knows little of after.

Sources: Linux `arch/arm64/boot/dts/nvidia` (compatible strings), NVIDIA's CUDA GPU list (capability of each chip),
NVIDIA JetPack archive (CUDA version of each Jetson Linux release).
"""

import re
from pathlib import Path

import msgspec

from deployer.facts.nvml_reading import architecture
from deployer.facts.text import read_text
from deployer.types import Gpu, NvidiaFacts

_CAPABILITIES = {
    "nvidia,tegra210": "5.3",
    "nvidia,tegra186": "6.2",
    "nvidia,tegra194": "7.2",
    "nvidia,tegra234": "8.7",
    "nvidia,tegra264": "11.0",
}
_CUDA_SINCE = (((38, 0), "13.0"), ((36, 4), "12.6"), ((36, 0), "12.2"), ((34, 0), "11.4"), ((32, 4), "10.2"))
_RELEASE = re.compile(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)")
_KIT = re.compile(r"\s+(Engineering Reference )?Developer Kit.*$")


class Answers(msgspec.Struct, frozen=True):
    """The device tree's `compatible` and `model`, and `/etc/nv_tegra_release`; empty texts on another machine."""

    compatible: str = ""
    model: str = ""
    release: str = ""


class Jetson(msgspec.Struct, frozen=True):
    """What is known of the board without NVML; `l4t` is the release of Jetson Linux (`36.4.3`)."""

    name: str | None
    compute_capability: str | None
    l4t: str | None
    cuda: str | None


def ask(root: Path = Path("/")) -> Answers:
    """Read three small files."""
    tree = root / "proc/device-tree"
    return Answers(
        read_text(tree / "compatible"), read_text(tree / "model"), read_text(root / "etc/nv_tegra_release")[:200]
    )


def read(answers: Answers) -> Jetson | None:
    """Tell a Jetson by its chip or by its system's release file; None on any other machine."""
    chips = [text for text in answers.compatible.split("\0") if text in _CAPABILITIES]
    found = _RELEASE.search(answers.release)
    if not chips and found is None:
        return None
    l4t = None if found is None else f"{found[1]}.{found[2]}"
    name = _KIT.sub("", answers.model.strip("\0\n ")) or None
    return Jetson(name, _CAPABILITIES[chips[0]] if chips else None, l4t, _cuda(l4t))


def complete(jetson: Jetson, driver: NvidiaFacts | None, gpus: tuple[Gpu, ...]) -> tuple[NvidiaFacts, tuple[Gpu, ...]]:
    """Put NVML's answers and the board together: the board's name, capability where NVML has none, shared memory.

    Without a GPU from NVML the board's own is given, and NVML's complaint is dropped: CUDA does not need it here.
    """
    told = driver or NvidiaFacts()
    if gpus:
        return msgspec.structs.replace(told, l4t=jetson.l4t, cuda=told.cuda or jetson.cuda), tuple(
            _completed(gpu, jetson) for gpu in gpus
        )
    own = _completed(Gpu(index=0, vendor="nvidia"), jetson)
    return NvidiaFacts(driver=told.driver, cuda=told.cuda or jetson.cuda, l4t=jetson.l4t), (own,)


def _completed(gpu: Gpu, jetson: Jetson) -> Gpu:
    capability = gpu.compute_capability or jetson.compute_capability
    return msgspec.structs.replace(
        gpu,
        name=jetson.name or gpu.name,
        compute_capability=capability,
        architecture=architecture(capability),
        memory_total_mib=None,
        memory_free_mib=None,
        unified_memory=True,
    )


def _cuda(l4t: str | None) -> str | None:
    if l4t is None:
        return None
    parts = [*map(int, l4t.split(".")), 0]
    return next((cuda for since, cuda in _CUDA_SINCE if (parts[0], parts[1]) >= since), None)
