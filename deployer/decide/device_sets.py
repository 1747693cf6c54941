"""Which GPUs are worth trying together, by how an engine divides a model.

A layer split takes any cards of one maker, in proportion to their memory. Tensor parallelism gives every card the same
part of every matrix: it takes like cards only, and as many as divide the model's attention heads
(vllm-project/vllm#596 "Total number of attention heads (40) must be divisible by tensor parallel size (3)"). Data
parallelism keeps whole copies in one server, for more users; of a model with experts the copies would not be
independent (vLLM docs/serving/data_parallel_deployment.md). Copies that are servers of their own (copies.py) are on
like cards too, and may each be split by layers. Pipeline parallelism puts layers one after the other, for
a number of GPUs that does not divide the heads.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from deployer.decide.candidates import Device, is_slice
from deployer.types import Architecture, EngineProfile, Gpu

SAME_MEMORY = 0.05
"""GPUs whose total memory differs by no more than this part are alike."""

DEFAULT_SPLITS: dict[str, tuple[str, ...]] = {"llama.cpp": ("layer",)}
"""How engines of this memory model use several GPUs where their profile does not say."""


def splits(engine: EngineProfile) -> tuple[str, ...]:
    """`layer` or `tensor`; empty for an engine that uses one GPU only."""
    return engine.splits or DEFAULT_SPLITS.get(engine.memory, ())


def divides(architecture: Architecture, count: int) -> bool:
    """True when `count` GPUs can share the attention heads evenly; KV heads are shared or repeated evenly too.

    A model without attention heads (a pure state-space model) is not divided.
    """
    heads, kv_heads = architecture.heads, max(architecture.kv_heads, 1)
    return count <= 1 or (heads > 0 and heads % count == 0 and (kv_heads % count == 0 or count % kv_heads == 0))


class DeviceSet(NamedTuple):
    """GPUs together, copy by copy of the model and in each stage by stage."""

    devices: tuple[Device, ...]
    data_parallel: int = 1
    pipeline_parallel: int = 1


_Key = tuple[tuple[tuple[int, str | None], ...], int, int]


def device_sets(
    devices: Sequence[Device], engine: EngineProfile, architecture: Architecture, *, users: int = 1, apart: int = 0
) -> tuple[DeviceSet, ...]:
    """Sets worth trying, in a stable order, the smallest first; each is sorted by index and has one vendor.

    The best single card of each kind; for tensor parallelism growing groups of like cards whose number divides the
    heads; for data parallelism 2, 4, 8 … copies of them, never more than users; for a pipeline all like cards; for a
    layer split growing groups of like cards, and of all cards by free memory. MIG slices stay alone. `apart`: so many
    copies may be servers of their own.
    """
    found: dict[_Key, DeviceSet] = {}
    ways = splits(engine)
    for group in alike(devices):
        for count in range(1, len(group) + 1):
            if count == 1 or "layer" in ways or ("tensor" in ways and divides(architecture, count)):
                _add(found, group, count)
        for copies, stages, count in _divisions(len(group), ways, architecture, users, apart):
            _add(found, group, count, copies, stages)
    if "layer" in ways:
        for group in _by_vendor(devices):
            for count in range(1, len(group) + 1):
                _add(found, group, count)
    return tuple(sorted(found.values(), key=lambda item: len(item.devices)))


def asked_sets(
    devices: tuple[Device, ...],
    engine: EngineProfile,
    architecture: Architecture,
    *,
    users: int = 1,
    apart: int = 0,
) -> tuple[DeviceSet, ...]:
    """The ways to use exactly these GPUs together; first the one that the engine's rules answer for."""
    ways, alone = splits(engine), any(not same_kind(devices[0].gpu, device.gpu) for device in devices[1:])
    if alone:
        return (DeviceSet(devices),)
    more = _divisions(len(devices), ways, architecture, users, apart)
    return (
        DeviceSet(devices),
        *(DeviceSet(devices, copies, stages) for copies, stages, used in more if used == len(devices)),
    )


def _divisions(
    count: int, ways: Sequence[str], architecture: Architecture, users: int, apart: int
) -> Iterator[tuple[int, int, int]]:
    """Copies, stages and GPUs used, for up to `count` like GPUs."""
    if most := apart or (users if "data" in ways and not architecture.experts else 0):
        for ranks in range(1, count // 2 + 1):
            if ranks == 1 or "layer" in ways or ("tensor" in ways and divides(architecture, ranks)):
                yield from ((copies, 1, copies * ranks) for copies in _copies(count // ranks, most))
    if "pipeline" in ways and not divides(architecture, count):
        ranks = max(size for size in range(1, count) if count % size == 0 and divides(architecture, size))
        if count // ranks <= architecture.layers:
            yield 1, count // ranks, count


def _copies(most: int, users: int) -> Iterator[int]:
    """2, 4, 8 … and as many as there is room for, but never more than users."""
    most, copies = min(most, users), 2
    while copies < most:
        yield copies
        copies *= 2
    if most > 1:
        yield most


def alike(devices: Sequence[Device]) -> list[list[Device]]:
    """Groups of the same vendor, capability and total memory (±5 %); a MIG slice is a group of its own."""
    groups: list[list[Device]] = []
    for device in devices:
        home = next((group for group in groups if same_kind(group[0].gpu, device.gpu)), None)
        if home is None:
            groups.append([device])
        else:
            home.append(device)
    return groups


def same_kind(one: Gpu, other: Gpu) -> bool:
    """True for GPUs that tensor parallelism may join: equal capability, target and total memory, and no slices."""
    if is_slice(one) or is_slice(other):
        return False
    kind = (one.vendor, one.compute_capability, one.gfx)
    first, second = one.memory_total_mib, other.memory_total_mib
    if kind != (other.vendor, other.compute_capability, other.gfx) or first is None or second is None:
        return False
    return abs(first - second) <= SAME_MEMORY * max(first, second)


def _add(found: dict[_Key, DeviceSet], group: Sequence[Device], count: int, copies: int = 1, stages: int = 1) -> None:
    ordered = sorted(group, key=lambda device: (-(device.gpu.memory_free_mib or 0), device.gpu.index))
    chosen = tuple(sorted(ordered[:count], key=lambda device: device.gpu.index))
    key = (tuple((device.gpu.index, device.gpu.uuid) for device in chosen), copies, stages)
    found.setdefault(key, DeviceSet(chosen, copies, stages))


def _by_vendor(devices: Sequence[Device]) -> list[list[Device]]:
    groups: dict[str | None, list[Device]] = {}
    for device in devices:
        if not is_slice(device.gpu) and device.gpu.memory_free_mib is not None:
            groups.setdefault(device.gpu.vendor, []).append(device)
    return list(groups.values())
