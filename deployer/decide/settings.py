"""What an estimator answers with (an offer, settings and memory, or what is missing), and what all estimators share."""

import functools
import itertools
import math
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
    """Something that may be given up: its name, what its first step counts, and what it means.

    `kind`: steps of an offer are tried in order. Ways to place the layers are tried in order for every offer, and they
    and forms of the model cost speed and quality, so what is found is weighed in points (score.py).
    """

    name: str
    cost: int
    kind: Literal["offer", "placement", "model"]
    words: str


SACRIFICES = (
    Sacrifice("kv-type", 1, "offer", "keys and values in fewer bits, where no type was asked for: half the memory"),
    Sacrifice("context", 2, "offer", "less context, where none was asked for: 8192, then 4096, then 2048 tokens"),
    Sacrifice("slots", 8, "offer", "fewer users at once, halved down to one, where no number of slots was asked for"),
    Sacrifice("experts", 0, "placement", "experts of the first layers in main memory, as few as possible"),
    Sacrifice("layers", 0, "placement", "the first layers in main memory, as few as possible"),
    Sacrifice("quantization", 0, "model", "fewer bits for the weights, where no quantization was asked for"),
)
"""The order of sacrifice, the cheapest first (docs/decisions/0011). What was asked for is never given up: with
`--context`, `--kv-type`, `--slots`, `--quant` or `--gpus` there is no other to try, and the plan is refused instead."""

_COST = {sacrifice.name: sacrifice.cost for sacrifice in SACRIFICES}
_CONTEXT_COST = (0, _COST["context"], 3 * _COST["context"])
"""Half of a context holds less of a conversation, a quarter of it little more than the last questions."""


class Offer(msgspec.Struct, frozen=True, cache_hash=True):
    """What the users get, and in words what was given up against the best offer, which has `best_slots`."""

    slots: int
    context: int
    kv_type: str
    steps_down: int = 0
    given_up: tuple[str, ...] = ()
    best_slots: int = 0


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
    told = (kv_type for kv_type in kv_types[1:] if kv_type in engine.kv_types)
    lesser = tuple(
        kv_type for kv_type in told if engine.memory != "llama.cpp" or in_whole_blocks(architecture, kv_type)
    )
    types = (kv_types[0], *lesser) if request.kv_type is None else (request.kv_type,)
    return offers(slots, wanted_contexts(architecture, request), types, fixed_slots=request.slots is not None)


def in_whole_blocks(architecture: Architecture, kv_type: str) -> bool:
    """Whether a row of keys and one of values of a head are whole blocks of this type; 16 and 32 bits have none.

    Source: llama.cpp "K cache type q8_0 with block size 32 does not divide n_embd_head_k=80" (src/llama-context.cpp).
    """
    if kv_type in ("f32", "f16", "bf16", "auto"):
        return True
    widths = (architecture.head_dim, architecture.value_head_dim, architecture.head_dim_swa)
    return all(width % KV_BLOCK == 0 for width in widths)


KV_BLOCK = 32
"""Elements of a block of q8_0 and of every smaller type for keys and values (`GGML_QUANT_SIZES`)."""


@functools.lru_cache(maxsize=256)
def offers(
    slots: int, contexts: tuple[int, ...], kv_types: tuple[str, ...] = KV_TYPES, *, fixed_slots: bool = False
) -> tuple[Offer, ...]:
    """Best first: a slot for each user and the whole context; then what costs least of SACRIFICES, and combinations.

    Every step says what was given up. `fixed_slots`: their number is never halved.
    """
    halvings = range(1 if fixed_slots else slots.bit_length())
    found = [
        _offer(slots >> half, contexts[shorter], kv_types[lesser], (lesser, shorter, half), (slots, contexts, kv_types))
        for half, shorter, lesser in itertools.product(halvings, range(len(contexts)), range(len(kv_types)))
    ]
    return tuple(sorted(found, key=lambda offer: offer.steps_down))


def _offer(
    slots: int,
    context: int,
    kv_type: str,
    down: tuple[int, int, int],
    wanted: tuple[int, tuple[int, ...], tuple[str, ...]],
) -> Offer:
    """One offer, `down` steps of KV type, context and slots below what is `wanted`."""
    (lesser, shorter, half), (most, contexts, kv_types) = down, wanted
    said = []
    if lesser:
        said.append(f"KV cache in {kv_type} instead of {kv_types[0]} (half the memory, slightly less exact)")
    if shorter:
        said.append(f"{context} tokens of context instead of {contexts[0]}")
    if half:
        said.append(f"{max(slots, 1)} of {most} users served at once; the others wait their turn")
    cost = _COST["kv-type"] * lesser + _CONTEXT_COST[min(shorter, 2)] + _COST["slots"] * half
    return Offer(max(slots, 1), context, kv_type, cost, tuple(said), most)


def wanted_slots(candidate: Candidate, host: HostFacts, request: Request) -> int:
    """The asked number of slots, else one for each user, up to MOST_SLOTS for each copy; on CPUs up to 4 a core."""
    if request.slots is not None:
        return request.slots
    most = MOST_SLOTS.get(candidate.engine.memory, MOST_SLOTS_PAGED) * candidate.data_parallel
    cap = most if not candidate.on_cpu else min(most, SLOTS_PER_CORE * threads(host))
    return max(min(request.users, cap), 1)


def waiting_cost(offer: Offer, request: Request) -> float:
    """What the users cost who wait because the engine never has a slot for all, counted as halved slots are."""
    if request.slots is not None or not 0 < offer.best_slots < request.users:
        return 0.0
    return _COST["slots"] * math.log2(request.users / offer.best_slots)


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
