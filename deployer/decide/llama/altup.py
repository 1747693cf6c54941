"""A layer of Gemma 3n as operations: four streams that take turns (alternating updates), and a low-rank side path.

Source: llama.cpp b11434 src/models/gemma3n.cpp.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.attention import attention
from deployer.decide.llama.graph import inplace, new, part, reshape, weighted
from deployer.decide.llama.work import Work

STREAMS = 4
_SIDE_RANK = 64
_SPARSE_LAYERS = 10


def stacked(work: Work, vectors: Tensor) -> Tensor:
    """All streams, made from the tokens' vectors."""
    shape = (work.architecture.embedding, work.tokens, STREAMS - 1)
    size = _magnitude(vectors)
    added = new(shape, new(shape, vectors))
    others = inplace(inplace(added, size), _magnitude(added))
    return new((*shape[:2], STREAMS), vectors, others)


def merged(work: Work, streams: Tensor, chosen: Tensor) -> Tensor:
    """One stream again, of the wanted tokens."""
    flat = (work.architecture.embedding, work.tokens)
    size = _magnitude(reshape(streams, flat))
    others = new((*flat, STREAMS - 1), reshape(streams, (*flat, STREAMS - 1)))
    others = inplace(inplace(others, size), _magnitude(others))
    current = reshape(streams, flat)
    for _ in range(STREAMS - 1):
        current = inplace(current, reshape(others, flat))
    return new((flat[0], chosen.layout[0]), inplace(current), chosen)


def altup_layer(work: Work, source: Tensor, layer: int, extra: Tensor) -> Tensor:
    """What a layer makes of all streams; `extra`: its own embeddings of the tokens."""
    embedding, tokens, width = work.architecture.embedding, work.tokens, work.architecture.per_layer_embedding
    flat, others = (embedding, tokens), (embedding, tokens, STREAMS - 1)
    predicted = _predicted(work, source)
    active = reshape(predicted, flat)
    normed = weighted(active)
    side = inplace(weighted(work.matrix(work.matrix(normed, _SIDE_RANK), embedding)), normed)
    attended = inplace(weighted(attention(work, normed, layer)), active)
    both = inplace(inplace(attended, side))
    updated = inplace(weighted(_feed_forward(work, weighted(both), layer)), both)
    corrected = _corrected(work, predicted, updated)
    first = inplace(work.matrix(inplace(reshape(corrected, flat)), width))
    first = weighted(work.matrix(inplace(first, part(extra, (width, tokens))), embedding))
    rest = inplace(reshape(corrected, others), first)
    return new((embedding, tokens, STREAMS), reshape(corrected, flat), rest)


def _magnitude(vectors: Tensor) -> Tensor:
    return inplace(new((1, *vectors.layout[1:]), inplace(vectors)))


def _modalities(work: Work, source: Tensor) -> Tensor:
    return inplace(new((STREAMS, work.tokens), inplace(weighted(source))))


def _predicted(work: Work, source: Tensor) -> Tensor:
    embedding, tokens = work.architecture.embedding, work.tokens
    coefficients = new((STREAMS**2, tokens), _modalities(work, reshape(source, (embedding, tokens))))
    turned = new((STREAMS, embedding, tokens), part(source, ()))
    made = new((STREAMS, embedding, tokens), turned, reshape(coefficients, (STREAMS, STREAMS, tokens)))
    return inplace(new((embedding, tokens, STREAMS), part(made, ())), source)


def _corrected(work: Work, predicted: Tensor, updated: Tensor) -> Tensor:
    flat = (work.architecture.embedding, work.tokens)
    modalities = _modalities(work, updated)
    innovation = inplace(updated, reshape(predicted, flat))
    coefficients = inplace(new((STREAMS, work.tokens), modalities))
    each = new((1, work.tokens, STREAMS), part(coefficients, ()))
    return inplace(inplace(new((*flat, STREAMS), innovation), each), predicted)


def _feed_forward(work: Work, source: Tensor, layer: int) -> Tensor:
    """Gate and up projection; the first layers keep only the largest of the gate."""
    width = work.feed_forward(layer)
    up, gate = work.matrix(source, width), work.matrix(source, width)
    if layer < _SPARSE_LAYERS:
        mean = new((1, work.tokens), gate)
        spread = inplace(inplace(new((1, work.tokens), inplace(inplace(gate, mean)))))
        gate = inplace(inplace(gate, inplace(mean, inplace(spread))))
    return work.matrix(inplace(up, inplace(gate)), work.architecture.embedding)
