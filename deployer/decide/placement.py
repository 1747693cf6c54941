"""Which layers go where: all on the GPUs, as many as fit, or none.

llama.cpp offloads from the end: the output first, then the last layers; a layer's KV cache goes with it. Several GPUs
hold consecutive runs of layers, whose numbers are the `--tensor-split` (src/llama-model.cpp, `get_layer_buft_list`).
"""

import functools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import msgspec

from deployer.decide.candidates import Device
from deployer.decide.llama.buffers import Shape, gpu_compute
from deployer.decide.llama.overhead import gpu_overhead
from deployer.decide.llama.projector import projector_bytes
from deployer.decide.llama.settings import Where
from deployer.decide.memory import MIB, Load, margin_parts, memory_of
from deployer.types import Accelerator, DeviceMemory, MemoryPlan

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
    return Placement((), MemoryPlan(devices=memory_of(load, Where(), [("host", available_mib)])))


def all_on_gpus(
    load: Load, devices: Sequence[Device], *, accelerator: Accelerator, host_mib: int | None
) -> Iterator[Placement]:
    """All layers on these GPUs, in proportion to their room, then packed from the end where that differs.

    A placement may not fit: ask `memory.fits`. GPUs of unknown memory share the layers evenly.
    """
    return _all_on_gpus(load, devices, accelerator, host_mib, 0)


def _all_on_gpus(
    load: Load, devices: Sequence[Device], accelerator: Accelerator, host_mib: int | None, experts: int
) -> Iterator[Placement]:
    items = load.layers + 1
    sums, rooms = _sums(load, experts), _rooms(load, devices, accelerator, offloaded=items, experts=experts)
    balanced = _balanced(sums, rooms)
    yield _place(load, devices, (balanced, experts), accelerator, host_mib)
    packed = _packed(sums, rooms)
    if sum(packed) == items and packed != balanced:
        yield _place(load, devices, (packed, experts), accelerator, host_mib)


def partly_on_gpus(
    load: Load, devices: Sequence[Device], *, accelerator: Accelerator, host_mib: int | None
) -> Placement | None:
    """As many layers as these GPUs hold, at most all but one, the rest in main memory.

    None when not even one fits beside the output.
    """
    but_one = _sums(load, 0)[1:]
    packed = _packed(but_one, _rooms(load, devices, accelerator, offloaded=1))
    return _place(load, devices, (packed, 0), accelerator, host_mib) if sum(packed) > 1 else None


def experts_on_host(
    load: Load, devices: Sequence[Device], *, accelerator: Accelerator, host_mib: int | None
) -> Placement | None:
    """All layers on these GPUs, but the routed experts of the first ones, as few as possible, in main memory.

    None for a dense model, and where even the rest of the layers does not fit. A placement may lack main memory.
    """
    if not load.weights.expert_share:
        return None

    def tried(count: int) -> Placement:
        placed = tuple(_all_on_gpus(load, devices, accelerator, host_mib, count))
        return next((item for item in placed if _gpus_fit(item)), placed[0])

    count = bisect_left(range(load.layers), 1, key=lambda number: int(_gpus_fit(tried(number))))
    found = tried(count)
    return found if _gpus_fit(found) else None


def _gpus_fit(placement: Placement) -> bool:
    return all(device.fits for device in placement.memory.devices[:-1])


@functools.lru_cache(maxsize=1024)
def _sums(load: Load, experts: int) -> tuple[int, ...]:
    """Bytes of the first n items with their KV cache; the items are the layers, then the output."""
    kept = load.sums(experts)
    return tuple(map(sum, zip(kept.weights, kept.kv, kept.states, strict=True)))


@functools.lru_cache(maxsize=1024)
def _fixed(load: Load, accelerator: Accelerator, gpus: int, offloaded: int, experts: int) -> int:
    """Bytes of a GPU beside its layers, as if the first of `gpus` had all that is `offloaded`."""
    where, last = Where((*(0,) * (gpus - 1), offloaded), experts, accelerator), load.layers + 1
    shape = Shape(load.architecture, load.weights.layout, load.settings, where, last - offloaded)
    overhead = gpu_overhead(accelerator, load.architecture, load.settings.gpu_reserve_mib)
    return overhead + gpu_compute(shape, last - offloaded, last)


def _rooms(
    load: Load, devices: Sequence[Device], accelerator: Accelerator, *, offloaded: int, experts: int = 0
) -> list[int]:
    """Bytes each GPU has for layers: free memory without overhead, compute buffer and margin."""
    fixed = _fixed(load, accelerator, min(len(devices), 2), offloaded, experts)
    first, *others = _usable(tuple(devices), margin_parts(load.weights.basis, verified=load.verified))
    projector = load.settings.projector
    reading = 0 if projector is None else projector_bytes(projector, load.settings.cells).device
    return [max(first - fixed - reading, 0), *[max(size - fixed, 0) for size in others]]


@functools.lru_cache(maxsize=1024)
def _usable(devices: tuple[Device, ...], margin: tuple[int, float]) -> tuple[int, ...]:
    """Bytes of each GPU's free memory without the margin: MiB, and part of what is used."""
    fixed, part = margin
    free = [device.gpu.memory_free_mib for device in devices]
    known = [_EVEN if None in free else size or 0 for size in free]
    return tuple(int((size - fixed) * MIB / (1 + part)) - _ROUNDING for size in known)


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
    load: Load,
    devices: Sequence[Device],
    chosen: tuple[tuple[int, ...], int],
    accelerator: Accelerator,
    host_mib: int | None,
) -> Placement:
    """`chosen`: items of each GPU, and of how many layers the experts are in main memory."""
    counts, experts = chosen
    named = [(device.gpu.uuid or f"gpu{device.gpu.index}", device.gpu.memory_free_mib) for device in devices]
    *gpus, main = memory_of(load, Where(counts, experts, accelerator), [*named, ("host", host_mib)])
    if host_mib is not None and (shared := _shared_mib(devices, gpus)):
        main = msgspec.structs.replace(main, available_mib=max(host_mib - shared, 0))
    return Placement(counts, MemoryPlan(devices=(*gpus, main)), experts)


def _shared_mib(devices: Sequence[Device], gpus: Sequence[DeviceMemory]) -> int:
    """Main memory that GPUs take which have none of their own."""
    pairs = zip(devices, gpus, strict=True)
    return sum(made.total_mib + made.margin_mib for device, made in pairs if device.gpu.unified_memory)
