"""Attention of one layer as operations.

Source: llama.cpp b11434 src/llama-graph.cpp `build_qkv`, `build_attn`, `build_attn_mha`; latent attention:
src/models/deepseek2.cpp.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.cache import half_bytes, kv_bytes
from deployer.decide.llama.graph import inplace, new, part, reshape, store, weighted
from deployer.decide.llama.head_dims import key_dim, value_dim
from deployer.decide.llama.settings import FEW_OUTPUTS
from deployer.decide.llama.work import Work

_QUANTIZED = frozenset(("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"))
_ROTATED_HEAD = 64
_VALUE_NORM = frozenset(("gemma3n", "gemma4"))


def attention(work: Work, source: Tensor, layer: int) -> Tensor:
    """The layer's attention over `source`, with its output projection."""
    if work.architecture.kv_lora_rank:
        return _latent(work, source, layer)
    architecture, tokens = work.architecture, work.tokens
    keys, values = key_dim(architecture, layer), value_dim(architecture, layer)
    heads, kv_heads = architecture.heads, work.kv_heads(layer)
    gate = None
    if work.traits.fused_qkv:
        whole = work.matrix(source, heads * keys + kv_heads * (keys + values))
        query, key = part(whole, (keys, heads, tokens)), part(whole, (keys, kv_heads, tokens))
        value = part(whole, (values, kv_heads, tokens))
    else:
        wide = work.matrix(source, heads * keys * (2 if work.traits.gated_query else 1))
        query = reshape(wide, (keys, heads, tokens))
        if work.traits.gated_query:
            query, gate = part(wide, (keys, heads, tokens)), part(wide, (keys, heads, tokens))
        key = reshape(work.matrix(source, kv_heads * keys), (keys, kv_heads, tokens))
        value = reshape(work.matrix(source, kv_heads * values), (values, kv_heads, tokens))
    if work.traits.qk_norm:
        query, key = weighted(query), weighted(key)
        value = inplace(value) if architecture.name in _VALUE_NORM else value
    query, key = inplace(query, work.positions), inplace(key, work.positions)
    has_kv = layer < architecture.layers - architecture.shared_kv_layers
    attended = _attend(work, query, key if has_kv else None, value if has_kv else None, layer)
    if gate is not None:
        attended = inplace(attended, inplace(new((heads * keys, tokens), gate)))
    return work.matrix(attended, architecture.embedding)


def _attend(work: Work, query: Tensor, key: Tensor | None, value: Tensor | None, layer: int) -> Tensor:
    graph, values = work.graph, value_dim(work.architecture, layer)
    query, key, value, rotated = _rotations(work, query, key, value, values)
    graph.expand(query)
    for tensor in (value, key):
        if tensor is not None:
            graph.expand(tensor)
    if key is not None and value is not None:
        graph.expand(store(reshape(key, ()), work.cells))
        graph.expand(store(reshape(value, ()), work.value_cells))
    attended = _scores(work, part(query, query.layout), values, layer)
    if rotated:
        attended = reshape(new(attended.layout, attended), attended.layout)
    return graph.expand(attended)


def _rotations(
    work: Work, query: Tensor, key: Tensor | None, value: Tensor | None, values: int
) -> tuple[Tensor, Tensor | None, Tensor | None, bool]:
    """Quantized keys and values are rotated first, and what comes out back (PR 21038)."""
    settings = work.settings
    if settings.build < FEW_OUTPUTS or values % _ROTATED_HEAD:
        return query, key, value, False

    def turned(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else reshape(new(tensor.layout, tensor), tensor.layout)

    if settings.kv_type_k in _QUANTIZED:
        query, key = reshape(new(query.layout, query), query.layout), turned(key)
    rotated = settings.kv_type_v in _QUANTIZED
    return query, key, turned(value) if rotated else value, rotated


def _scores(work: Work, query: Tensor, values: int, layer: int) -> Tensor:
    """Weighted values of all heads: in one operation with flash attention, else by way of every score."""
    settings, heads, tokens = work.settings, work.architecture.heads, work.tokens
    window = work.architecture.windows[layer]
    mask = work.masks[window]
    keys_copy, values_copy = _cache_copies(work, layer)
    if settings.flash_attention:
        mixed = _with_halves(work, new((values, heads, tokens), query, *keys_copy, *values_copy, mask), layer)
        return reshape(mixed, (values * heads, tokens))
    scores = new((settings.window_cells(window), tokens, heads), *keys_copy, query)
    if work.traits.softcap:
        scores = inplace(inplace(inplace(scores)))
    scores = inplace(scores, mask)
    mixed = new((values, tokens, heads), *values_copy, scores)
    # Queries and scores are there as long as their result: so it is in the buffers seen, of CPUs and GPUs
    return new((values * heads, tokens), part(mixed, (values, heads, tokens)), scores, query)


def _with_halves(work: Work, mixed: Tensor, layer: int) -> Tensor:
    """Attention on a GPU has its copies of the layer's cache in 16 bits behind its result."""
    if work.half_copies:
        mixed.grow(half_bytes(work.architecture, work.settings, layer))
    return mixed


def _cache_copies(work: Work, layer: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Keys and values of a layer whose cache is in main memory, copied to where they are used."""
    if not work.weight_bytes:
        return (), ()
    whole = kv_bytes(work.architecture, work.settings)[layer] // 2
    return (Tensor(whole, ()),), (Tensor(whole, ()),)


def _latent(work: Work, source: Tensor, layer: int) -> Tensor:
    """Attention over compressed rows: keys are `kv_lora_rank + rope` wide and shared by all heads."""
    architecture, tokens, heads = work.architecture, work.tokens, work.architecture.heads
    rank, rope, values = architecture.kv_lora_rank, architecture.rope_head_dim, value_dim(architecture, layer)
    inner = source
    if architecture.q_lora_rank:
        inner = weighted(work.matrix(source, architecture.q_lora_rank))
    query = reshape(work.matrix(inner, heads * architecture.head_dim), (architecture.head_dim, heads, tokens))
    row = work.matrix(source, rank + rope)
    rotary = new((rope, 1, tokens), part(row, (rope, 1, tokens)), work.positions)
    latent = inplace(new((rank, tokens), part(row, (rank, tokens))))
    query_rotary = new((rope, heads, tokens), part(query, (rope, heads, tokens)), work.positions)
    absorbed = new((rank, tokens, heads), part(query, (architecture.head_dim - rope, tokens, heads)))
    whole = new((rank + rope, heads, tokens), part(absorbed, (rank, heads, tokens)), query_rotary)
    key = new((rank + rope, 1, tokens), reshape(latent, (rank, 1, tokens)), rotary)
    graph = work.graph
    graph.expand(whole)
    graph.expand(latent)
    graph.expand(key)
    graph.expand(store(reshape(key, ()), work.cells))
    if work.settings.flash_attention:
        mixed = _with_halves(work, new((rank, heads, tokens), part(whole, whole.layout), work.masks[0]), layer)
        mixed = new((values, tokens, heads), part(mixed, (rank, tokens, heads)))
    else:
        scores = new((work.settings.cells, tokens, heads), part(whole, whole.layout))
        mixed = new((rank, tokens, heads), inplace(scores, work.masks[0]))
        mixed = new((values, tokens, heads), mixed)
    attended = graph.expand(new((values * heads, tokens), part(mixed, (values, heads, tokens))))
    return work.matrix(attended, architecture.embedding)
