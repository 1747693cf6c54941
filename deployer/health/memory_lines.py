"""The sizes of an engine's buffers from its own log. The patterns are knowledge: `measures` of the engine's profile."""

import re
from collections.abc import Iterable, Mapping, Sequence

from deployer.types import Measure

Parts = Mapping[str, Mapping[str, float]]
"""MiB by device as the log names it (`CUDA0`, `CPU_Mapped`, a rank's number, or "" for none) and by part."""

LONGEST_LINE = 2000
"""Characters of a line that are looked at: a line about a buffer is short, a prompt in the log may not be."""

_MIB = {"MiB": 1.0, "GiB": 1024.0}
_GPU = re.compile(r"[A-Za-z]+(\d+)")
_RANK = re.compile(r"\d+")


def read_parts(lines: Iterable[str], measures: Sequence[Measure]) -> dict[str, dict[str, float]]:
    """MiB of each buffer by the log's name of its device and by part; {} where no line tells any.

    Lines of one part and device add up (a model in two files, a cache for each kind of layer); of `compute`, which is
    planned anew when a graph changes, the last one counts.
    """
    patterns = [(re.compile(measure.pattern), measure) for measure in measures]
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        for pattern, measure in patterns:
            match = pattern.search(line[:LONGEST_LINE])
            if match is None:
                continue
            parts = found.setdefault(match.groupdict().get("device") or "", {})
            before = 0.0 if measure.part == "compute" else parts.get(measure.part, 0.0)
            parts[measure.part] = before + float(match["size"].replace(",", "")) * _MIB[measure.unit]
    return found


def by_device(parts: Parts, gpus: Sequence[str]) -> dict[str, dict[str, int]]:
    """The same in whole MiB by the plan's devices: `gpus` in the plan's order, and `host`.

    `CUDA1` and rank 1 are the second GPU; other names (`CPU_Mapped`, `CUDA_Host`) are main memory. Sizes without a
    device are those of every GPU, or of main memory where there is none; so are those of the first rank where the
    other ranks say nothing.
    """
    sums: dict[str, dict[str, float]] = {}
    for name, sizes in parts.items():
        for device in _devices(name, gpus, only=len(parts) == 1):
            held = sums.setdefault(device, {})
            for part, size in sizes.items():
                held[part] = held.get(part, 0.0) + size
    return {device: {part: round(size) for part, size in held.items()} for device, held in sums.items()}


def _devices(name: str, gpus: Sequence[str], *, only: bool) -> Sequence[str]:
    if not gpus:
        return ("host",)
    if name == "" or (only and _RANK.fullmatch(name)):
        return gpus
    match = _GPU.fullmatch(name)
    number = match[1] if match else name if _RANK.fullmatch(name) else None
    if number is None:
        return ("host",)
    return (gpus[int(number)],) if int(number) < len(gpus) else ()
