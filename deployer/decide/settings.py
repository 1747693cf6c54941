"""What an estimator answers with (an offer, settings and memory, or what is missing), and what all estimators share."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

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

MOST_SLOTS = {"llama.cpp": 64}
MOST_SLOTS_PAGED = 256
"""Slots that are planned for by themselves, by memory model; vLLM: its own default on cards below 70 GiB."""

KV_TYPES = ("f16", "q8_0")


class Sacrifice(NamedTuple):
    """Something that may be given up: its name, what one step of it counts, and what it means.

    `kind`: steps of an offer are tried in order. Ways to place the layers are tried in order for every offer, and they
    and forms of the model cost speed and quality, so what is found is weighed in points (score.py).
    """

    name: str
    cost: int
    kind: Literal["offer", "placement", "model"]
    words: str


SACRIFICES = (
    Sacrifice("context", 1, "offer", "less context, where none was asked for: 8192, then 4096, then 2048 tokens"),
    Sacrifice("kv-type", 2, "offer", "keys and values in fewer bits, where no type was asked for: half the memory"),
    Sacrifice("slots", 4, "offer", "fewer users at once, halved down to one, where no number of slots was asked for"),
    Sacrifice("experts", 0, "placement", "experts of the first layers in main memory, as few as possible"),
    Sacrifice("layers", 0, "placement", "the first layers in main memory, as few as possible"),
    Sacrifice("quantization", 0, "model", "fewer bits for the weights, where no quantization was asked for"),
)
"""The order of sacrifice, the cheapest first (docs/decisions/0011). What was asked for is never given up: with
`--context`, `--kv-type`, `--slots`, `--quant` or `--gpus` there is no other to try, and the plan is refused instead."""

_COST = {sacrifice.name: sacrifice.cost for sacrifice in SACRIFICES}


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
        """Layers on GPUs, the output counted as one; with tensor parallelism every GPU has a part of each.

        Every copy of a data parallel server has all of them.
        """
        return sum(self.counts) // (self.settings.tensor_parallel * self.settings.data_parallel)


class Shortage(msgspec.Struct, frozen=True):
    """Why nothing fits: the device that is shortest of memory in the smallest offer."""

    device: DeviceMemory
    offer: Offer

    @property
    def missing_mib(self) -> int:
        """How much more memory would do, in MiB."""
        return self.device.total_mib + self.device.margin_mib - (self.device.available_mib or 0)


Estimator = Callable[[Candidate, HostFacts, ModelSpec, Request, Weights], tuple[Sizing, ...] | Shortage]


def wanted_offers(
    candidate: Candidate,
    host: HostFacts,
    architecture: Architecture,
    request: Request,
    kv_types: tuple[str, ...] = KV_TYPES,
) -> tuple[Offer, ...]:
    """What to try, the best first, in the order of SACRIFICES. `kv_types`: what this engine may fall back to.

    What the request says stands alone: its context, its slots and its KV type are in every offer as they are. An
    engine falls back only to types that it can be told.
    """
    engine = candidate.engine
    slots = wanted_slots(candidate, host, request)
    lesser = tuple(kv_type for kv_type in kv_types[1:] if kv_type in engine.kv_types)
    types = (kv_types[0], *lesser) if request.kv_type is None else (request.kv_type,)
    return offers(slots, wanted_contexts(architecture, request), types, fixed_slots=request.slots is not None)


@functools.lru_cache(maxsize=256)
def offers(
    slots: int, contexts: tuple[int, ...], kv_types: tuple[str, ...] = KV_TYPES, *, fixed_slots: bool = False
) -> tuple[Offer, ...]:
    """Best first: a slot for each user and the whole context; then the steps of SACRIFICES, and their combinations.

    Every step says what was given up. `fixed_slots`: their number is never halved.
    """
    steps = {"context": len(contexts), "kv-type": len(kv_types), "slots": 1 if fixed_slots else slots.bit_length()}
    names = [sacrifice.name for sacrifice in reversed(SACRIFICES) if sacrifice.kind == "offer"]
    found = []
    for taken in itertools.product(*(range(steps[name]) for name in names)):
        down = dict(zip(names, taken, strict=True))
        context, kv_type = contexts[down["context"]], kv_types[down["kv-type"]]
        now = max(slots >> down["slots"], 1)
        said = []
        if down["context"]:
            said.append(f"{context} tokens of context instead of {contexts[0]}")
        if down["kv-type"]:
            said.append(f"KV cache in {kv_type} instead of {kv_types[0]} (half the memory, slightly less exact)")
        if down["slots"]:
            said.append(f"{now} of {slots} users served at once; the others wait their turn")
        cost = sum(_COST[name] * count for name, count in down.items())
        found.append(Offer(now, context, kv_type, cost, tuple(said)))
    return tuple(found)


def wanted_slots(candidate: Candidate, host: HostFacts, request: Request) -> int:
    """The asked number of slots, else one for each user, up to MOST_SLOTS for each copy; on CPUs up to 4 a core."""
    if request.slots is not None:
        return request.slots
    most = MOST_SLOTS.get(candidate.engine.memory, MOST_SLOTS_PAGED) * candidate.data_parallel
    cap = most if not candidate.on_cpu else min(most, SLOTS_PER_CORE * threads(host))
    return max(min(request.users, cap), 1)


def waiting(slots: int, users: int) -> str:
    """The sentence for more users than slots."""
    return f"{slots} of {users} users are served at once; the others wait their turn"


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
