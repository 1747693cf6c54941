"""The compute buffer of each device: the graph of one micro-batch, placed as ggml places it.

Source: llama.cpp b11434 src/llama-context.cpp `graph_reserve`, src/llama-graph.cpp (inputs), ggml/src/ggml-backend.cpp
(what is copied between devices). Layers of a kind follow each other in the same memory, so a few of each are enough.
"""

import functools
from collections.abc import Sequence

import msgspec

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.altup import merged, stacked
from deployer.decide.llama.encoder import encoder_bytes
from deployer.decide.llama.graph import FLOAT, Graph, inplace, new, weighted
from deployer.decide.llama.head_dims import key_dim, value_dim
from deployer.decide.llama.layers import layer_output
from deployer.decide.llama.per_layer import layer_rows, per_layer
from deployer.decide.llama.settings import (
    CELL_NUMBERS,
    EMBEDDING_INPUT,
    FEW_OUTPUTS,
    MIXED_INPUT,
    LlamaSettings,
)
from deployer.decide.llama.traits import traits
from deployer.decide.llama.work import Work
from deployer.types import Architecture
from deployer.types.encoder import is_encoder

_HALF, _LONG = 2, 8
_QUANTIZED = frozenset(("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"))
_ROTATED = 64
_REPEATS = 4


class Part(msgspec.Struct, frozen=True):
    """What one device computes: the layers, by numbers that stand for all of their kind, and what comes with them.

    `guests` are layers whose weights are in main memory, computed here all the same; `copies` of the inputs are kept;
    `weight_bytes` is what one weight of a guest takes, `expert_bytes` one weight of experts that are in main memory,
    `head_bytes` an output matrix that is there too; `half_copies` as in `Work`.
    """

    layers: tuple[int, ...]
    guests: tuple[int, ...] = ()
    output: bool = True
    first: bool = True
    on_gpu: bool = True
    copies: int = 1
    weight_bytes: float = 0.0
    expert_bytes: float = 0.0
    head_bytes: int = 0
    half_copies: bool = False


@functools.lru_cache(maxsize=4096)
def graph_bytes(architecture: Architecture, settings: LlamaSettings, share: Part) -> int:
    """Bytes of the compute buffer of a device that does `share`, which says alone what is where.

    With several copies of its inputs none is ever free again, so that what only the first GPU has comes on top.
    """
    if is_encoder(architecture.name):
        return encoder_bytes(architecture, settings.tokens)
    plain = settings.build >= FEW_OUTPUTS and not _alters_vectors(architecture)
    if plain and share.copies > 1 and share.first and share.on_gpu:
        later = msgspec.structs.replace(share, first=False)
        return graph_bytes(architecture, settings, later) + _first_bytes(architecture, settings, share.copies)
    graph = Graph()
    tokens, embedding = settings.tokens, architecture.embedding
    early = architecture.name == "gemma4" and not share.on_gpu
    rows = layer_rows(graph, architecture, tokens, on_gpu=False) if early else None
    vectors = _vectors(graph, embedding, settings, share)
    work, chosen = _work(graph, architecture, settings, first=share.first)
    work = msgspec.structs.replace(work, expert_bytes=share.expert_bytes, half_copies=share.half_copies)
    current = inplace(vectors) if work.traits.scaled_input and share.first else vectors
    if architecture.wkv_head_size and share.first:
        current = weighted(current, layer_norm=True)
    if architecture.per_layer_embedding:
        rows = rows or layer_rows(graph, architecture, tokens, on_gpu=share.on_gpu)
    extra = per_layer(work, current, rows) if rows else None
    if work.traits.altup and share.first:
        current = stacked(work, current)
    guest = msgspec.structs.replace(work, weight_bytes=share.weight_bytes, expert_bytes=share.weight_bytes)
    for number in share.guests:
        current = layer_output(guest, current, number, None, extra)
    for place, number in enumerate(share.layers):
        last = share.output and place == len(share.layers) - 1
        current = layer_output(work, current, number, chosen if last else None, extra)
    if share.output:
        current = _logits(work, current, chosen, share.head_bytes)
    graph.expand(current)
    return graph.buffer_bytes(share.copies)


def _vectors(graph: Graph, embedding: int, settings: LlamaSettings, share: Part) -> Tensor:
    """What the first of the layers reads: the tokens' vectors, or what another device made of them."""
    if not share.on_gpu:
        return _vectors_on_host(graph, embedding, settings)
    if share.first:
        return _vectors_on_gpu(graph, embedding, settings)
    return graph.input(embedding * settings.tokens * FLOAT, (embedding, settings.tokens))


def _logits(work: Work, current: Tensor, chosen: Tensor, head_bytes: int) -> Tensor:
    """Norm and output matrix; `head_bytes` as in `Part`."""
    current = merged(work, current, chosen) if work.traits.altup else current
    normed = weighted(current, layer_norm=work.traits.layer_norm)
    head = (Tensor(head_bytes, ()),) if head_bytes else ()
    logits = new((work.architecture.vocabulary, work.settings.outputs), normed, *head)
    return inplace(logits) if work.traits.softcap else logits


def _alters_vectors(architecture: Architecture) -> bool:
    """Whether the first layer's device does more with the tokens' vectors than to read them."""
    own = traits(architecture.name)
    return bool(own.scaled_input or own.altup or architecture.wkv_head_size or architecture.per_layer_embedding)


def _first_bytes(architecture: Architecture, settings: LlamaSettings, copies: int) -> int:
    """Inputs, and what is written of them, that the first GPU has beside the vectors which every GPU is given."""
    first, later = Graph(), Graph()
    _vectors_on_gpu(first, architecture.embedding, settings)
    later.input(architecture.embedding * settings.tokens * FLOAT)
    return first.buffer_bytes(copies) - later.buffer_bytes(copies)


@functools.lru_cache(maxsize=1024)
def inputs_bytes(architecture: Architecture, settings: LlamaSettings, copies: int = 1) -> int:
    """Bytes of the compute buffer in main memory when GPUs do the layers: what goes to them."""
    graph = Graph()
    vectors = _vectors_on_host(graph, architecture.embedding, settings)
    _work(graph, architecture, settings)
    made = sum(node.size for node in graph.nodes if node.view_of is None)
    extra = architecture.per_layer_embedding * architecture.layers * settings.tokens * FLOAT
    inputs = sum(tensor.size for tensor in graph.inputs)
    rows = 2 * vectors.size if settings.build >= MIXED_INPUT else vectors.size
    return inputs * copies + min(made, rows) + extra


def _vectors_on_host(graph: Graph, embedding: int, settings: LlamaSettings) -> Tensor:
    """The tokens' vectors, read from the embedding; beside them the places for vectors given instead."""
    tokens = settings.tokens
    layout, size = (embedding, tokens), embedding * tokens * FLOAT
    ids = graph.input(tokens * FLOAT)
    if settings.build >= EMBEDDING_INPUT:
        graph.input(size, layout)
    if settings.build < MIXED_INPUT:
        return graph.expand(new(layout, ids))
    others, slots = graph.input(tokens * FLOAT), graph.input(tokens * _LONG)
    mixed = graph.input(size, layout)
    vectors = graph.expand(new(layout, ids))
    _written(graph, new(layout, others), slots, new(layout, mixed))
    return vectors


def _written(graph: Graph, rows: Tensor, slots: Tensor, whole: Tensor) -> None:
    """Rows written into a tensor that nobody reads, so that its place is never free again (`ggml_set_rows`)."""
    graph.expand(Tensor(0, whole.layout, (rows, slots, whole), view_of=whole))


def _vectors_on_gpu(graph: Graph, embedding: int, settings: LlamaSettings) -> Tensor:
    """The tokens' vectors, copied from main memory."""
    layout, size = (embedding, settings.tokens), embedding * settings.tokens * FLOAT
    if settings.build >= MIXED_INPUT:
        rows, slots = graph.input(size, layout), graph.input(settings.tokens * _LONG)
        _written(graph, rows, slots, new(layout, graph.input(size, layout)))
    return graph.input(size, layout)


def _work(
    graph: Graph, architecture: Architecture, settings: LlamaSettings, *, first: bool = True
) -> tuple[Work, Tensor]:
    """What all layers read, as inputs of the graph; and the tokens whose results are wanted."""
    tokens = settings.tokens
    positions = graph.input(tokens * FLOAT)
    with_state = (False,) * architecture.layers if architecture.state_beside_attention else architecture.recurrent
    kept = zip(architecture.windows, with_state, strict=True)
    windows = dict.fromkeys(window for window, state in kept if not state)
    masks = {window: _mask(graph, settings, window, first=first) for window in windows}
    by_row = settings.flash_attention or settings.build < CELL_NUMBERS
    wide = 1 if by_row else _value_width(architecture)
    cells = {window: (graph.input(tokens * _LONG), graph.input(tokens * _LONG * wide)) for window in masks}
    copies = (
        graph.input(settings.slots * FLOAT)
        if any(architecture.recurrent) or architecture.state_beside_attention
        else positions
    )
    chosen = graph.input(settings.outputs * FLOAT, (settings.outputs,))
    rotations = {window: _rotations(graph, architecture, settings, window) for window in masks}
    inputs = (positions, masks, cells, rotations, copies)
    return Work(graph, architecture, settings, traits(architecture.name), tokens, *inputs), chosen


def _mask(graph: Graph, settings: LlamaSettings, window: int, *, first: bool) -> Tensor:
    """Which cells each token sees. Earlier builds made 32 bits of it, which the first GPU casts for all.

    So logged for GLM-4.6V on four GPUs: 516 and 832 MiB of the second and the last.
    """
    cells, tokens = settings.window_cells(window), settings.tokens
    if not settings.flash_attention:
        return graph.input(cells * tokens * FLOAT)
    if settings.build >= FEW_OUTPUTS or not first:
        return graph.input(cells * tokens * _HALF)
    wide = graph.input(cells * tokens * FLOAT)
    return Tensor(cells * tokens * _HALF, (cells, tokens), (wide,))


def _rotations(
    graph: Graph, architecture: Architecture, settings: LlamaSettings, window: int
) -> tuple[Tensor | None, Tensor | None]:
    """Matrices that turn quantized keys and values: as wide as the largest power of two in a key head, and 64.

    Source: llama.cpp b11434 src/llama-kv-cache.cpp, `n_rot_k` and `n_rot_v`: for heads that 64 divides.
    """
    layer = architecture.windows.index(window)
    if settings.build < FEW_OUTPUTS or architecture.kv_lora_rank:
        return None, None
    keys, values = key_dim(architecture, layer), value_dim(architecture, layer)
    kinds = (settings.kv_type_k, keys, _odd_free(keys)), (settings.kv_type_v, values, _ROTATED)
    made = [
        graph.input(FLOAT * width * width) if kv_type in _QUANTIZED and head % _ROTATED == 0 else None
        for kv_type, head, width in kinds
    ]
    return made[0], made[1]


def _odd_free(count: int) -> int:
    """The largest power of two that divides `count`."""
    return count & -count


def _value_width(architecture: Architecture) -> int:
    if architecture.kv_lora_rank:
        return 1
    return max(architecture.kv_heads_by_layer or (architecture.kv_heads,)) * (
        architecture.value_head_dim or architecture.head_dim
    )


@functools.lru_cache(maxsize=2048)
def representatives(architecture: Architecture, start: int, end: int) -> tuple[int, ...]:
    """Numbers that stand for the layers `start` to `end`: of each kind after each kind the first ones, and the last.

    The first layer of its kind stands for every layer of the kind, so that like parts give the same numbers.
    """
    names, kinds = _kinds(architecture)
    found, seen = [], dict[tuple[int, int], int]()
    before = -1
    # Holes that one kind of layer leaves are filled by another in a later round
    repeats = _REPEATS if len(names) > 1 or any(architecture.recurrent) else 1
    for number in range(start, end):
        kind = kinds[number]
        count = seen[before, kind] = seen.get((before, kind), 0) + 1
        if count <= repeats or number == end - 1:
            found.append(names[kind])
        before = kind
    return tuple(found)


@functools.lru_cache(maxsize=256)
def _kinds(architecture: Architecture) -> tuple[Sequence[int], Sequence[int]]:
    """The first layer of each kind, and the kind of each layer."""
    known: dict[object, int] = {}
    names: list[int] = []
    kinds: list[int] = []
    windows, recurrent = architecture.windows, architecture.recurrent
    for layer in range(architecture.layers):
        kind = (
            windows[layer],
            recurrent[layer],
            layer < architecture.dense_layers,
            architecture.kv_heads_by_layer[layer] if architecture.kv_heads_by_layer else 0,
            architecture.feed_forward_by_layer[layer] if architecture.feed_forward_by_layer else 0,
            layer < architecture.layers - architecture.shared_kv_layers,
        )
        if kind not in known:
            known[kind] = len(names)
            names.append(layer)
        kinds.append(known[kind])
    return tuple(names), tuple(kinds)
