"""All buffers of llama.cpp on every device, from the numbers of a model, the bytes of its weights and the settings.

Sources: llama.cpp b11434 src/llama-model.cpp (`i_gpu_start`, which layer goes where), src/llama-model-loader.cpp (a
tied output is a copy of the embedding on a GPU), src/llama-context.cpp `output_reserve`.
"""

import functools
from itertools import accumulate

import msgspec

from deployer.decide.llama.cache import half_bytes, kv_bytes, states
from deployer.decide.llama.compute import Part, graph_bytes, inputs_bytes, representatives
from deployer.decide.llama.overhead import gpu_overhead, host_overhead
from deployer.decide.llama.projector import projector_bytes
from deployer.decide.llama.settings import FEW_OUTPUTS, RESERVED_HALVES, Buffers, DeviceBuffers, LlamaSettings, Where
from deployer.decide.llama.traits import traits
from deployer.decide.weights import expert_share, layers_elements
from deployer.types import Architecture, WeightLayout

BATCHED = 32
"""From so many rows on, a product with a matrix in main memory is done by a GPU all the same (`offload_op`)."""

_REPACKED_BITS = 4.5

PIPELINE_COPIES = 4
"""Several GPUs with all layers work as a pipeline (`GGML_SCHED_MAX_COPIES`), unless tensors are overridden."""


def buffers(
    architecture: Architecture, layout: WeightLayout, settings: LlamaSettings, where: Where | None = None
) -> Buffers:
    """Bytes of every buffer. Layers fill the GPUs from the end, the output first; the rest is in main memory.

    `where` stands for what the settings themselves say of places.
    """
    where = settings.where if where is None else where
    kept = kept_sums(architecture, layout, settings, where.cpu_moe_layers)
    start = first = kept.items - sum(where.gpu_layers)
    shape, gpus = Shape(architecture, layout, settings, where, first), []
    overhead = gpu_overhead(where.accelerator, architecture, settings.gpu_reserve_mib)
    for count in where.gpu_layers:
        end = start + count
        gpus.append(_gpu(shape, start, end, kept, overhead))
        start = end
    return _with_projector(Buffers(gpus=tuple(gpus), host=_host(shape, kept)), settings)


def _with_projector(made: Buffers, settings: LlamaSettings) -> Buffers:
    """The projector on the first GPU, which it is copied to whole, else in main memory."""
    if settings.projector is None:
        return made
    work = projector_bytes(settings.projector, settings.cells)
    if not made.gpus:
        return Buffers(gpus=(), host=msgspec.structs.replace(made.host, projector=work.device))
    first, *others = made.gpus
    return Buffers(
        gpus=(msgspec.structs.replace(first, projector=work.device), *others),
        host=msgspec.structs.replace(made.host, projector=work.fed),
    )


class Shape(msgspec.Struct, frozen=True):
    """What is served and where it is; `first` is the first item on any GPU (items: the layers, then the output)."""

    architecture: Architecture
    layout: WeightLayout
    settings: LlamaSettings
    where: Where
    first: int

    @property
    def copies(self) -> int:
        """Copies of a graph's inputs."""
        several = len(self.where.gpu_layers) > 1 and not self.first and not self.where.cpu_moe_layers
        return PIPELINE_COPIES if several else 1


def gpu_compute(shape: Shape, start: int, end: int) -> int:
    """Compute buffer of the GPU with items `start` to `end`.

    The first GPU also computes for the layers in main memory, whose weights are copied to it one by one.
    """
    architecture, layout, settings = shape.architecture, shape.layout, shape.settings
    where, first, layers = shape.where, shape.first, architecture.layers - architecture.nextn_layers
    guests = representatives(architecture, 0, min(first, layers)) if start == first else ()
    away = start < where.cpu_moe_layers and bool(architecture.experts)
    weight = _weight_bytes(architecture, layout) if guests or away else 0.0
    share = Part(
        layers=representatives(architecture, start, min(end, layers)),
        guests=guests,
        output=end > len(layout.layer_bytes),
        head_bytes=layout.output_bytes or layout.input_bytes if first > len(layout.layer_bytes) else 0,
        first=start == first,
        copies=shape.copies,
        weight_bytes=weight if guests else 0.0,
        expert_bytes=weight if away else 0.0,
        half_copies=settings.halves(where.accelerator) and settings.build >= RESERVED_HALVES,
    )
    made = _whole_logits(architecture, settings, share) or graph_bytes(architecture, settings.computed, share)
    return max(made, _reordered(architecture, settings)) if where.accelerator == "vulkan" else made


def _whole_logits(architecture: Architecture, settings: LlamaSettings, share: Part) -> int:
    """Compute buffer of builds before FEW_OUTPUTS, where one GPU has all of a dense model without windows; else 0.

    Logits of a whole micro-batch come right after their norm, `(n_vocab + n_embd) * n_ubatch * 4`: 307.00 MiB of
    Qwen2.5-32B, 66.50 of TinyLlama. Where a mask of 32 bits is larger than a feed-forward part, they come after that
    and two vectors: 382.01 MiB of Qwen2.5-7B with 32768 tokens (7780), 613.01 of Llama-3.1-8B with 16384 (5781).
    """
    if settings.build >= FEW_OUTPUTS or settings.embedding or not settings.flash_attention:
        return 0
    other = architecture.experts or architecture.sliding_window or any(architecture.recurrent)
    if other or share.guests or not share.output or share.copies > 1:
        return 0
    later = settings.cells + 2 * architecture.embedding if settings.cells > architecture.feed_forward else 0
    logits = 4 * settings.tokens * (architecture.vocabulary + architecture.embedding + later)
    few = msgspec.structs.replace(settings.computed, build=FEW_OUTPUTS)
    return max(logits, graph_bytes(architecture, few, share))


def _reordered(architecture: Architecture, settings: LlamaSettings) -> int:
    """The Vulkan backend computes what is independent together, so that more is kept at once.

    For gated delta nets `2 * n_ff + 3 * n_embd + 3 * d_inner` elements a token and the mask, as logged for three sizes
    of Qwen3.5 with build 9849; the others are left as they are.
    """
    if not traits(architecture.name).delta or architecture.experts:
        return 0
    columns = 2 * architecture.feed_forward + 3 * architecture.embedding + 3 * architecture.ssm_inner_size
    return settings.tokens * (4 * columns + 2 * settings.cells)


class Kept(msgspec.Struct, frozen=True):
    """Running sums over the items: layers, then the output; and what of the layers is in main memory all the same."""

    weights: tuple[int, ...]
    kv: tuple[int, ...]
    states: tuple[int, ...]
    experts: int

    @property
    def items(self) -> int:
        """Layers, and the output."""
        return len(self.weights) - 1


def kept_sums(architecture: Architecture, layout: WeightLayout, settings: LlamaSettings, cpu_moe_layers: int) -> Kept:
    """What all items keep, wherever they are."""
    weights, experts = _weights(architecture, layout, cpu_moe_layers)
    return Kept(weights, *_conversations(architecture, settings.computed), experts)


@functools.lru_cache(maxsize=1024)
def _weights(architecture: Architecture, layout: WeightLayout, cpu_moe_layers: int) -> tuple[tuple[int, ...], int]:
    away = experts_away(architecture, layout, cpu_moe_layers)
    output = layout.output_bytes + (copied_input_bytes(layout) if architecture.tied_embeddings else 0)
    held = (size - out for size, out in zip(layout.layer_bytes, away, strict=True))
    return tuple(accumulate((*held, output), initial=0)), sum(away)


@functools.lru_cache(maxsize=1024)
def _conversations(architecture: Architecture, settings: LlamaSettings) -> tuple[tuple[int, ...], tuple[int, ...]]:
    kept = kv_bytes(architecture, settings)
    held = states(architecture, settings.slots, settings.draft_tokens)
    return tuple(accumulate((*kept, 0), initial=0)), tuple(accumulate((*held, 0), initial=0))


def experts_away(architecture: Architecture, layout: WeightLayout, layers: int) -> tuple[int, ...]:
    """Bytes of routed experts of each layer that are in main memory, when those of the first `layers` are."""
    if not layers:
        return (0,) * len(layout.layer_bytes)
    share = expert_share(architecture)
    each = layout.expert_bytes or tuple(int(size * share) for size in layout.layer_bytes)
    return tuple(size if layer < layers else 0 for layer, size in enumerate(each))


def copied_input_bytes(layout: WeightLayout) -> int:
    """Bytes of the token embedding, which a GPU has a copy of where it is the output too."""
    return layout.token_embedding_bytes or layout.input_bytes


def _gpu(shape: Shape, start: int, end: int, kept: Kept, overhead: int) -> DeviceBuffers:
    settings, weights, kv, states = shape.settings, kept.weights, kept.kv, kept.states
    return DeviceBuffers(
        weights=weights[end] - weights[start],
        kv=kv[end] - kv[start],
        state=states[end] - states[start],
        compute=gpu_compute(shape, start, end) if end > start or settings.outputs >= BATCHED else 0,
        overhead=overhead + (_pool_bytes(shape, start, end) if settings.build < RESERVED_HALVES else 0),
    )


def _pool_bytes(shape: Shape, start: int, end: int) -> int:
    """Copies in 16 bits that builds before RESERVED_HALVES make at run time: those of the largest layer."""
    architecture, settings = shape.architecture, shape.settings
    if not settings.halves(shape.where.accelerator):
        return 0
    layers = range(0 if start == shape.first else start, min(end, architecture.layers))
    return max((half_bytes(architecture, settings, layer) for layer in layers), default=0)


def _host(shape: Shape, kept: Kept) -> DeviceBuffers:
    architecture, layout, settings = shape.architecture, shape.layout, shape.settings
    where, first, layers = shape.where, shape.first, architecture.layers - architecture.nextn_layers
    if where.gpu_layers:
        weights = kept.weights[first] + kept.experts
        compute = inputs_bytes(architecture, settings.computed, shape.copies)
        compute += _states_at_home(architecture, settings, min(first, layers))
    else:
        first = kept.items
        weights = sum(layout.layer_bytes) + layout.output_bytes + _repacked(architecture, layout, settings)
        share = Part(representatives(architecture, 0, layers), on_gpu=False)
        compute = graph_bytes(architecture, settings.computed, share)
    return DeviceBuffers(
        weights=layout.input_bytes + weights,
        kv=kept.kv[first],
        state=kept.states[first],
        compute=compute,
        output=output_bytes(architecture, settings),
        overhead=host_overhead(where.accelerator),
    )


def _states_at_home(architecture: Architecture, settings: LlamaSettings, guests: int) -> int:
    """What a GPU brings back for the states of the first `guests` layers, which are in main memory.

    One vector a token, and with drafted tokens two convolutions: seen with Qwen3.5 of 9B and 27B, build 9849.
    """
    if not any(architecture.recurrent[:guests]):
        return 0
    channels = architecture.ssm_inner_size + 2 * architecture.ssm_groups * architecture.ssm_state_size
    columns = architecture.embedding + (2 * channels if settings.draft_tokens else 0)
    return 4 * settings.tokens * columns


def _repacked(architecture: Architecture, layout: WeightLayout, settings: LlamaSettings) -> int:
    """Second copy of a tied embedding in a layout for the CPU.

    There is one for types of up to 4.5 bits (ggml/src/ggml-cpu/repack.cpp: Q4_0, Q4_K, IQ4_NL, Q2_K, MXFP4; seen with
    build 11669 on a CPU with AVX-512).
    """
    size = copied_input_bytes(layout)
    few_bits = size * 8 <= _REPACKED_BITS * architecture.vocabulary * architecture.embedding
    return size if settings.repack and architecture.tied_embeddings and few_bits else 0


def output_bytes(architecture: Architecture, settings: LlamaSettings) -> int:
    """Logits of one token of every slot, in main memory."""
    return architecture.vocabulary * settings.slots * 4


@functools.lru_cache(maxsize=512)
def _weight_bytes(architecture: Architecture, layout: WeightLayout) -> float:
    """Bytes of one weight of the repeating layers, to two places."""
    elements = sum(layers_elements(architecture))
    return round(sum(layout.layer_bytes) / max(elements, 1), 2)
