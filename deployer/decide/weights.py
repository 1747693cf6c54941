"""Bytes of a model's weights by place: exact where the file was read, else computed from its architecture."""

import functools
from collections.abc import Iterator
from typing import Literal

import msgspec

from deployer.decide.mix import BASE, Kind, layer_type, output_type, tensor_bytes
from deployer.types import Architecture, ModelVariant, WeightLayout
from deployer.types.encoder import is_encoder

Basis = Literal["exact", "computed", "approximate"]

METADATA_BYTES = 6_000_000
"""Header and vocabulary of a GGUF file; 5.7 to 8.1 MB in published files with vocabularies of 128k to 152k."""

TRUSTED = 0.015
"""A computed total within this part of the file's size needs no correction."""

EXPERTS_ONLY = ("MXFP4",)
"""Quantizations of safetensors models in which all but the routed experts keeps 16 bits (gpt-oss:
`modules_to_not_convert` of its config.json)."""

_BYTES_F32 = 4
_BYTES_F16 = 2
_UNGATED = ("bert",)
_QK_NORM = ("qwen3", "qwen3moe", "gemma3")


class Weights(msgspec.Struct, frozen=True, cache_hash=True):
    """Layout in bytes, where it comes from, and what part of a layer one token reads (all but the idle experts).

    `expert_share` is the part of a layer that is routed experts; 0 for a dense model.
    """

    layout: WeightLayout
    basis: Basis
    active_layer_share: float
    tied: bool
    expert_share: float = 0.0

    @property
    def output_bytes(self) -> int:
        """Output head and norm; with tied embeddings a GPU holds its own copy of the embedding.

        Source: llama.cpp src/llama-model-loader.cpp, tied embeddings duplicated as OUTPUT.
        """
        return self.layout.output_bytes + (self.layout.input_bytes if self.tied else 0)


def weights_of(variant: ModelVariant, architecture: Architecture, parameters: int, bits_per_weight: float) -> Weights:
    """Weights of one variant. `bits_per_weight` serves for a quantization whose mix is not known here."""
    active, experts = _shares(architecture)
    tied = architecture.tied_embeddings
    if variant.weights is not None:
        return Weights(variant.weights, "exact", active, tied, experts)
    if variant.format != "gguf":
        packed = packed_layout(architecture, bits_per_weight, experts_only=variant.quantization in EXPERTS_ONLY)
        return Weights(*_corrected(packed, variant.size_bytes), active, tied, experts)
    if variant.quantization in BASE:
        computed = compute_layout(architecture, variant.quantization)
        return Weights(*_corrected(computed, variant.size_bytes), active, tied, experts)
    shape = compute_layout(architecture, "F16")
    total = variant.size_bytes or int(parameters * bits_per_weight / 8)
    return Weights(_scaled(shape, total / shape.total_bytes), "approximate", active, tied, experts)


@functools.lru_cache(maxsize=256)
def compute_layout(architecture: Architecture, quantization: str) -> WeightLayout:
    """Layout of a decoder with separate Q, K and V and a gated feed-forward part (llama, qwen2, qwen3, mixtral ...).

    An encoder has no output head, and BERT no gate. Source: llama.cpp src/llama-model.cpp, tensors of these
    architectures; raises KeyError for an unknown mix.
    """
    embedding, vocabulary = architecture.embedding, architecture.vocabulary
    head = tensor_bytes(output_type(quantization, embedding), vocabulary, embedding)
    norm = embedding * _BYTES_F32
    tied = architecture.tied_embeddings
    return WeightLayout(
        input_bytes=head if tied else tensor_bytes(BASE[quantization], vocabulary, embedding),
        layer_bytes=_layers_bytes(architecture, quantization),
        output_bytes=norm if tied or is_encoder(architecture.name) else head + norm,
    )


@functools.lru_cache(maxsize=256)
def packed_layout(architecture: Architecture, bits_per_weight: float, *, experts_only: bool = False) -> WeightLayout:
    """Layout of a safetensors model: embeddings, output head and norms of 16 bits, matrices of `bits_per_weight`.

    AWQ and GPTQ of 4 bits with groups of 128 have 4 + 16/128 + 4/128 = 4.156 bits; "embeddings, lm_head and norms
    normally stay 16-bit" (packing of AutoAWQ and GPTQModel). `experts_only`: so do all matrices but routed experts.
    """
    embedding = architecture.vocabulary * architecture.embedding * _BYTES_F16
    norm = architecture.embedding * _BYTES_F16
    small = _small_tensors(architecture) * _BYTES_F16
    elements = layers_elements(architecture)
    packed = _routed(architecture) if experts_only else elements
    sizes = [int(count * bits_per_weight / 8) for count in packed]
    plain = [(count - away) * _BYTES_F16 for count, away in zip(elements, packed, strict=True)]
    places = architecture.context_max * architecture.embedding * _BYTES_F16 if architecture.name in _UNGATED else 0
    return WeightLayout(
        input_bytes=embedding + places,
        layer_bytes=tuple(size + rest + small for size, rest in zip(sizes, plain, strict=True)),
        output_bytes=norm if architecture.tied_embeddings or is_encoder(architecture.name) else embedding + norm,
        expert_bytes=tuple(sizes) if experts_only else (),
    )


def _routed(architecture: Architecture) -> tuple[int, ...]:
    """Weights in the routed experts of each layer."""
    count = 3 * architecture.experts * _expert(architecture) * architecture.embedding
    return tuple(0 if _is_dense(architecture, layer) else count for layer in range(architecture.layers))


@functools.lru_cache(maxsize=256)
def expert_share(architecture: Architecture) -> float:
    """Part of a layer's weights that is routed experts."""
    return _shares(architecture)[1]


@functools.lru_cache(maxsize=256)
def layers_elements(architecture: Architecture) -> tuple[int, ...]:
    """Weights in the matrices of each layer."""
    every = (_matrices(architecture, dense=dense) for dense in (False, True))
    counts = [sum(rows * columns for _, rows, columns in matrices) for matrices in every]
    return tuple(counts[_is_dense(architecture, layer)] for layer in range(architecture.layers))


def _layers_bytes(architecture: Architecture, quantization: str) -> tuple[int, ...]:
    """Bytes of each layer. Of all matrices, only values and down projections have other types in other layers."""
    known: dict[tuple[bool, str, str], int] = {}
    small, found = _small_tensors(architecture) * _BYTES_F32, []
    for layer in range(architecture.layers):
        dense = _is_dense(architecture, layer)
        values = layer_type(quantization, "attn_v", layer, architecture)
        same = dense, values, layer_type(quantization, "ffn_down", layer, architecture)
        if same not in known:
            known[same] = small + sum(
                tensor_bytes(layer_type(quantization, kind, layer, architecture), rows, columns)
                for kind, rows, columns in _matrices(architecture, dense=dense)
            )
        found.append(known[same])
    return tuple(found)


def _is_dense(architecture: Architecture, layer: int) -> bool:
    return not architecture.experts or layer < architecture.dense_layers


def _matrices(architecture: Architecture, *, dense: bool) -> Iterator[tuple[Kind, int, int]]:
    """Kind, rows and columns of the quantized tensors of one layer, whose feed-forward part is dense or experts."""
    yield from _attention(architecture)
    embedding = architecture.embedding
    for times, wide in _feed_forward(architecture, dense=dense):
        if architecture.name not in _UNGATED:
            yield "ffn_gate", wide * times, embedding
        yield "ffn_up", wide * times, embedding
        yield "ffn_down", embedding * times, wide


def _attention(architecture: Architecture) -> Iterator[tuple[Kind, int, int]]:
    """Q, K, V and output; with latent attention the two halves of each compressed projection together.

    Source: transformers DeepseekV3Attention (q_a, q_b, kv_a, kv_b, o).
    """
    embedding, heads, values = architecture.embedding, architecture.heads, value_dim(architecture)
    query = heads * architecture.head_dim
    if architecture.kv_lora_rank:
        rank, rope = architecture.q_lora_rank, architecture.rope_head_dim
        plain = architecture.head_dim - rope
        yield "attn_q", (rank * (embedding + query) // embedding) if rank else query, embedding
        yield "attn_k", architecture.kv_lora_rank + rope, embedding
        yield "attn_v", architecture.kv_lora_rank, heads * (plain + values)
    else:
        yield "attn_q", query, embedding
        yield "attn_k", architecture.kv_heads * architecture.head_dim, embedding
        yield "attn_v", architecture.kv_heads * values, embedding
    yield "attn_output", embedding, heads * values


def value_dim(architecture: Architecture) -> int:
    """Elements of a value head."""
    return architecture.value_head_dim or architecture.head_dim


def _small_tensors(architecture: Architecture) -> int:
    """Elements that stay F32: norms, biases and the expert router."""
    count = 2 * architecture.embedding
    if architecture.attention_bias:
        count += (architecture.heads + 2 * architecture.kv_heads) * architecture.head_dim
    if architecture.name in _QK_NORM:
        count += 2 * architecture.head_dim
    return count + architecture.experts * architecture.embedding


def _feed_forward(architecture: Architecture, *, dense: bool) -> Iterator[tuple[int, int]]:
    """Number and width of the feed-forward parts of a layer: one dense, or the routed and the shared experts."""
    if dense:
        yield 1, architecture.feed_forward
        return
    yield architecture.experts, _expert(architecture)
    if architecture.shared_experts:
        yield architecture.shared_experts, architecture.shared_expert_feed_forward or _expert(architecture)


def _expert(architecture: Architecture) -> int:
    return architecture.expert_feed_forward or architecture.feed_forward


def _shares(architecture: Architecture) -> tuple[float, float]:
    """Parts of a layer's weights: what one token reads (attention, shared and used experts), and the routed experts."""
    if not architecture.experts:
        return 1.0, 0.0
    rest = sum(rows * columns for _, rows, columns in _attention(architecture))
    expert = 3 * architecture.embedding * _expert(architecture)
    width = architecture.shared_expert_feed_forward or _expert(architecture)
    rest += 3 * architecture.embedding * architecture.shared_experts * width
    whole = rest + expert * architecture.experts
    return (rest + expert * (architecture.experts_used or 1)) / whole, expert * architecture.experts / whole


def _corrected(computed: WeightLayout, size_bytes: int | None) -> tuple[WeightLayout, Basis]:
    """The file's own size wins over a computed sum that is not close to it."""
    if size_bytes is None:
        return computed, "computed"
    tensors = max(size_bytes - METADATA_BYTES, size_bytes // 2)
    if abs(tensors - computed.total_bytes) <= TRUSTED * size_bytes:
        return computed, "computed"
    return _scaled(computed, tensors / computed.total_bytes), "approximate"


def _scaled(layout: WeightLayout, factor: float) -> WeightLayout:
    return WeightLayout(
        input_bytes=int(layout.input_bytes * factor),
        layer_bytes=tuple(int(size * factor) for size in layout.layer_bytes),
        output_bytes=int(layout.output_bytes * factor),
        expert_bytes=tuple(int(size * factor) for size in layout.expert_bytes),
    )
