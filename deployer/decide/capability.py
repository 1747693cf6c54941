"""Which compiled code of an image a GPU can run, and up to which driver the GPU is supported.

SASS runs on the same major capability with an equal or higher minor; PTX is compiled by the driver for any equal or
higher capability; code for an architecture-specific target (`12.0a`) runs on exactly that capability.
Source: CUDA C Programming Guide, "Application Compatibility".
"""

import functools
from typing import Literal

from deployer.decide.version import capability, numbers
from deployer.types import Gpu, GpuModel, HostFacts, ImageProfile

Code = Literal["sass", "ptx"]

LAST_DRIVERS = (((3, 0), "390"), ((5, 0), "470"), ((7, 5), "580"))
"""Below this capability, the newest driver branch with support: Fermi ends at R390; Kepler at R470; Maxwell, Pascal and
Volta at R580 (NVIDIA CUDA toolkit, driver and architecture matrix)."""


BRANCHES = {
    "11.4": "470", "11.5": "495", "11.6": "510", "11.7": "515", "11.8": "520", "12.0": "525", "12.1": "530",
    "12.2": "535", "12.3": "545", "12.4": "550", "12.5": "555", "12.6": "560", "12.7": "565", "12.8": "570",
    "12.9": "575", "13.0": "580", "13.1": "590", "13.2": "595", "13.3": "610",
}  # fmt: skip
"""Driver branch by the newest CUDA version that it reports (CUDA toolkit release notes)."""


def driver_of(host: HostFacts) -> str | None:
    """The NVIDIA driver's version, or its branch by the CUDA version that it reports; None when neither is known."""
    if host.nvidia is None:
        return None
    return host.nvidia.driver or BRANCHES.get(host.nvidia.cuda or "")


def cuda_of(driver: str | None) -> str | None:
    """The newest CUDA version that a driver reports, by its branch; None below 470 and where it is unknown."""
    if driver is None:
        return None
    own = numbers(driver)[:1]
    return max((cuda for cuda, branch in BRANCHES.items() if numbers(branch) <= own), key=numbers, default=None)


def code_for(image: ImageProfile, gpu: Gpu) -> Code | None:
    """The code that this GPU would run, or None when the image has none. The GPU's capability must be known."""
    assert gpu.compute_capability is not None  # noqa: S101 - callers ask only where it is known
    return _code(image.sass, image.ptx, gpu.compute_capability)


@functools.lru_cache(maxsize=1024)
def _code(sass: tuple[str, ...], ptx: tuple[str, ...], compute_capability: str) -> Code | None:
    own = capability(compute_capability)
    if any(_sass_runs(item, own) for item in sass):
        return "sass"
    if any(not item.endswith("a") and capability(item) <= own for item in ptx):
        return "ptx"
    return None


def driver_floor(image: ImageProfile, code: Code) -> str | None:
    """The oldest driver for this kind of code; PTX needs the toolkit's own driver, where the profile knows it."""
    return (image.driver_min_ptx or image.driver_min) if code == "ptx" else image.driver_min


def last_driver(gpu: Gpu, known: GpuModel | None) -> str | None:
    """The newest driver branch that supports this NVIDIA GPU; None when it is still supported, or unknown."""
    if gpu.vendor != "nvidia":
        return None
    if known is not None and known.last_driver is not None:
        return known.last_driver
    if gpu.compute_capability is None:
        return None
    own = capability(gpu.compute_capability)
    return next((branch for below, branch in LAST_DRIVERS if own < below), None)


def _sass_runs(item: str, own: tuple[int, int]) -> bool:
    target = capability(item)
    return target == own if item.endswith("a") else target[0] == own[0] and target[1] <= own[1]


def driver_range(floor: str, last: str | None) -> str:
    """Drivers from `floor` to the last branch for a GPU: `570 to 580`, `580`, `580 or newer`."""
    if last is None:
        return f"{floor} or newer"
    return last if numbers(floor)[:1] == numbers(last)[:1] else f"{floor} to {last}"
