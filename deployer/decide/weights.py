"""Bytes of a model's weights by place: exact where the file was read, else computed from its architecture."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from deployer.decide.mix import BASE, Kind, layer_type, output_type, tensor_bytes
from deployer.types import Architecture, ModelVariant, WeightLayout

Basis = Literal["exact", "computed", "approximate"]

METADATA_BYTES = 6_000_000
"""Header and vocabulary of a GGUF file; 5.7 to 8.1 MB in published files with vocabularies of 128k to 152k."""

TRUSTED = 0.015
"""A computed total within this part of the file's size needs no correction."""

_BYTES_F32 = 4
_QK_NORM = ("qwen3", "qwen3moe", "gemma3")


class Weights(msgspec.Struct, frozen=True):
    """Layout in bytes, where it comes from, and bytes read for one token (active experts, no input embedding)."""

    layout: WeightLayout
    basis: Basis
    active_layer_share: float
    tied: bool

    @property
    def output_bytes(self) -> int:
        """Output head and norm; with tied embeddings a GPU holds its own copy of the embedding.

        Source: llama.cpp src/llama-model-loader.cpp, tied embeddings duplicated as OUTPUT.
        """
        return self.layout.output_bytes + (self.layout.input_bytes if self.tied else 0)


def weights_of(variant: ModelVariant, architecture: Architecture, parameters: int, bits_per_weight: float) -> Weights:
    """Weights of one variant. `bits_per_weight` serves for a quantization whose mix is not known here."""
    share = _active_share(architecture)
    tied = architecture.tied_embeddings
    if variant.weights is not None:
        return Weights(variant.weights, "exact", share, tied)
    if variant.quantization in BASE:
        computed = compute_layout(architecture, variant.quantization)
        return Weights(*_corrected(computed, variant.size_bytes), share, tied)
    shape = compute_layout(architecture, "F16")
    total = variant.size_bytes or int(parameters * bits_per_weight / 8)
    return Weights(_scaled(shape, total / shape.total_bytes), "approximate", share, tied)


def compute_layout(architecture: Architecture, quantization: str) -> WeightLayout:
    """Layout of a decoder with separate Q, K and V and a gated feed-forward part (llama, qwen2, qwen3, mixtral ...).

    Source: llama.cpp src/llama-model.cpp, tensors of these architectures; raises KeyError for an unknown mix.
    """
    embedding, vocabulary = architecture.embedding, architecture.vocabulary
    head = tensor_bytes(output_type(quantization, embedding), vocabulary, embedding)
    norm = embedding * _BYTES_F32
    tied = architecture.tied_embeddings
    return WeightLayout(
        input_bytes=head if tied else tensor_bytes(BASE[quantization], vocabulary, embedding),
        layer_bytes=tuple(_layer_bytes(architecture, quantization, layer) for layer in range(architecture.layers)),
        output_bytes=norm if tied else head + norm,
    )


def _layer_bytes(architecture: Architecture, quantization: str, layer: int) -> int:
    matrices = sum(
        tensor_bytes(layer_type(quantization, kind, layer, architecture), rows, columns)
        for kind, rows, columns in _matrices(architecture)
    )
    return matrices + _small_tensors(architecture) * _BYTES_F32


def _matrices(architecture: Architecture) -> Iterator[tuple[Kind, int, int]]:
    """Kind, rows and columns of the quantized tensors of one layer."""
    embedding = architecture.embedding
    query, key = architecture.heads * architecture.head_dim, architecture.kv_heads * architecture.head_dim
    yield "attn_q", query, embedding
    yield "attn_k", key, embedding
    yield "attn_v", key, embedding
    yield "attn_output", embedding, query
    wide, times = _feed_forward(architecture), max(architecture.experts, 1)
    yield "ffn_gate", wide * times, embedding
    yield "ffn_up", wide * times, embedding
    yield "ffn_down", embedding * times, wide


def _small_tensors(architecture: Architecture) -> int:
    """Elements that stay F32: norms, biases and the expert router."""
    count = 2 * architecture.embedding
    if architecture.attention_bias:
        count += (architecture.heads + 2 * architecture.kv_heads) * architecture.head_dim
    if architecture.name in _QK_NORM:
        count += 2 * architecture.head_dim
    return count + architecture.experts * architecture.embedding


def _feed_forward(architecture: Architecture) -> int:
    return (
        (architecture.expert_feed_forward or architecture.feed_forward)
        if architecture.experts
        else (architecture.feed_forward)
    )


def _active_share(architecture: Architecture) -> float:
    """Part of a layer's weights that one token reads: all of it, or attention and the experts in use."""
    if not architecture.experts:
        return 1.0
    attention = 2 * architecture.embedding * architecture.head_dim * (architecture.heads + architecture.kv_heads)
    expert = 3 * architecture.embedding * _feed_forward(architecture)
    active = attention + expert * (architecture.experts_used or 1)
    return active / (attention + expert * architecture.experts)


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
    )
