"""What an estimator answers with (an offer, settings and memory, or what is missing), and what all estimators share."""

import functools
import itertools
from collections.abc import Callable, Sequence

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.host import unified_headroom_mib
from deployer.decide.weights import Weights
from deployer.types import Architecture, DeviceMemory, HostFacts, MemoryPlan, ModelSpec, Request, Settings

DEFAULT_CONTEXT = 8192
SMALLER_CONTEXTS = (4096, 2048)
SLOTS_PER_CORE = 4
"""On CPUs alone, more streams than this only wait for each other (258 tokens/s with 8 slots on 2 cores, 158 with 1)."""

FALLBACK_THREADS = 4


class Offer(msgspec.Struct, frozen=True):
    """What the users get, and in words what was given up against the best offer."""

    slots: int
    context: int
    kv_type: str
    steps_down: int = 0
    given_up: tuple[str, ...] = ()


class Sizing(msgspec.Struct, frozen=True):
    """Settings that fit, with their memory.

    `counts` are the layers of each GPU (the output is one more, on the last), `kv_bytes` what one conversation keeps
    in each layer when it is full, `context_total` the tokens of all slots as the engine is told them.
    """

    settings: Settings
    offer: Offer
    weights: Weights
    memory: MemoryPlan
    counts: tuple[int, ...]
    kv_bytes: tuple[int, ...]
    context_total: int

    @property
    def layers(self) -> int:
        """Layers of the model, the output counted as one."""
        return len(self.weights.layout.layer_bytes) + 1

    @property
    def offloaded(self) -> int:
        """Layers on GPUs, the output counted as one; with tensor parallelism every GPU has a part of each."""
        return self.counts[0] if self.settings.tensor_parallel > 1 else sum(self.counts)


class Shortage(msgspec.Struct, frozen=True):
    """Why nothing fits: the device that is shortest of memory in the smallest offer."""

    device: DeviceMemory
    offer: Offer

    @property
    def missing_mib(self) -> int:
        """How much more memory would do, in MiB."""
        return self.device.total_mib + self.device.margin_mib - (self.device.available_mib or 0)


Estimator = Callable[[Candidate, HostFacts, ModelSpec, Request, Weights], tuple[Sizing, ...] | Shortage]


@functools.lru_cache(maxsize=64)
def offers(slots: int, contexts: tuple[int, ...], kv_types: tuple[str, ...] = ("f16", "q8_0")) -> tuple[Offer, ...]:
    """Best first: a slot for each user and the whole context; then less context, then q8_0, then fewer slots.

    Every step says what was given up.
    """
    steps = itertools.product(range(slots.bit_length()), kv_types, enumerate(contexts))
    return tuple(
        _offer(slots, halvings, (kv_type, kv_types[0]), step, (context, contexts[0]))
        for halvings, kv_type, (step, context) in steps
    )


def _offer(slots: int, halvings: int, kv_type: tuple[str, str], step: int, context: tuple[int, int]) -> Offer:
    """One offer; of the pairs, the second is the best."""
    now, given_up = max(slots >> halvings, 1), []
    other = kv_type[0] != kv_type[1]
    if step:
        given_up.append(f"{context[0]} tokens of context instead of {context[1]}")
    if other:
        given_up.append(f"KV cache in {kv_type[0]} instead of {kv_type[1]} (half the memory, slightly less exact)")
    if halvings:
        given_up.append(f"{now} of {slots} users served at once; the others wait their turn")
    return Offer(now, context[0], kv_type[0], step + 2 * other + 4 * halvings, tuple(given_up))


def wanted_slots(candidate: Candidate, host: HostFacts, request: Request, *, most: int) -> int:
    """A slot for each user, up to `most`; on CPUs alone up to 4 a core."""
    cap = most if not candidate.on_cpu else min(most, SLOTS_PER_CORE * threads(host))
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
    """Main memory that can be used now, in MiB; None when unknown. Memory shared with a GPU keeps some headroom."""
    known = [value for value in (host.memory.available_mib, host.memory.limit_mib) if value is not None]
    available = min(known) if known else host.memory.total_mib
    if available is None or not any(gpu.unified_memory for gpu in host.gpus):
        return available
    return max(available - unified_headroom_mib(host), 0)


def worst(devices: Sequence[DeviceMemory]) -> DeviceMemory:
    """The device that lacks the most."""
    return max(devices, key=missing)


def missing(device: DeviceMemory) -> int:
    """MiB that a device lacks; negative where it has room, or nothing is known of it."""
    return device.total_mib + device.margin_mib - device.available_mib if device.available_mib is not None else -1
