"""Fill what a host did not tell about its GPUs from what is known of them by name."""

import functools
import re
from collections.abc import Mapping, Sequence

import msgspec

from deployer.types import Gpu, GpuModel, HostFacts

FREE_RESERVE_MIB = 512
"""Kept back where only the total memory of a GPU is known: driver, firmware and a desktop take some of it."""

UNIFIED_CAPABILITIES = ("5.3", "6.2", "7.2", "8.7", "11.0", "12.1")
"""Jetson TX1 to Thor and GB10: their GPUs share the processor's memory."""

JETSON = ("5.3", "6.2", "7.2", "8.7")
"""Jetson TX1 and Nano, TX2, Xavier and Orin; Thor (11.0) runs the images for ARM servers."""

UNIFIED_GFX = ("gfx90c", "gfx1035", "gfx1036", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153")
"""Graphics inside AMD processors."""

UNIFIED_HEADROOM_MIB, UNIFIED_HEADROOM_PART = 1024, 0.06
"""Kept for the system where GPU and processor share one memory: filling it freezes the host (spark-arena#17)."""

_BRANDS = re.compile(r"^(nvidia|grid|geforce|tesla|amd|intel)+")
_MARKS = re.compile(r"\((?:tm|r)\)|[™®]")
_VGPU = re.compile(r"-\d+(?P<kind>[ABCQ])$")
"""`GRID P40-24Q`, `NVIDIA A100D-40C`: a virtual GPU, its size in GB and what its profile is for."""

_LOOSE = (
    re.compile(r"-\d+[abcq]$"),
    re.compile(r"\s*\(.*\)$"),
    re.compile(r"\s+graphics$"),
    re.compile(r"[\s-]*\b\d+\s*gb?\b.*$"),
    re.compile(r"[\s-]*\b(pcie|sxm\d?|oam|hbm\de?)\b.*$"),
)
"""What a name may end with beyond what is known: a remark, `Graphics`, the memory's size, the form of the board."""

_OTHER_CHIP = re.compile(r"\bmig\b|laptop|mobile|max-q", re.IGNORECASE)
"""With these words a name means another chip, or a part of one, and is looked up as it is only."""


def complete(host: HostFacts, gpus_table: Sequence[GpuModel]) -> tuple[HostFacts, tuple[str, ...]]:
    """Host with GPU memory (MiB), vendor, architecture and capability filled by name, and a warning for each guess.

    A GPU with an error is left as it is. A name that is not in the table stays unknown, with a warning.
    """
    table = by_name(gpus_table)
    filled: list[Gpu] = []
    guesses: dict[tuple[str | None, str], list[Gpu]] = {}
    for gpu in host.gpus:
        known = lookup(gpu.name, table)
        done, said = (gpu, ()) if gpu.error else _complete_gpu(shared(gpu, host, known), known)
        filled.append(done)
        for sentence in said:
            guesses.setdefault((gpu.name, sentence), []).append(done)
    warnings = tuple(f"{labels(gpus)}: {sentence}" for (_, sentence), gpus in guesses.items())
    return msgspec.structs.replace(host, gpus=tuple(filled)), warnings


def shared(gpu: Gpu, host: HostFacts, known: GpuModel | None = None) -> Gpu:
    """A GPU without memory of its own has what main memory has, less what the system keeps; other GPUs unchanged.

    NVML does not tell its memory (GB10, Jetson), or tells all that could be mapped (APUs): in both cases the kernel's
    MemAvailable is the budget, and it is one with the processor's.
    """
    if not is_unified(gpu, known):
        return gpu
    total = host.memory.total_mib
    free = [
        size for size in (gpu.memory_free_mib, host.memory.available_mib, host.memory.limit_mib) if size is not None
    ]
    available = min(free) if free else total
    return msgspec.structs.replace(
        gpu,
        unified_memory=True,
        memory_total_mib=gpu.memory_total_mib if gpu.memory_total_mib is not None else total,
        memory_free_mib=None if available is None else max(available - unified_headroom_mib(host), 0),
    )


def is_unified(gpu: Gpu, known: GpuModel | None = None) -> bool:
    """Whether it shares the processor's memory: as reported, else by what it is, or is known to be by its name."""
    if gpu.unified_memory is not None:
        return gpu.unified_memory
    capability = gpu.compute_capability or (known.compute_capability if known else None)
    return capability in UNIFIED_CAPABILITIES or (gpu.gfx or (known.gfx if known else None)) in UNIFIED_GFX


def unified_headroom_mib(host: HostFacts) -> int:
    """What the system keeps of a memory that GPU and processor share, in MiB."""
    return max(UNIFIED_HEADROOM_MIB, int((host.memory.total_mib or 0) * UNIFIED_HEADROOM_PART))


def by_name(gpus_table: Sequence[GpuModel]) -> dict[str, GpuModel]:
    """The table by normalized name and alias; an earlier entry wins."""
    found: dict[str, GpuModel] = {}
    for model in gpus_table:
        for name in (model.name, *model.aliases):
            found.setdefault(_key(name), model)
    return found


def lookup(name: str | None, table: Mapping[str, GpuModel]) -> GpuModel | None:
    """What is known of a GPU by its name, whatever the case, blanks and maker's words; None when unknown.

    A name that is not known as a whole is looked up without the memory's size and the form of the board
    (`A100-SXM-64GB`), but never a laptop's chip or a MIG slice as the card that it is named after.
    """
    return table.get(_key(name)) or _nearly(name, table) if name else None


def is_tegra(gpu: Gpu, host: HostFacts) -> bool:
    """True for the GPU of a Jetson: by its capability, or on a host with Jetson Linux."""
    linux = host.nvidia is not None and host.nvidia.l4t is not None
    return gpu.vendor in (None, "nvidia") and (gpu.compute_capability in JETSON or linux)


def vgpu_kind(gpu: Gpu) -> str | None:
    """`A`, `B`, `C` or `Q` for a virtual GPU of NVIDIA's, by its name; None for any other GPU."""
    found = _VGPU.search(gpu.name or "") if gpu.vendor in (None, "nvidia") else None
    return found["kind"] if found else None


def label(gpu: Gpu) -> str:
    """`GPU 0 (Tesla P40)`."""
    return f"GPU {gpu.index} ({short_name(gpu)})"


def labels(gpus: Sequence[Gpu]) -> str:
    """`GPUs 0 and 2 (Tesla P40)`, `GPUs 0 to 7 (Tesla P40)`; that of a single one as `label`."""
    if len(gpus) == 1:
        return label(gpus[0])
    indexes = [gpu.index for gpu in gpus]
    *first, last = (str(index) for index in indexes)
    in_a_row = len(first) > 1 and indexes == list(range(indexes[0], indexes[-1] + 1))
    which = f"{first[0]} to {last}" if in_a_row else f"{', '.join(first)} and {last}"
    return f"GPUs {which} ({', '.join(dict.fromkeys(short_name(gpu) for gpu in gpus))})"


def short_name(gpu: Gpu) -> str:
    """Name without the maker: `Tesla P40`."""
    return (gpu.name or "unknown GPU").removeprefix("NVIDIA ")


def _nearly(name: str, table: Mapping[str, GpuModel]) -> GpuModel | None:
    if _OTHER_CHIP.search(name):
        return None
    shorter = name.lower()
    for ending in _LOOSE:
        shorter = ending.sub("", shorter)
        if found := table.get(_key(shorter)):
            return found
    return None


@functools.lru_cache(maxsize=1024)
def _key(name: str) -> str:
    squeezed = re.sub(r"[^a-z0-9]+", "", _MARKS.sub("", name.lower()))
    return _BRANDS.sub("", squeezed) or squeezed


def _complete_gpu(gpu: Gpu, known: GpuModel | None) -> tuple[Gpu, tuple[str, ...]]:
    warnings: list[str] = []
    if known is not None:
        gpu = _fill(gpu, known, warnings)
    if gpu.vendor is None:
        gpu = msgspec.structs.replace(gpu, vendor=_maker(gpu.name or ""))
    unknown = [word for word, value in _needed(gpu).items() if value is None]
    if unknown:
        warnings.append(f"{' and '.join(unknown)} unknown: not reported, and not known by this name")
    if gpu.memory_free_mib is None and gpu.memory_total_mib is not None:
        held = sum(process.memory_mib or 0 for process in gpu.processes or ())
        free = max(gpu.memory_total_mib - held - FREE_RESERVE_MIB, 0)
        warnings.append(f"free memory not reported; {free} MiB of {gpu.memory_total_mib} assumed")
        gpu = msgspec.structs.replace(gpu, memory_free_mib=free)
    return gpu, tuple(warnings)


def _maker(name: str) -> str | None:
    """The maker by the words of a name that is not known as a whole."""
    return next((maker for maker, words in _MAKERS.items() if words.search(name)), None)


_MAKERS = {
    "nvidia": re.compile(r"\b(nvidia|geforce|quadro|tesla|titan|rtx|gtx|grid)\b", re.IGNORECASE),
    "amd": re.compile(r"\b(amd|radeon|instinct|firepro)\b", re.IGNORECASE),
    "intel": re.compile(r"\b(intel|arc|iris)\b|\bUHD Graphics\b", re.IGNORECASE),
}


def _fill(gpu: Gpu, known: GpuModel, warnings: list[str]) -> Gpu:
    guesses = {
        "vendor": known.vendor,
        "architecture": known.architecture,
        "compute_capability": known.compute_capability,
        "gfx": known.gfx,
        "memory_total_mib": known.memory_mib,
    }
    missing = {field: value for field, value in guesses.items() if value is not None and getattr(gpu, field) is None}
    told = {
        "compute_capability": f"compute capability {known.compute_capability}",
        "gfx": f"target {known.gfx}",
        "memory_total_mib": f"{known.memory_mib} MiB",
    }
    said = [told[field] for field in missing if field in told]
    if said:
        warnings.append(f"{' and '.join(said)} assumed from its name, not reported by the host")
    return msgspec.structs.replace(gpu, **missing)


def _needed(gpu: Gpu) -> dict[str, object]:
    needed: dict[str, object] = {"memory": gpu.memory_total_mib}
    if gpu.vendor in (None, "nvidia"):
        needed["compute capability"] = gpu.compute_capability
    if gpu.vendor == "amd":
        needed["gfx target"] = gpu.gfx
    return needed
