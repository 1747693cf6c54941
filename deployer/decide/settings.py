"""Settings of a candidate: the best offer (slots, context, KV type) that fits, and where the layers go."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.memory import Load, make_load
from deployer.decide.placement import Placement, all_on_gpus, on_host, partly_on_gpus
from deployer.decide.weights import Weights
from deployer.types import Architecture, DeviceMemory, HostFacts, ModelSpec, Request, Settings

DEFAULT_CONTEXT = 8192
SMALLER_CONTEXTS = (4096, 2048)
MAX_SLOTS = 64
SLOTS_PER_CORE = 4
"""On CPUs alone, more streams than this only wait for each other (258 tokens/s with 8 slots on 2 cores, 158 with 1)."""

BATCH, MICRO_BATCH = 2048, 512
"""llama-server's own defaults."""

FALLBACK_THREADS = 4

PROMPT_CACHE_MIB, PROMPT_CACHE_STEP_MIB = 8192, 256
"""llama-server by itself keeps old prompts in up to this much main memory; here: a quarter of what is left."""


class Offer(msgspec.Struct, frozen=True):
    """What the users get, and in words what was given up against the best offer."""

    slots: int
    context: int
    kv_type: str
    steps_down: int = 0
    given_up: tuple[str, ...] = ()


class Sizing(msgspec.Struct, frozen=True):
    """Settings that fit, with their memory."""

    settings: Settings
    offer: Offer
    load: Load
    placement: Placement


Way = Callable[[Candidate, HostFacts, Load], tuple[Placement, ...]]
"""How layers may be placed: placements to try, the best first."""


class Shortage(msgspec.Struct, frozen=True):
    """Why nothing fits: the device that is shortest of memory in the smallest offer."""

    device: DeviceMemory
    offer: Offer

    @property
    def missing_mib(self) -> int:
        """How much more memory would do, in MiB."""
        return self.device.total_mib + self.device.margin_mib - (self.device.available_mib or 0)


def size(
    candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request, weights: Weights
) -> tuple[Sizing, ...] | Shortage:
    """What fits, in the order of `offers`: the first offer with all layers in one place, and one that fills the GPUs.

    The second is there only where the first gives something up. A Shortage says what is missing for the last offer.
    A way that does not fit with the last offer, which needs the least of everything, is not tried with the others.
    """

    def fitting(offer: Offer, way: Way) -> Sizing | None:
        load = _load(model, weights, offer, request)
        placed = next((placement for placement in way(candidate, host, load) if placement.memory.fits), None)
        return None if placed is None else Sizing(_settings(candidate, host, offer, placed), offer, load, placed)

    best = next(offers(candidate, host, model.architecture, request))
    if (sizing := fitting(best, all_layers)) is not None:
        return (sizing,)
    every = tuple(offers(candidate, host, model.architecture, request))
    last = every[-1]
    ways = [way for way in (all_layers, some_layers) if fitting(last, way) is not None]
    found = [_first(fitting(offer, way) for offer in every) for way in ways]
    if not found:
        smallest = _load(model, weights, last, request)
        tried = (*all_layers(candidate, host, smallest), *some_layers(candidate, host, smallest))
        return Shortage(min((_worst(placement.memory.devices) for placement in tried), key=_missing), last)
    return tuple(found)


Estimator = Callable[[Candidate, HostFacts, ModelSpec, Request, Weights], tuple[Sizing, ...] | Shortage]

ESTIMATORS: dict[str, Estimator] = {"llama.cpp": size}
"""What a profile's `memory` names: how an engine's settings and memory follow from host, model and request."""


def _first(found: Iterable[Sizing | None]) -> Sizing:
    return next(item for item in found if item is not None)


def offers(candidate: Candidate, host: HostFacts, architecture: Architecture, request: Request) -> Iterator[Offer]:
    """Best first: a slot for each user, 8192 tokens, f16; then less context, then q8_0, then fewer slots.

    The context is kept where the user gave one; every step says what was given up.
    """
    slots, contexts = wanted_slots(candidate, host, request), wanted_contexts(architecture, request)
    for halvings in range(slots.bit_length()):
        for kv_type in ("f16", "q8_0"):
            for step, context in enumerate(contexts):
                now = max(slots >> halvings, 1)
                given_up = []
                if step:
                    given_up.append(f"{context} tokens of context instead of {contexts[0]}")
                if kv_type != "f16":
                    given_up.append("KV cache in q8_0 instead of f16 (half the memory, slightly less exact)")
                if halvings:
                    given_up.append(f"{now} of {slots} users served at once; the others wait their turn")
                yield Offer(now, context, kv_type, step + 2 * (kv_type != "f16") + 4 * halvings, tuple(given_up))


def wanted_slots(candidate: Candidate, host: HostFacts, request: Request) -> int:
    """A slot for each user, up to 64; on CPUs alone up to 4 a core."""
    cap = MAX_SLOTS if not candidate.on_cpu else min(MAX_SLOTS, SLOTS_PER_CORE * threads(host))
    return max(min(request.users, cap), 1)


def wanted_contexts(architecture: Architecture, request: Request) -> tuple[int, ...]:
    """Tokens per slot, best first: the user's own number alone, else 8192 (or the model's maximum) and smaller."""
    if request.context is not None:
        return (request.context,)
    best = min(architecture.context_max, DEFAULT_CONTEXT) if architecture.context_max > 0 else DEFAULT_CONTEXT
    return (best, *(context for context in SMALLER_CONTEXTS if context < best))


def threads(host: HostFacts) -> int:
    """Cores that this process may use; half the hardware threads, or 4, where the cores are unknown."""
    cpu = host.cpu
    known = cpu.available_cores or cpu.cores or (cpu.threads // 2 if cpu.threads else None)
    return max(known or FALLBACK_THREADS, 1)


def host_available_mib(host: HostFacts) -> int | None:
    """Main memory that can be used now, in MiB; None when unknown."""
    known = [value for value in (host.memory.available_mib, host.memory.limit_mib) if value is not None]
    return min(known) if known else host.memory.total_mib


def _load(model: ModelSpec, weights: Weights, offer: Offer, request: Request) -> Load:
    return make_load(
        model.architecture,
        weights,
        context=offer.context,
        slots=offer.slots,
        kv_type=offer.kv_type,
        micro_batch=MICRO_BATCH,
        embedding=request.workload == "embedding",
    )


def all_layers(candidate: Candidate, host: HostFacts, load: Load) -> tuple[Placement, ...]:
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


def _settings(candidate: Candidate, host: HostFacts, offer: Offer, placement: Placement) -> Settings:
    return Settings(
        context=offer.context,
        slots=offer.slots,
        gpu_layers=placement.offloaded,
        tensor_parallel=1,
        kv_cache_type=offer.kv_type,
        threads=threads(host),
        batch=BATCH,
        micro_batch=MICRO_BATCH,
        tensor_split=placement.counts if len(candidate.devices) > 1 else (),
        prompt_cache_mib=_prompt_cache_mib(placement, host.memory.total_mib),
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


def _worst(devices: Sequence[DeviceMemory]) -> DeviceMemory:
    return max(devices, key=_missing)


def _missing(device: DeviceMemory) -> int:
    return device.total_mib + device.margin_mib - device.available_mib if device.available_mib is not None else -1
