"""The estimator `llama.cpp`: slots with cells of their own, layers one by one on GPUs or in main memory.

Where a mixture of experts does not fit, the experts of the first layers stay in main memory (`--n-cpu-moe`): a token
reads few of them, so that costs less than leaving whole layers there.
"""

from collections.abc import Callable, Iterable

from deployer.decide.candidates import Candidate
from deployer.decide.flags import served_projector
from deployer.decide.llama.overhead import gpu_overhead
from deployer.decide.memory import MIB, Load, make_load, margin_parts
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
from deployer.types import EngineProfile, HostFacts, ModelSpec, Request, Settings

BATCH, MICRO_BATCH = 2048, 512
"""llama-server's own defaults."""

PROMPT_CACHE_MIB, PROMPT_CACHE_STEP_MIB = 8192, 256
"""llama-server by itself keeps old prompts in up to this much main memory; here: a sixteenth of what is installed."""

EXPERTS_FLAG = "cpu_moe_layers"

OFFLOADS = ("llama.cpp",)
"""Engines of this memory model leave layers in main memory, whether or not their profile says so."""

Way = Callable[[Candidate, HostFacts, Load], Iterable[Placement]]
"""How layers may be placed: placements to try, the best first."""


def size(
    candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request, weights: Weights
) -> tuple[Sizing, ...] | Shortage:
    """What fits, in the order of `offers`: the first offer with all layers in one place, and ones that fill the GPUs.

    The others are there only where the first gives something up. A Shortage says what is missing for the last offer.
    A way that fits with neither the first offer nor the last, which needs the least, is not tried with the others.
    """

    def fitting(offer: Offer, way: Way) -> Sizing | None:
        load = _load(candidate, model, weights, offer, request)
        if too_large(candidate, load, beside=0 if way is all_layers else host_available_mib(host)):
            return None
        placed = next((placement for placement in way(candidate, host, load) if placement.memory.fits), None)
        return None if placed is None else _sizing(candidate, host, offer, load, placed)

    def best(way: Way) -> Sizing | None:
        first = None if way is all_layers else fitting(every[0], way)
        if first is not None or len(every) == 1 or fitting(every[-1], way) is None:
            return first
        return _first(fitting(offer, way) for offer in every[1:])

    every = wanted_offers(candidate, host, model.architecture, request)
    if (sizing := fitting(every[0], all_layers)) is not None:
        return (sizing,)
    last, ways = every[-1], [way for way in ways_of(candidate) if way is not few_experts or weights.expert_share]
    found = [sizing for way in ways if (sizing := best(way)) is not None]
    if not found:
        smallest = _load(candidate, model, weights, last, request)
        tried = [placement for way in ways for placement in way(candidate, host, smallest)]
        return Shortage(min((worst(placement.memory.devices) for placement in tried), key=missing), last)
    return tuple(found)


def too_large(candidate: Candidate, load: Load, *, beside: int | None) -> bool:
    """True where weights and KV cache alone are more than all GPUs hold beside overhead and margin: nothing to place.

    `beside` are MiB of main memory that may hold a part of them too; None: unknown.
    """
    free = [device.gpu.memory_free_mib for device in candidate.devices]
    if not free or beside is None or None in free:
        return False
    fixed, part = margin_parts(load.weights.basis, verified=load.verified)
    taken = gpu_overhead(candidate.image.accelerator, load.architecture, load.settings.gpu_reserve_mib)
    held = sum(max(int(((size or 0) - fixed) * MIB / (1 + part)) - taken, 0) for size in free)
    layout = load.weights.layout
    return layout.total_bytes - layout.input_bytes + sum(load.kept_bytes) > held + beside * MIB


def ways_of(candidate: Candidate) -> tuple[Way, ...]:
    """How this engine may place layers; one that cannot offload holds everything on the GPUs or nothing."""
    engine = candidate.engine
    if not candidate.devices or not leaves_layers(engine):
        return (all_layers,)
    return (all_layers, few_experts, some_layers) if leaves_experts(engine) else (all_layers, some_layers)


def leaves_layers(engine: EngineProfile) -> bool:
    """True for an engine that can leave layers in main memory."""
    return engine.offload or engine.memory in OFFLOADS


def leaves_experts(engine: EngineProfile) -> bool:
    """True for an engine that can be told to leave experts in main memory."""
    return any(flag.setting == EXPERTS_FLAG for flag in engine.flags)


def _first(found: Iterable[Sizing | None]) -> Sizing:
    return next(item for item in found if item is not None)


def _load(candidate: Candidate, model: ModelSpec, weights: Weights, offer: Offer, request: Request) -> Load:
    engine = candidate.engine
    return make_load(
        model.architecture,
        weights,
        context=offer.context,
        slots=offer.slots,
        kv_type=offer.kv_type,
        micro_batch=engine.batch or MICRO_BATCH,
        embedding=request.workload == "embedding",
        gpu_reserve_mib=engine.gpu_reserve_mib,
        projector=served_projector(candidate, request),
    )


def all_layers(candidate: Candidate, host: HostFacts, load: Load) -> Iterable[Placement]:
    """Everything on the GPUs, or everything in main memory for a CPU image."""
    available = host_available_mib(host)
    if not candidate.devices:
        return (on_host(load, available_mib=available),)
    return all_on_gpus(load, candidate.devices, accelerator=candidate.image.accelerator, host_mib=available)


def some_layers(candidate: Candidate, host: HostFacts, load: Load) -> tuple[Placement, ...]:
    """As many layers on the GPUs as fit."""
    if not candidate.devices:
        return ()
    available = host_available_mib(host)
    placed = partly_on_gpus(load, candidate.devices, accelerator=candidate.image.accelerator, host_mib=available)
    return () if placed is None else (placed,)


def few_experts(candidate: Candidate, host: HostFacts, load: Load) -> tuple[Placement, ...]:
    """All layers on the GPUs, but the routed experts of as few as possible."""
    available = host_available_mib(host)
    accelerator = candidate.image.accelerator
    placed = experts_on_host(load, candidate.devices, accelerator=accelerator, host_mib=available)
    return () if placed is None else (placed,)


def _sizing(candidate: Candidate, host: HostFacts, offer: Offer, load: Load, placement: Placement) -> Sizing:
    settings = Settings(
        context=offer.context,
        slots=offer.slots,
        gpu_layers=placement.offloaded,
        tensor_parallel=1,
        kv_cache_type=offer.kv_type,
        threads=threads(host),
        batch=candidate.engine.batch or BATCH,
        micro_batch=load.settings.micro_batch,
        tensor_split=placement.counts if len(candidate.devices) > 1 else (),
        prompt_cache_mib=_prompt_cache_mib(placement, host.memory.total_mib),
        cpu_moe_layers=placement.expert_layers,
        numa="distribute" if (host.cpu.numa_nodes or 1) > 1 and placement.offloaded <= load.layers else None,
    )
    return Sizing(
        settings=settings,
        offer=offer,
        weights=load.weights,
        memory=placement.memory,
        counts=placement.counts,
        kv_bytes=tuple(size // offer.slots for size in load.kept_bytes),
        context_total=load.settings.context_total,
    )


def _prompt_cache_mib(placement: Placement, total_mib: int | None) -> int:
    """A sixteenth of main memory in steps of 256 MiB; nothing where that is unknown or twice as much is not free.

    It follows the memory that is installed, not what is free now: the same host gets the same plan twice.
    """
    host = placement.memory.devices[-1]
    if host.available_mib is None or total_mib is None:
        return 0
    wished = min(total_mib // 16, PROMPT_CACHE_MIB) // PROMPT_CACHE_STEP_MIB * PROMPT_CACHE_STEP_MIB
    return wished if 2 * wished <= host.available_mib - host.total_mib - host.margin_mib else 0
