"""What llama.cpp needs on each device, in whole MiB: its buffers (deployer/decide/llama) and a margin.

The margin is kept apart and says how well the weights are known.
"""

import functools
import math
from collections.abc import Sequence

import msgspec

from deployer.decide.llama import DeviceBuffers, LlamaSettings, buffers
from deployer.decide.llama.buffers import Kept, kept_sums
from deployer.decide.llama.cache import kv_bytes, states
from deployer.decide.llama.settings import Where, padded
from deployer.decide.llama.traits import VERIFIED
from deployer.decide.weights import Basis, Weights
from deployer.types import Architecture, DeviceMemory, Projector

MIB = 1024 * 1024

MARGIN: dict[Basis, tuple[int, float]] = {"exact": (128, 0.02), "computed": (160, 0.03), "approximate": (256, 0.08)}
"""Fixed MiB and part of the total, by how the weights are known. For what the arithmetic leaves: compute buffers on a
CPU and on one GPU are exact, those of partial offload were off by 15 % (docs/memory.md), and kernels take some 60 MiB
more or less."""

UNVERIFIED_MARGIN = (128, 0.02)
"""Kept free beside that, for an architecture that was not compared with a real server."""


class Load(msgspec.Struct, frozen=True, cache_hash=True):
    """What is to be served, wherever its layers go; made by `make_load`. `settings` name no GPU yet."""

    architecture: Architecture
    weights: Weights
    settings: LlamaSettings

    @property
    def kept_bytes(self) -> tuple[int, ...]:
        """Bytes of the cache and the states of each layer, for all slots together."""
        return _kept(self.architecture, self.settings)

    @property
    def conversation_bytes(self) -> tuple[int, ...]:
        """Bytes of the cache and the states of each layer, for one slot."""
        return _conversation(self.architecture, self.settings)

    def sums(self, expert_layers: int = 0) -> Kept:
        """Running sums of what the items keep, with the experts of the first `expert_layers` in main memory."""
        return kept_sums(self.architecture, self.weights.layout, self.settings, expert_layers)

    @property
    def layers(self) -> int:
        """Repeating layers, those included that only draft."""
        return len(self.weights.layout.layer_bytes)

    @property
    def verified(self) -> bool:
        """Whether the buffers of this architecture were compared with those of a real server."""
        return self.architecture.name in VERIFIED


@functools.lru_cache(maxsize=1024)
def _kept(architecture: Architecture, settings: LlamaSettings) -> tuple[int, ...]:
    held = states(architecture, settings.slots, settings.draft_tokens)
    return tuple(kv + state for kv, state in zip(kv_bytes(architecture, settings), held, strict=True))


@functools.lru_cache(maxsize=1024)
def _conversation(architecture: Architecture, settings: LlamaSettings) -> tuple[int, ...]:
    return tuple(size // settings.slots for size in _kept(architecture, settings))


def conversations_bytes(architecture: Architecture, context: int, slots: int, kv_type: str, micro_batch: int) -> int:
    """Bytes of the caches and the states of all layers, for all slots together."""
    settings = _settings(context=context, slots=slots, kv_type=kv_type, micro_batch=micro_batch)
    return sum(_kept(architecture, settings))


def make_load(
    architecture: Architecture,
    weights: Weights,
    *,
    context: int,
    slots: int,
    kv_type: str = "f16",
    micro_batch: int = 512,
    embedding: bool = False,
    gpu_reserve_mib: int = 0,
    projector: Projector | None = None,
) -> Load:
    """Serving `slots` conversations of `context` tokens, each with cells of its own, padded to 256."""
    settings = _settings(
        context=context,
        slots=slots,
        kv_type=kv_type,
        micro_batch=micro_batch,
        embedding=embedding,
        gpu_reserve_mib=gpu_reserve_mib,
        projector=projector,
    )
    return Load(architecture, weights, settings)


@functools.lru_cache(maxsize=1024)
def _settings(
    *,
    context: int,
    slots: int,
    kv_type: str,
    micro_batch: int,
    embedding: bool = False,
    gpu_reserve_mib: int = 0,
    projector: Projector | None = None,
) -> LlamaSettings:
    return LlamaSettings(
        context_total=padded(context) * slots,
        slots=slots,
        micro_batch=micro_batch,
        kv_type_k=kv_type,
        kv_type_v=kv_type,
        embedding=embedding,
        repack=True,
        gpu_reserve_mib=gpu_reserve_mib,
        projector=projector,
    )


def memory_of(load: Load, where: Where, names: Sequence[tuple[str, int | None]]) -> tuple[DeviceMemory, ...]:
    """Estimates for the GPUs of `names` (with what each has free, in MiB) and, last, for main memory."""
    made = buffers(load.architecture, load.weights.layout, load.settings, where)
    margin = margin_parts(load.weights.basis, verified=load.verified)
    every = zip(names, (*made.gpus, made.host), strict=True)
    return tuple([device_memory(name, part, margin, available) for (name, available), part in every])


def device_memory(name: str, made: DeviceBuffers, margin: tuple[int, float], available_mib: int | None) -> DeviceMemory:
    """The parts in whole MiB, rounded up, their sum and its `margin`. The output buffer counts as work.

    A projector counts as overhead: the log's buffers and `llama-fit-params` tell nothing of it.
    """
    weights, kept = -(-made.weights // MIB), -(-(made.kv + made.state) // MIB)
    compute, overhead = -(-(made.compute + made.output) // MIB), -(-(made.overhead + made.projector) // MIB)
    total, (fixed, part) = weights + kept + compute + overhead, margin
    return DeviceMemory(
        device=name,
        weights_mib=weights,
        kv_cache_mib=kept,
        compute_mib=compute,
        overhead_mib=overhead,
        total_mib=total,
        margin_mib=fixed + math.ceil(total * part),
        available_mib=available_mib,
    )


def margin_parts(basis: Basis, *, verified: bool = True) -> tuple[int, float]:
    """What is kept free beside an estimate: MiB, and part of the total."""
    fixed, part = MARGIN[basis]
    if verified:
        return fixed, part
    return fixed + UNVERIFIED_MARGIN[0], part + UNVERIFIED_MARGIN[1]


def margin_mib(total_mib: int, basis: Basis, *, verified: bool = True) -> int:
    """What is kept free beside the estimate, in MiB."""
    fixed, part = margin_parts(basis, verified=verified)
    return fixed + math.ceil(total_mib * part)
