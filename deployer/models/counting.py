"""The number of weights of a model, from its architecture alone: what a catalog entry is checked with.

Sources: the tensors of each architecture in llama.cpp b11434 src/models/*.cpp (`load_arch_tensors`).
"""

from typing import NamedTuple

from deployer.types import Architecture


class _Family(NamedTuple):
    """What the numbers of an architecture do not say. `norms` are vectors of the embedding's size in each layer."""

    norms: int = 2
    head_norms: bool = False  # a norm for query heads and one for key heads
    biased: bool = False  # all projections and norms have a bias
    gated: bool = True  # three matrices in a feed-forward part, else two
    query_gate: bool = False  # the query projection yields a gate too
    sinks: bool = False  # one number a head, biases on the output, the router and the experts


_FAMILIES = {
    "bert": _Family(biased=True, gated=False),
    "command-r": _Family(norms=1),
    "exaone4": _Family(head_norms=True),
    "gemma2": _Family(norms=4),
    "gemma3": _Family(norms=4, head_norms=True),
    "gpt-oss": _Family(sinks=True),
    "nomic-bert": _Family(norms=4),  # two, each with a bias
    "qwen3": _Family(head_norms=True),
    "qwen35": _Family(head_norms=True, query_gate=True),
    "qwen35moe": _Family(head_norms=True, query_gate=True),
    "qwen3moe": _Family(head_norms=True),
    "qwen3next": _Family(head_norms=True, query_gate=True),
}
_ENCODERS = {"bert": 1, "nomic-bert": 2}  # rows of the token-type table
_POOLER = frozenset({"bert"})


def count_parameters(shape: Architecture) -> int:
    """Weights of a model: tied embeddings once, all experts, no heads for predicting several tokens.

    Exact for the architectures of `_FAMILIES` and for plain ones (llama, qwen2, phi3, deepseek2 ...); an encoder is
    counted with its pooler, a reranker within the pooler's size.
    """
    family = _FAMILIES.get(shape.name, _Family())
    recurrent = shape.recurrent
    total = sum(
        (_recurrent_mixer(shape) if recurrent[layer] else _attention(shape, family))
        + _feed_forward(shape, family, layer)
        + _norms(shape, family, recurrent=recurrent[layer])
        for layer in range(shape.layers)
    )
    return total + _outside(shape)


def _outside(shape: Architecture) -> int:
    """Embedding, output head and last norm; for an encoder also types, positions, first norm and pooler."""
    table, width = shape.vocabulary * shape.embedding, shape.embedding
    if shape.name not in _ENCODERS:
        return table * (1 if shape.tied_embeddings else 2) + width
    types = _ENCODERS[shape.name] * width
    if shape.name not in _POOLER:  # rotary positions
        return table + types + 2 * width
    positions = (shape.context_max + 2) * width
    return table + types + positions + 2 * width + width * width + width


def _norms(shape: Architecture, family: _Family, *, recurrent: bool) -> int:
    heads = 2 * shape.head_dim if family.head_norms and not recurrent else 0
    return family.norms * shape.embedding * (2 if family.biased else 1) + heads


def _attention(shape: Architecture, family: _Family) -> int:
    if shape.kv_lora_rank:
        return _latent_attention(shape)
    width, head, value = shape.embedding, shape.head_dim, shape.value_head_dim or shape.head_dim
    query, key, values = shape.heads * head, shape.kv_heads * head, shape.kv_heads * value
    total = width * (query * (2 if family.query_gate else 1) + key + values) + shape.heads * value * width
    if shape.attention_bias or family.biased:
        total += query + key + values
    if family.biased or family.sinks:
        total += width
    return total + (shape.heads if family.sinks else 0)


def _latent_attention(shape: Architecture) -> int:
    """Queries through a low rank, keys and values from one shared low rank, and the rotary part of the key."""
    width, value = shape.embedding, shape.value_head_dim or shape.head_dim
    plain = shape.head_dim - shape.rope_head_dim
    query = shape.heads * shape.head_dim
    queries = (width + query + 1) * shape.q_lora_rank if shape.q_lora_rank else width * query
    latent = width * (shape.kv_lora_rank + shape.rope_head_dim) + shape.kv_lora_rank
    return queries + latent + shape.kv_lora_rank * shape.heads * (plain + value) + shape.heads * value * width


def _recurrent_mixer(shape: Architecture) -> int:
    """Gated delta net: projections in and out, convolution, decay and step of each head, norm."""
    width, inner = shape.embedding, shape.ssm_inner_size
    keys = shape.ssm_groups * shape.ssm_state_size
    convolution = shape.ssm_conv_kernel * (2 * keys + inner)
    heads = 2 * shape.ssm_heads * (width + 1) + inner // max(shape.ssm_heads, 1)
    return width * (2 * keys + 2 * inner) + heads + convolution + inner * width


def _feed_forward(shape: Architecture, family: _Family, layer: int) -> int:
    width, matrices = shape.embedding, 3 if family.gated else 2
    if not shape.experts or layer < shape.dense_layers:
        bias = shape.feed_forward + width if family.biased else 0
        return matrices * width * shape.feed_forward + bias
    routed = shape.expert_feed_forward or shape.feed_forward
    shared = shape.shared_expert_feed_forward or routed
    biases = shape.experts * (1 + (matrices - 1) * routed + width) if family.sinks else 0
    gate = width if shape.shared_experts and shape.recurrent != (False,) * shape.layers else 0
    correction = shape.experts if shape.kv_lora_rank else 0  # exp_probs_b
    experts = shape.experts * matrices * width * routed + shape.shared_experts * matrices * width * shared
    return experts + shape.experts * width + biases + gate + correction
