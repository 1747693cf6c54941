"""Which layers go where: all on the GPUs, as many as fit, or none.

llama.cpp offloads from the end: the output first, then the last layers; a layer's KV cache goes with it. Several GPUs
hold consecutive runs of layers, whose numbers are the `--tensor-split` (src/llama-model.cpp, `get_layer_buft_list`).
"""

import functools
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec

from deployer.decide.candidates import Device
from deployer.decide.memory import (
    MARGIN,
    MIB,
    Load,
    gpu_compute_bytes,
    gpu_memory,
    gpu_overhead_mib,
    host_memory,
    margin_mib,
)
from deployer.types import Accelerator, MemoryPlan

_ROUNDING = 4 * MIB
_EVEN = 1 << 30
"""Stands for the memory of every GPU where one is unknown, so that all get the same share."""


class Placement(msgspec.Struct, frozen=True):
    """Layers a GPU, the output counted as one and on the last; `offloaded` is their sum (`--n-gpu-layers`).

    Of the first `expert_layers`, the routed experts are in main memory all the same (`--n-cpu-moe`).
    """

    counts: tuple[int, ...]
    memory: MemoryPlan
    expert_layers: int = 0

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


def experts_on_host(
    load: Load, devices: Sequence[Device], *, accelerator: Accelerator, host_mib: int | None
) -> Placement | None:
    """All layers on these GPUs, but the routed experts of the first ones, as few as possible, in main memory.

    None for a dense model, and where even the rest of the layers does not fit. A placement may lack main memory.
    """
    layers = len(load.weights.layout.layer_bytes)
    if not load.weights.expert_share:
        return None

    def tried(count: int) -> Placement:
        share = load.weights.expert_share
        held = [int(size * share) if layer < count else 0 for layer, size in enumerate(load.weights.layout.layer_bytes)]
        sizes = tuple(size - part for size, part in zip(load.weights.layout.layer_bytes, held, strict=True))
        layout = msgspec.structs.replace(load.weights.layout, layer_bytes=sizes)
        lighter = msgspec.structs.replace(load, weights=msgspec.structs.replace(load.weights, layout=layout))
        placed = all_on_gpus(lighter, devices, accelerator=accelerator, host_mib=host_mib)
        chosen = next((item for item in placed if _gpus_fit(item)), placed[0])
        return Placement(chosen.counts, _with_host(chosen.memory, sum(held), load), count)

    count = bisect_left(range(layers), 1, key=lambda number: int(_gpus_fit(tried(number))))
    found = tried(count)
    return found if _gpus_fit(found) else None


def _gpus_fit(placement: Placement) -> bool:
    return all(device.fits for device in placement.memory.devices[:-1])


def _with_host(memory: MemoryPlan, extra_bytes: int, load: Load) -> MemoryPlan:
    """The same, with more weights in main memory."""
    *gpus, host = memory.devices
    weights, total = host.weights_mib + extra_bytes // MIB, host.total_mib + extra_bytes // MIB
    larger = msgspec.structs.replace(
        host, weights_mib=weights, total_mib=total, margin_mib=margin_mib(total, load.weights.basis)
    )
    return MemoryPlan(devices=(*gpus, larger))


def _sums(load: Load) -> tuple[int, ...]:
    """Bytes of the first n items with their KV cache; the items are the layers, then the output."""
    return _prefix_sums(load.weights.layout.layer_bytes, load.kv_bytes, load.weights.output_bytes)


@functools.lru_cache(maxsize=256)
def _prefix_sums(layers: tuple[int, ...], caches: tuple[int, ...], output: int) -> tuple[int, ...]:
    return tuple(accumulate([*(size + kv for size, kv in zip(layers, caches, strict=True)), output], initial=0))


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
    whole, items = sum(rooms) or 1, len(sums) - 1
    scale = 2 * sums[-1] / whole
    ends = []
    for bound in accumulate(rooms[:-1]):
        # the middle of an item is half of two neighbouring sums
        first = bisect_left(range(items), bound * scale, key=lambda item: sums[item] + sums[item + 1])
        ends.append(first)
    return tuple(end - start for start, end in pairwise((0, *ends, items)))


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
                kv=sum(load.kv_bytes[start : min(end, layers)]),
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
