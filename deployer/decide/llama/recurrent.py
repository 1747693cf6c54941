"""Layers with a recurrent state as operations.

Source: llama.cpp b11434 src/models/delta-net-base.cpp and qwen35.cpp (gated delta net), mamba-base.cpp (Mamba 1 and 2),
lfm2.cpp (short convolution). States of all slots are copied out of the cache and in again.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.graph import inplace, new, part, reshape, store, weighted
from deployer.decide.llama.work import Work


def recurrent(work: Work, source: Tensor) -> Tensor:
    """The recurrent part of a layer over `source`."""
    if work.architecture.short_conv_cache:
        return _short_convolution(work, source)
    if work.traits.delta:
        return _delta_net(work, source)
    return _mamba1(work, source) if work.traits.mamba1 else _mamba2(work, source)


def loaded_states(work: Work, elements: int) -> Tensor:
    """States of all slots, copied out of the cache."""
    slots = work.settings.slots
    states = new((elements, slots), work.copies)
    shown = part(states, (elements, slots))
    work.graph.expand(shown)
    work.graph.expand(store(part(states, ())))
    return shown


def _convolution(work: Work, source: Tensor, channels: int) -> Tensor:
    """The last tokens and these, put together, and convolved."""
    kernel, slots, tokens = work.architecture.ssm_conv_kernel, work.settings.slots, work.tokens
    before = reshape(loaded_states(work, (kernel - 1) * channels), (kernel - 1, channels, slots))
    joined = new((kernel - 1 + tokens // slots, channels, slots), before, part(source, (tokens, channels)))
    for _ in range(1 + work.settings.draft_tokens):
        work.graph.expand(store(part(joined, ())))
    return joined


def _delta_net(work: Work, source: Tensor) -> Tensor:
    architecture, slots, tokens = work.architecture, work.settings.slots, work.tokens
    inner, state = architecture.ssm_inner_size, architecture.ssm_state_size
    heads, keys = architecture.ssm_heads, architecture.ssm_groups * state
    channels = inner + 2 * keys
    mixed = reshape(work.matrix(source, channels), (channels, tokens // slots, slots))
    gate = work.matrix(source, inner)
    beta = inplace(reshape(work.matrix(source, heads), (1, heads, tokens)))
    alpha = inplace(inplace(inplace(reshape(work.matrix(source, heads), (heads, tokens)))))
    joined = _convolution(work, mixed, channels)
    states = loaded_states(work, state * inner)
    convolved = inplace(new((channels, tokens), joined))
    query = new((state, architecture.ssm_groups, tokens), part(convolved, (state, architecture.ssm_groups, tokens)))
    key = new((state, architecture.ssm_groups, tokens), part(convolved, (state, architecture.ssm_groups, tokens)))
    value = part(convolved, (inner, tokens))
    kept = state * inner * slots * (1 + work.settings.draft_tokens)
    out = new((inner * tokens + kept,), query, key, value, alpha, beta, states)
    work.graph.expand(store(part(out, ())))
    normed = weighted(reshape(out, (inner, tokens)))
    return work.matrix(reshape(inplace(normed, inplace(gate)), (inner, tokens)), architecture.embedding)


def _mamba1(work: Work, source: Tensor) -> Tensor:
    architecture, slots, tokens = work.architecture, work.settings.slots, work.tokens
    inner, state, rank = architecture.ssm_inner_size, architecture.ssm_state_size, architecture.ssm_heads
    both = work.matrix(reshape(source, (architecture.embedding, tokens // slots, slots)), 2 * inner)
    joined = _convolution(work, both, inner)
    mixed = inplace(inplace(new((inner, tokens), joined)))
    parts = work.matrix(mixed, rank + 2 * state)
    step = inplace(work.matrix(new((rank, tokens), part(parts, (rank, tokens))), inner))
    out = new((inner * tokens + state * inner * slots,), reshape(mixed, (1, inner, tokens)), step, part(parts, ()))
    work.graph.expand(out)
    _extra_states(work, state * inner)
    work.graph.expand(store(part(out, ())))
    summed = inplace(reshape(out, (inner, tokens)), inplace(mixed))
    gated = new((inner, tokens), new((inner, tokens), part(both, (inner, tokens))), summed)
    return work.matrix(gated, architecture.embedding)


def _mamba2(work: Work, source: Tensor) -> Tensor:
    architecture, slots, tokens = work.architecture, work.settings.slots, work.tokens
    inner, state, heads = architecture.ssm_inner_size, architecture.ssm_state_size, architecture.ssm_heads
    channels = inner + 2 * architecture.ssm_groups * state
    whole = reshape(work.matrix(source, inner + channels + heads), (inner + channels + heads, tokens // slots, slots))
    joined = _convolution(work, part(whole, (channels, tokens)), channels)
    mixed = inplace(inplace(new((channels, tokens), joined)))
    step = inplace(new((heads, tokens), part(whole, (heads, tokens))))
    kept = state * inner * slots * (1 + work.settings.draft_tokens)
    out = new((inner * tokens + kept,), part(mixed, (inner, tokens)), step)
    work.graph.expand(out)
    _extra_states(work, state * inner)
    work.graph.expand(store(part(out, ())))
    summed = inplace(reshape(out, (inner, tokens)), new((inner, tokens), part(mixed, (inner, tokens))))
    gated = new((inner, tokens), new((inner, tokens), part(whole, (inner, tokens))), summed)
    return work.matrix(reshape(weighted(reshape(gated, (inner, tokens, 1))), (inner, tokens)), architecture.embedding)


def _extra_states(work: Work, elements: int) -> None:
    """States of the slots that are not computed now (all but one), moved within the cache."""
    if work.settings.slots > 1:
        work.graph.expand(store(part(new((elements, work.settings.slots - 1), work.copies), ())))


def _short_convolution(work: Work, source: Tensor) -> Tensor:
    embedding, slots, tokens = work.architecture.embedding, work.settings.slots, work.tokens
    before = work.architecture.short_conv_cache - 1
    chunks = work.matrix(source, 3 * embedding)
    product = inplace(part(chunks, (embedding, tokens)), part(chunks, (embedding, tokens)))
    states = reshape(loaded_states(work, before * embedding), (before, embedding, slots))
    joined = new((before + tokens // slots, embedding, slots), states, part(product, (tokens, embedding)))
    work.graph.expand(store(part(joined, ())))
    convolved = new((embedding, tokens), joined)
    return work.matrix(inplace(part(chunks, (embedding, tokens)), convolved), embedding)
