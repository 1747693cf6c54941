"""Which layers go where: all on the GPUs, as many as fit, or none.

llama.cpp offloads from the end: the output first, then the last layers; a layer's KV cache goes with it. Several GPUs
hold consecutive runs of layers, whose numbers are the `--tensor-split` (src/llama-model.cpp, `get_layer_buft_list`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec

from deployer.decide.candidates import Device
from deployer.decide.memory import MARGIN, MIB, Load, gpu_compute_bytes, gpu_memory, gpu_overhead_mib, host_memory
from deployer.types import Accelerator, MemoryPlan

_ROUNDING = 4 * MIB
_EVEN = 1 << 30
"""Stands for the memory of every GPU where one is unknown, so that all get the same share."""


class Placement(msgspec.Struct, frozen=True):
    """Layers a GPU, the output counted as one and on the last; `offloaded` is their sum (`--n-gpu-layers`)."""

    counts: tuple[int, ...]
    memory: MemoryPlan

    @property
    def offloaded(self) -> int:
        """Layers on GPUs, the output included."""
        return sum(self.counts)


def on_host(load: Load, *, available_mib: int | None) -> Placement:
    """Everything in main memory; it may not fit: ask `memory.fits`."""
    return Placement((), MemoryPlan(devices=(host_memory(load, offloaded=0, available_mib=available_mib),)))


def all_on_gpus(
    load: Load, devices: Sequence[Device], *, accelerator: Accelerator, host_mib: int | None
) -> tuple[Placement, ...]:
    """All layers on these GPUs, in proportion to their room, or packed from the end where that differs.

    A placement may not fit: ask `memory.fits`. GPUs of unknown memory share the layers evenly.
    """
    items = len(load.weights.layout.layer_bytes) + 1
    sums, rooms = _sums(load), _rooms(load, devices, accelerator, offloaded=items)
    tried = [_balanced(sums, rooms)]
    packed = _packed(sums, rooms)
    if sum(packed) == items and packed != tried[0]:
        tried.append(packed)
    return tuple(_place(load, devices, counts, accelerator, host_mib) for counts in tried)


def partly_on_gpus(
    load: Load, devices: Sequence[Device], *, accelerator: Accelerator, host_mib: int | None
) -> Placement | None:
    """As many layers as these GPUs hold, at most all but one, the rest in main memory.

    None when not even one fits beside the output.
    """
    but_one = _sums(load)[1:]
    packed = _packed(but_one, _rooms(load, devices, accelerator, offloaded=1))
    return _place(load, devices, packed, accelerator, host_mib) if sum(packed) > 1 else None


def _sums(load: Load) -> list[int]:
    """Bytes of the first n items with their KV cache; the items are the layers, then the output."""
    kv = load.kv_layer_bytes
    return list(
        accumulate([*(size + kv for size in load.weights.layout.layer_bytes), load.weights.output_bytes], initial=0)
    )


def _rooms(load: Load, devices: Sequence[Device], accelerator: Accelerator, *, offloaded: int) -> list[int]:
    """Bytes each GPU has for layers: free memory without overhead, compute buffer and margin."""
    fixed = gpu_overhead_mib(accelerator, load.architecture) * MIB
    fixed += gpu_compute_bytes(load, gpus=len(devices), offloaded=offloaded)
    margin, part = MARGIN[load.weights.basis]
    free = [device.gpu.memory_free_mib for device in devices]
    known = [_EVEN if None in free else size or 0 for size in free]
    return [max(int((size - margin) * MIB / (1 + part)) - fixed - _ROUNDING, 0) for size in known]


def _balanced(sums: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...]:
    """All items, in proportion to each GPU's room: an item goes where its middle falls."""
    whole, bounds = sum(rooms) or 1, list(accumulate(rooms))
    counts = [0] * len(rooms)
    for before, after in pairwise(sums):
        middle = (before + after) / 2 / sums[-1] * whole
        counts[min(bisect_right(bounds, middle), len(rooms) - 1)] += 1
    return tuple(counts)


def _packed(sums: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...]:
    """As many items as fit, from the end: the last GPU is filled first."""
    end, counts = len(sums) - 1, []
    for room in reversed(rooms):
        start = bisect_left(sums, sums[end] - room)
        counts.append(end - start)
        end = start
    return tuple(reversed(counts))


def _place(
    load: Load, devices: Sequence[Device], counts: tuple[int, ...], accelerator: Accelerator, host_mib: int | None
) -> Placement:
    layout, offloaded = load.weights.layout, sum(counts)
    layers = len(layout.layer_bytes)
    start = layers + 1 - offloaded
    compute = gpu_compute_bytes(load, gpus=len(devices), offloaded=offloaded)
    overhead = gpu_overhead_mib(accelerator, load.architecture)
    estimates = []
    for device, count in zip(devices, counts, strict=True):
        end = start + count
        held = layout.layer_bytes[start : min(end, layers)]
        estimates.append(
            gpu_memory(
                load,
                name=device.gpu.uuid or f"gpu{device.gpu.index}",
                weights=sum(held) + (load.weights.output_bytes if count and end == layers + 1 else 0),
                layers=len(held),
                compute=compute,
                overhead_mib=overhead,
                available_mib=device.gpu.memory_free_mib,
            )
        )
        start = end
    shared = sum(
        estimate.total_mib + estimate.margin_mib
        for device, estimate in zip(devices, estimates, strict=True)
        if device.gpu.unified_memory
    )
    left = None if host_mib is None else max(host_mib - shared, 0)
    return Placement(
        counts, MemoryPlan(devices=(*estimates, host_memory(load, offloaded=offloaded, available_mib=left)))
    )
