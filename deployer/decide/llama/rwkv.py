"""A layer of RWKV 7 as operations: what it mixes of one token and the last, its state, and its feed-forward part.

Source: llama.cpp b11434 src/models/rwkv7.cpp and rwkv7-base.cpp. Projections of low rank are taken to be as narrow as
those of the 1.5B model, a twentieth of the embedding: their widths are in no metadata that is read here.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.graph import inplace, new, part, reshape, store, weighted
from deployer.decide.llama.recurrent import loaded_states
from deployer.decide.llama.work import Work

_MIXED = 6
_NARROW = 20


def rwkv_layer(work: Work, source: Tensor, chosen: Tensor | None) -> Tensor:
    """What a layer makes of `source`; `chosen` as for other layers."""
    embedding, tokens = work.architecture.embedding, work.tokens
    shifts = loaded_states(work, 2 * embedding)
    normed = weighted(source, layer_norm=True)
    before = new((embedding, tokens), part(shifts, (embedding,)), part(normed, (embedding, tokens)))
    summed = inplace(_time_mix(work, normed, before), source)
    inner = weighted(summed, layer_norm=True)
    before = new((embedding, tokens), part(shifts, (embedding,)), part(inner, (embedding, tokens)))
    last = new((embedding, 2, work.settings.slots), part(normed, (embedding,)), part(inner, (embedding,)))
    work.graph.expand(store(last))
    if chosen is not None:
        summed, inner, before = (
            new((embedding, chosen.layout[0]), tensor, chosen) for tensor in (summed, inner, before)
        )
    wide = work.matrix(inplace(inplace(inplace(before, inner)), inner), work.architecture.feed_forward)
    return inplace(work.matrix(inplace(inplace(wide)), embedding), summed)


def _time_mix(work: Work, source: Tensor, before: Tensor) -> Tensor:
    embedding, tokens, slots = work.architecture.embedding, work.tokens, work.settings.slots
    head, narrow, flat = work.architecture.wkv_head_size, embedding // _NARROW, (embedding, tokens)
    shape = (head, embedding // head, tokens)
    mixed = inplace(inplace(new((embedding, tokens, _MIXED), inplace(before, source))), source)
    receptance = work.matrix(part(mixed, flat), embedding)
    decay = inplace(work.matrix(inplace(work.matrix(part(mixed, flat), narrow)), embedding))
    key, value = work.matrix(part(mixed, flat), embedding), work.matrix(part(mixed, flat), embedding)
    value = _with_first(work, value, part(mixed, flat), narrow)
    gate = work.matrix(inplace(work.matrix(part(mixed, flat), narrow)), embedding)
    rate = inplace(work.matrix(work.matrix(part(mixed, flat), narrow), embedding))
    unit = new(shape, reshape(inplace(key), shape))
    scaled = inplace(key)
    key = inplace(key, inplace(inplace(rate, scaled), scaled))
    receptance, decay, key, value, rate = (reshape(one, shape) for one in (receptance, decay, key, value, rate))
    state = loaded_states(work, embedding * head)
    sources = (receptance, decay, key, value, inplace(unit), inplace(unit, rate), state)
    out = new((embedding * tokens + embedding * head * slots,), *sources)
    work.graph.expand(store(part(out, ())))
    current = inplace(reshape(new(shape, reshape(out, shape)), flat))
    bonus = new((1, embedding // head, tokens), inplace(inplace(key, receptance)))
    current = inplace(inplace(current, reshape(inplace(value, bonus), flat)), gate)
    return work.matrix(current, embedding)


def _with_first(work: Work, value: Tensor, mixed: Tensor, narrow: int) -> Tensor:
    """The value with a part of the first layer's, which is kept for all of them."""
    first = work.graph.first_value
    if first is None:
        work.graph.first_value = value
        return value
    share = inplace(work.matrix(work.matrix(mixed, narrow), work.architecture.embedding))
    return inplace(value, inplace(inplace(first, value), share))
