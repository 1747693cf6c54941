"""The feed-forward part of one layer as operations: one dense, or routed and shared experts.

Source: llama.cpp b11434 src/llama-graph.cpp `build_ffn`, `build_moe_ffn`.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.graph import inplace, new, part, reshape
from deployer.decide.llama.work import Work


def feed_forward(work: Work, source: Tensor, layer: int) -> Tensor:
    """The layer's feed-forward part over `source`."""
    architecture = work.architecture
    if not architecture.experts or layer < architecture.dense_layers:
        return dense(work, source, work.feed_forward(layer))
    routed = experts(work, source)
    if not architecture.shared_experts:
        return routed
    width = (architecture.shared_expert_feed_forward or expert_width(work)) * architecture.shared_experts
    return inplace(routed, dense(work, source, width))


def dense(work: Work, source: Tensor, width: int) -> Tensor:
    """Gate and up projection, their product, and down."""
    embedding, tokens = work.architecture.embedding, source.layout[1]
    if not work.traits.gated:
        return work.matrix(inplace(work.matrix(source, width)), embedding)
    if work.traits.gate_in_up:
        return work.matrix(new((width, tokens), work.matrix(source, 2 * width)), embedding)
    up = work.matrix(source, width)
    gate = work.matrix(source, width)
    return work.matrix(new((width, tokens), gate, up), embedding)


def expert_width(work: Work) -> int:
    """Width of one routed expert."""
    return work.architecture.expert_feed_forward or work.architecture.feed_forward


def experts(work: Work, source: Tensor, logits: Tensor | None = None) -> Tensor:
    """Choice of experts, their parts, and the weighted sum."""
    architecture, graph, tokens = work.architecture, work.graph, source.layout[1]
    used, count, embedding, width = (
        architecture.experts_used or 1, architecture.experts, architecture.embedding, expert_width(work),
    )  # fmt: skip
    logits = logits if logits is not None else work.matrix(source, count)
    probabilities = inplace(logits)
    chosen = part(new((count, tokens), probabilities), (used, tokens))
    weights = new((1, used, tokens), reshape(probabilities, (1, count, tokens)), chosen)
    flat = reshape(weights, (used, tokens))
    weights = reshape(inplace(flat, inplace(new((1, tokens), flat))), (1, used, tokens))
    graph.expand(weights)
    wide = reshape(source, (embedding, 1, tokens))
    up = work.expert_matrix(wide, chosen, width)
    if work.traits.biased_experts:
        up = inplace(up, chosen)
    gate = work.expert_matrix(wide, chosen, width)
    if work.traits.biased_experts:
        gate = inplace(gate, chosen)
    down = work.expert_matrix(new((width, used, tokens), gate, up), chosen, embedding)
    if work.traits.biased_experts:
        down = inplace(down, chosen)
    down = graph.expand(inplace(down, weights))
    # One place for the sum of the parts of `used` experts, each of them a view
    whole = new((embedding, tokens), graph.expand(part(down, (embedding, tokens))))
    return graph.expand(whole) if used > 1 else whole
