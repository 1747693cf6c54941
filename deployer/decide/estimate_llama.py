"""The estimator `llama.cpp`: slots with cells of their own, layers one by one on GPUs or in main memory.

Where a mixture of experts does not fit, the experts of the first layers stay in main memory (`--n-cpu-moe`): a token
reads few of them, so that costs less than leaving whole layers there.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

from deployer.decide.candidates import Candidate
from deployer.decide.copies import copies, of_all, one_copy, part_of
from deployer.decide.flags import served_projector
from deployer.decide.llama.overhead import gpu_overhead
from deployer.decide.llama.settings import padded
from deployer.decide.llama.traits import VERIFIED
from deployer.decide.memory import MIB, Load, conversations_bytes, make_load, margin_parts
from deployer.decide.placement import Placement, all_on_gpus, experts_on_host, on_host, partly_on_gpus
from deployer.decide.settings import (
    Offer,
    Shortage,
    Sizing,
    host_available_mib,
    missing,
    threads,
    wanted_offers,
    worst,
)
from deployer.decide.weights import Weights
from deployer.types import Architecture, DeviceMemory, EngineProfile, HostFacts, ModelSpec, Request, Settings

BATCH, MICRO_BATCH = 2048, 512
"""llama-server's own defaults."""

_BATCH_FLAGS = {"-b", "--batch-size", "-ub", "--ubatch-size"}

PROMPT_CACHE_MIB, PROMPT_CACHE_STEP_MIB = 8192, 256
"""llama-server by itself keeps old prompts in up to this much main memory; here: a sixteenth of what is installed."""

EXPERTS_FLAG = "cpu_moe_layers"

OFFLOADS = ("llama.cpp",)
"""Engines of this memory model leave layers in main memory, whether or not their profile says so."""

Way = Callable[[Candidate, int | None, Load], Iterable[Placement]]
"""How layers may be placed beside so many MiB of main memory: placements to try, the best first."""


def size(
    candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request, weights: Weights
) -> tuple[Sizing, ...] | Shortage:
    """What fits, in the order of `offers`: the first offer with all layers in one place, and ones that fill the GPUs.

    The others are there only where the first gives something up. A Shortage says what is missing for the last offer.
    A way that fits with neither the first offer that is not too large nor the last, which needs the least, is not tried
    with the others. Several copies are sized as the one with the least room, with its part of the slots and of main
    memory.
    """
    one, available = one_copy(candidate), host_available_mib(part_of(host, copies(candidate)))
    every = _offers(candidate, host, model, request)
    last, on_gpus = every[-1], room_bytes(one, model.architecture, weights)

    def possible(way: Way) -> Iterator[Offer]:
        beside = 0 if way is all_layers else available
        if on_gpus is None or beside is None:
            return iter(every)
        room = on_gpus + beside * MIB
        kept = functools.partial(_kept_bytes, model.architecture, copies(candidate), one.engine.batch or MICRO_BATCH)
        return (offer for offer in every if kept(offer) <= room)

    def fitting(offer: Offer, way: Way) -> Sizing | None:
        load = _load(candidate, model, weights, offer, request)
        placed = next((placement for placement in way(one, available, load) if placement.memory.fits), None)
        return None if placed is None else _sizing(candidate, host, request, offer, load=load, placement=placed)

    def best(way: Way) -> Sizing | None:
        offers = possible(way)
        first = next(offers, None)
        found = None if first is None else fitting(first, way)
        if found is not None or first in (None, last) or fitting(last, way) is None:
            return found
        return next(sizing for offer in offers if (sizing := fitting(offer, way)) is not None)

    whole = best(all_layers)
    if whole is not None and whole.offer is every[0]:
        return (whole,)
    others = [way for way in ways_of(candidate)[1:] if way is not few_experts or weights.expert_share]
    found = tuple(sizing for sizing in (whole, *(best(way) for way in others)) if sizing is not None)
    if found:
        return found
    smallest = _load(candidate, model, weights, last, request)
    tried = [placement for way in (all_layers, *others) for placement in way(one, available, smallest)]
    return Shortage(min((worst(placement.memory.devices) for placement in tried), key=missing), last)


def room_bytes(candidate: Candidate, architecture: Architecture, weights: Weights) -> int | None:
    """What all GPUs hold beside weights, overhead and margin: conversations that are more have no place there.

    Negative where weights have to be in main memory too. None: unknown, or there is no GPU.
    """
    free = [device.gpu.memory_free_mib for device in candidate.devices]
    if not free or None in free:
        return None
    fixed, part = margin_parts(weights.basis, verified=architecture.name in VERIFIED)
    taken = gpu_overhead(candidate.image.accelerator, architecture, candidate.engine.gpu_reserve_mib)
    held = sum([max(int(((size or 0) - fixed) * MIB / (1 + part)) - taken, 0) for size in free])
    return held - (weights.layout.total_bytes - weights.layout.input_bytes)


@functools.lru_cache(maxsize=1024)
def _kept_bytes(architecture: Architecture, count: int, micro_batch: int, offer: Offer) -> int:
    """Bytes of all conversations of one of `count` copies."""
    return conversations_bytes(architecture, offer.context, -(-offer.slots // count), offer.kv_type, micro_batch)


def ways_of(candidate: Candidate) -> tuple[Way, ...]:
    """How this engine may place layers; one that cannot offload holds everything on the GPUs or nothing.

    So does each of several copies: in main memory they would wait for each other.
    """
    engine = candidate.engine
    if not candidate.devices or not leaves_layers(engine) or copies(candidate) > 1:
        return (all_layers,)
    return (all_layers, few_experts, some_layers) if leaves_experts(engine) else (all_layers, some_layers)


def leaves_layers(engine: EngineProfile) -> bool:
    """True for an engine that can leave layers in main memory."""
    return engine.offload or engine.memory in OFFLOADS


def leaves_experts(engine: EngineProfile) -> bool:
    """True for an engine that can be told to leave experts in main memory."""
    return any(flag.setting == EXPERTS_FLAG for flag in engine.flags)


def _offers(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> tuple[Offer, ...]:
    """What to try, the best first; every copy has a slot."""
    found, count = wanted_offers(candidate, host, model.architecture, request), copies(candidate)
    return found if count == 1 else tuple(offer for offer in found if offer.slots >= count) or found[-1:]


def _load(candidate: Candidate, model: ModelSpec, weights: Weights, offer: Offer, request: Request) -> Load:
    engine = candidate.engine
    return make_load(
        model.architecture,
        weights,
        context=offer.context,
        slots=-(-offer.slots // copies(candidate)),
        kv_type=offer.kv_type,
        micro_batch=engine.batch or micro_batch_of(request, offer.context),
        embedding=request.workload == "embedding",
        gpu_reserve_mib=engine.gpu_reserve_mib,
        projector=served_projector(candidate, request),
    )


def micro_batch_of(request: Request, context: int) -> int:
    """Tokens computed at once: a text that is read whole has to be in one micro-batch.

    Else 0.7.0 answers "input is too large to process. increase the physical batch size" (run).
    """
    return max(MICRO_BATCH, padded(context)) if request.whole_texts else MICRO_BATCH


def all_layers(candidate: Candidate, host_mib: int | None, load: Load) -> Iterable[Placement]:
    """Everything on the GPUs, or everything in main memory for a CPU image."""
    if not candidate.devices:
        return (on_host(load, available_mib=host_mib),)
    return all_on_gpus(load, candidate.devices, accelerator=candidate.image.accelerator, host_mib=host_mib)


def some_layers(candidate: Candidate, host_mib: int | None, load: Load) -> tuple[Placement, ...]:
    """As many layers on the GPUs as fit."""
    accelerator = candidate.image.accelerator
    placed = partly_on_gpus(load, candidate.devices, accelerator=accelerator, host_mib=host_mib)
    return () if placed is None else (placed,)


def few_experts(candidate: Candidate, host_mib: int | None, load: Load) -> tuple[Placement, ...]:
    """All layers on the GPUs, but the routed experts of as few as possible."""
    accelerator = candidate.image.accelerator
    placed = experts_on_host(load, candidate.devices, accelerator=accelerator, host_mib=host_mib)
    return () if placed is None else (placed,)


def _sizing(
    candidate: Candidate, host: HostFacts, request: Request, offer: Offer, *, load: Load, placement: Placement
) -> Sizing:
    count, memory = copies(candidate), of_all(placement.memory, candidate, host)
    settings = Settings(
        context=offer.context,
        slots=offer.slots,
        gpu_layers=placement.offloaded,
        tensor_parallel=1,
        kv_cache_type=offer.kv_type,
        threads=max(threads(host) // count, 1),
        batch=candidate.engine.batch or _batch(load, placement, request),
        micro_batch=load.settings.micro_batch,
        tensor_split=placement.counts if len(placement.counts) > 1 else (),
        prompt_cache_mib=_prompt_cache_mib(memory.devices[-1], host.memory.total_mib, count),
        cpu_moe_layers=placement.expert_layers,
        numa="distribute" if (host.cpu.numa_nodes or 1) > 1 and placement.offloaded <= load.layers else None,
        data_parallel=count,
    )
    return Sizing(
        settings=settings,
        offer=offer,
        weights=load.weights,
        memory=memory,
        counts=placement.counts * count,
        kv_bytes=load.conversation_bytes,
        context_total=load.settings.context_total,
    )


def _batch(load: Load, placement: Placement, request: Request) -> int:
    """Tokens of prompts that are read before anybody's answer goes on.

    On processors llama-server's own 2048 take seconds: where several share them, a micro-batch at a time gave 4 users
    their first token after 2.6 s instead of 3.9 s, and 5 % more tokens/s (scripts/sweep, SmolLM2, 2 cores AMD EPYC).
    A micro-batch of the user's own may be larger, and would be cut to the batch.
    """
    asked = any(word.partition("=")[0].replace("_", "-") in _BATCH_FLAGS for word in request.engine_args)
    shared = not placement.offloaded and load.settings.slots > 1 and not asked
    return load.settings.micro_batch if shared else max(BATCH, load.settings.micro_batch)


def _prompt_cache_mib(host: DeviceMemory, total_mib: int | None, count: int) -> int:
    """A sixteenth of main memory in steps of 256 MiB; nothing where that is unknown or twice as much is not free.

    It follows the memory that is installed, not what is free now: the same host gets the same plan twice. Each of
    `count` copies gets as many steps.
    """
    if host.available_mib is None or total_mib is None:
        return 0
    step = PROMPT_CACHE_STEP_MIB * count
    wished = min(total_mib // 16, PROMPT_CACHE_MIB) // step * step
    return wished if 2 * wished <= host.available_mib - host.total_mib - host.margin_mib else 0
