"""Attention of one layer as operations.

Source: llama.cpp b11434 src/llama-graph.cpp `build_qkv`, `build_attn`, `build_attn_mha`; latent attention:
src/models/deepseek2.cpp.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.cache import half_bytes, kv_bytes
from deployer.decide.llama.graph import inplace, new, part, reshape, store, weighted
from deployer.decide.llama.head_dims import key_dim, value_dim
from deployer.decide.llama.settings import CELL_NUMBERS
from deployer.decide.llama.work import Work

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
    if work.turned(layer):
        query, key = inplace(query, work.positions), inplace(key, work.positions)
    has_kv = layer < architecture.layers - architecture.shared_kv_layers
    attended = _attend(work, query, key if has_kv else None, value if has_kv else None, layer)
    if gate is not None:
        attended = inplace(attended, inplace(new((heads * keys, tokens), gate)))
    return work.matrix(attended, architecture.embedding)


def _attend(work: Work, query: Tensor, key: Tensor | None, value: Tensor | None, layer: int) -> Tensor:
    graph, values = work.graph, value_dim(work.architecture, layer)
    query, key, value = _rotations(work, query, key, value, layer)
    graph.expand(query)
    for tensor in (value, key):
        if tensor is not None:
            graph.expand(tensor)
    if key is not None and value is not None:
        cells, value_cells = work.cells[work.architecture.windows[layer]]
        graph.expand(store(reshape(key, ()), cells))
        graph.expand(store(reshape(value, ()), value_cells))
    attended = graph.expand(_scores(work, part(query, query.layout), values, layer))
    return _rotated(attended, work.rotations[work.architecture.windows[layer]][1])


def _rotations(
    work: Work, query: Tensor, key: Tensor | None, value: Tensor | None, layer: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Quantized keys (and the queries with them) and values are rotated first, and what comes out back (PR 21038)."""
    of_keys, of_values = work.rotations[work.architecture.windows[layer]]
    key = None if key is None else _rotated(key, of_keys)
    return _rotated(query, of_keys), key, None if value is None else _rotated(value, of_values)


def _rotated(tensor: Tensor, rotation: Tensor | None) -> Tensor:
    return tensor if rotation is None else reshape(new(tensor.layout, tensor, rotation), tensor.layout)


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
    # Builds before CELL_NUMBERS kept queries and scores as long as that: seen with Phi 3, on a CPU and a GPU
    kept = (scores, query) if settings.build < CELL_NUMBERS else ()
    return new((values * heads, tokens), part(mixed, (values, heads, tokens)), *kept)


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
    graph.expand(store(reshape(key, ()), work.cells[0][0]))
    if work.settings.flash_attention:
        mixed = _with_halves(work, new((rank, heads, tokens), part(whole, whole.layout), work.masks[0]), layer)
        mixed = new((values, tokens, heads), part(mixed, (rank, tokens, heads)))
    else:
        scores = new((work.settings.cells, tokens, heads), part(whole, whole.layout))
        mixed = new((rank, tokens, heads), inplace(scores, work.masks[0]))
        mixed = new((values, tokens, heads), mixed)
    attended = graph.expand(new((values * heads, tokens), part(mixed, (values, heads, tokens))))
    return work.matrix(attended, architecture.embedding)
