"""One layer of a model as operations: norms, attention or state, feed-forward part and the sums between them."""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.altup import altup_layer
from deployer.decide.llama.attention import attention
from deployer.decide.llama.feed_forward import dense, experts, feed_forward
from deployer.decide.llama.graph import inplace, new, part, weighted
from deployer.decide.llama.recurrent import recurrent
from deployer.decide.llama.rwkv import rwkv_layer
from deployer.decide.llama.work import Work


def layer_output(work: Work, source: Tensor, layer: int, chosen: Tensor | None, extra: Tensor | None) -> Tensor:
    """What layer number `layer` makes of `source`.

    `chosen`: in the last layer, the tokens whose results are wanted, as rows. `extra`: what a layer adds of its own.
    """
    traits = work.traits
    if work.architecture.wkv_head_size:
        return rwkv_layer(work, source, chosen)
    if traits.altup and extra is not None:
        return altup_layer(work, source, layer, extra)
    normed = source if traits.only_post else weighted(source, layer_norm=traits.layer_norm)
    if work.architecture.name.startswith("nemotron_h"):
        return _only_one(work, source, normed, layer)
    mixed = _mixed(work, source, normed, layer)
    if chosen is not None:
        mixed, source = _rows(mixed, chosen), _rows(source, chosen)
        normed = _rows(normed, chosen) if traits.parallel else normed
    if traits.parallel:
        return inplace(inplace(feed_forward(work, normed, layer), source), mixed)
    if traits.post_norms:
        mixed = weighted(mixed)
    summed = inplace(source, mixed) if traits.residual_first else inplace(mixed, source)
    if not _has_feed_forward(work, layer):
        return summed
    out = _second(work, summed, layer)
    if traits.post_norms:
        out = weighted(out)
    out = inplace(out, summed)
    return out if extra is None else _with_extra(work, out, extra)


def _only_one(work: Work, source: Tensor, normed: Tensor, layer: int) -> Tensor:
    """A layer of Nemotron-H: a state, attention or a feed-forward part."""
    if work.architecture.recurrent[layer]:
        return inplace(recurrent(work, normed), source)
    made = attention(work, normed, layer) if work.kv_heads(layer) else feed_forward(work, normed, layer)
    return inplace(made, source)


def _mixed(work: Work, source: Tensor, normed: Tensor, layer: int) -> Tensor:
    """Attention, a recurrent state, or both."""
    architecture = work.architecture
    if architecture.state_beside_attention:
        attended = attention(work, normed, layer)
        return inplace(attended, recurrent(work, weighted(source)))
    if architecture.recurrent[layer]:
        if work.traits.delta:
            work.graph.expand(normed)
        return recurrent(work, normed)
    return attention(work, normed, layer)


def _has_feed_forward(work: Work, layer: int) -> bool:
    return bool(work.feed_forward(layer) or work.architecture.experts)


def _second(work: Work, summed: Tensor, layer: int) -> Tensor:
    """The feed-forward part; in Gemma 4, a dense one beside the experts, which read the sum themselves."""
    architecture, traits = work.architecture, work.traits
    if architecture.name == "gemma4" and architecture.experts:
        one = weighted(dense(work, weighted(summed), work.feed_forward(layer)))
        other = weighted(summed)
        routed = experts(work, other, work.matrix(inplace(inplace(inplace(summed))), architecture.experts))
        return inplace(one, weighted(routed))
    inner = summed if traits.only_post else weighted(summed, layer_norm=traits.layer_norm)
    return feed_forward(work, inner, layer)


def _with_extra(work: Work, out: Tensor, extra: Tensor) -> Tensor:
    """Gemma 3n and 4: the layer's own embedding of the token, gated."""
    architecture = work.architecture
    width = architecture.per_layer_embedding
    gated = inplace(inplace(work.matrix(out, width)), part(extra, (width, out.layout[1])))
    return inplace(inplace(out, weighted(work.matrix(gated, architecture.embedding))))


def _rows(source: Tensor, chosen: Tensor) -> Tensor:
    return new((source.layout[0], chosen.layout[0]), source, chosen)
