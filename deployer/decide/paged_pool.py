"""How many tokens a pool of KV pages holds, by the rules of each engine.

Sources: vLLM 0.32 v1/core/kv_cache_utils.py (groups of layers that share pages), v1/kv_cache_interface.py (pages, and
what one request keeps), platforms/interface.py (blocks of hybrid models); SGLang 0.5.23
srt/model_executor/pool_configurator.py (one pool a kind of layer); TensorRT-LLM 1.2 and TGI 3.3 (all layers alike).
"""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

BLOCK = 16
"""Tokens of a page of vLLM (`--block-size`)."""

TENSORRT_BLOCK = 32
"""Tokens of a page of TensorRT-LLM (`tokens_per_block` of its KV cache)."""

STATES, MAMBA2_STATES = 2, 3
"""States that vLLM keeps of a request in each recurrent layer, with prefix caching (`mamba_cache_mode` "align"). Of
Mamba 2 it keeps one more, from within a prompt (model_executor/layers/mamba/mamba_mixer2.py `get_kv_cache_spec`)."""

SGLANG_WINDOW, SGLANG_STATE = 0.8, 0.9
"""Tokens of SGLang's pool for layers with a window, of those of the others (`--swa-full-tokens-ratio`), and memory of
its states, of that of keys and values (`--mamba-full-memory-ratio`): its defaults."""

SGLANG_STATES = 5
"""States that SGLang counts for each running request, with its radix cache: 3, and 2 to track it while steps overlap
(srt/mem_cache/kv_cache_configurator.py `_calculate_mamba_ratio`; 28 states were 5 requests in a log of Qwen 3.8,
MiaAI-Lab/Qwen3.8-Flash-Next-Dual-DGX-Sparks#8). Its pool has one more, for padding."""

_PADDING_WORTH = 1.5


class Layer(msgspec.Struct, frozen=True):
    """What one layer keeps on one rank, in bytes: of each token, or of the last `window` (0: all), and a state.

    `states`: how many of its states vLLM keeps of a request.
    """

    token_bytes: int = 0
    window: int = 0
    state_bytes: int = 0
    states: int = STATES


class Pool(msgspec.Struct, frozen=True):
    """A pool in units of `unit_bytes` (pages of all layers, or tokens).

    A conversation of `context` tokens takes `units`. `unit_tokens`: tokens of a unit, 0 where kinds of layers differ.
    Of the memory, `state_share` is set apart for states, of which a conversation takes `state_bytes`, and
    `spare_bytes` are of no use. A model that keeps nothing has a unit of 0 bytes.
    """

    context: int
    unit_bytes: int
    units: int
    unit_tokens: int = 0
    state_bytes: int = 0
    state_share: float = 0.0
    spare_bytes: int = 0

    def needed(self, conversations: int) -> int:
        """Bytes for so many full conversations; one unit more, as vLLM keeps one empty (`null_block`)."""
        keys = (self.units * conversations + 1) * self.unit_bytes
        if not self.state_bytes:
            return keys
        states = self.state_bytes * conversations + self.spare_bytes
        if not self.unit_bytes:
            return states
        return max(math.ceil(keys / (1 - self.state_share)), math.ceil(states / self.state_share))

    def concurrency(self, available: int) -> float:
        """Full conversations at once in so many bytes: vLLM's "Maximum concurrency"; infinite where none is kept."""
        limits = [math.inf]
        if self.unit_bytes:
            limits.append(self._units(available) / self.units)
        if self.state_bytes:
            limits.append((available * self.state_share - self.spare_bytes) / self.state_bytes)
        return max(min(limits), 0.0)

    def tokens(self, available: int) -> int:
        """Tokens in so many bytes, as the engine's log counts them: units, else conversations times their length."""
        if self.unit_tokens and self.unit_bytes:
            return max(self._units(available), 0) * self.unit_tokens
        found = self.concurrency(available)
        return int(found * self.context) if math.isfinite(found) else 0

    def _units(self, available: int) -> int:
        return int(available * (1 - self.state_share)) // self.unit_bytes


def pool(engine: str, layers: tuple[Layer, ...], *, context: int, batch: int, stages: int = 1) -> Pool:
    """The pool of this engine for conversations of `context` tokens, when up to `batch` are computed at once.

    vLLM schedules a step ahead, so that one batch more than there are `stages` may be under way
    (`VllmConfig.max_concurrent_batches`).
    """
    match engine:
        case "vllm":
            return grouped(layers, context=context, in_flight=batch * (stages + 1))
        case "sglang":
            return split(layers, context=context, batch=batch)
        case "tensorrt-llm":
            return flat(layers, context=context, block=TENSORRT_BLOCK)
        case _:
            return flat(layers, context=context, block=1)


def flat(layers: Sequence[Layer], *, context: int, block: int) -> Pool:
    """All layers keep every token, in pages of `block` tokens; a state counts as one unit's part of each page."""
    page = sum(layer.token_bytes for layer in layers) * block
    states = sum(layer.state_bytes for layer in layers)
    units = math.ceil(context / block) + (math.ceil(states / page) if page else 1)
    return Pool(context, page or states, units, block if page else 0)


def split(layers: Sequence[Layer], *, context: int, batch: int) -> Pool:
    """SGLang: a pool of tokens for full layers, one of 0.8 times as many for windows, and one of states."""
    full = sum(layer.token_bytes for layer in layers if not layer.window)
    windows = [layer for layer in layers if layer.window]
    spare = sum(layer.state_bytes for layer in layers)
    states, share = spare * SGLANG_STATES, SGLANG_STATE / (1 + SGLANG_STATE) if spare else 0.0
    inside = sum(layer.token_bytes for layer in windows)
    if not full:
        return Pool(context, inside, context, 1, states, share if inside else 1.0, spare)
    kept = min(context, max((layer.window for layer in windows), default=0) + batch)
    units = max(context, math.ceil(kept / SGLANG_WINDOW)) if windows else context
    return Pool(context, full + math.ceil(inside * SGLANG_WINDOW), units, 1, states, share, spare)


def grouped(layers: Sequence[Layer], *, context: int, in_flight: int, block: int = BLOCK) -> Pool:
    """vLLM: layers of one kind make groups of equal size, which share pages; a request takes pages of every group.

    Layers that keep tokens in the same way make one group, whatever their size. Else pages are made equal: smaller
    ones take more tokens where they divide the largest, and are padded where they do not. A group has as many layers
    as the smallest kind, or as the largest where they differ by less than half. Source: `get_kv_cache_groups`,
    `unify_kv_cache_spec_page_size`, `_get_kv_cache_groups_uniform_page_size`.
    """
    kept = [Layer(layer.token_bytes, layer.window) for layer in layers if layer.token_bytes]
    kept += [Layer(state_bytes=layer.state_bytes, states=layer.states) for layer in layers if layer.state_bytes]
    block = _hybrid_block(kept, block)
    if len({(bool(layer.state_bytes), layer.window) for layer in kept}) <= 1:
        return _one_group(kept, context, in_flight, block)
    page = max(layer.state_bytes or layer.token_bytes * block for layer in kept)
    kinds = Counter((layer.window, _tokens_of(layer, page, block), layer.states) for layer in kept)
    size = min(kinds.values())
    if max(kinds.values()) < size * _PADDING_WORTH:
        size = max(kinds.values())
    units = sum(
        math.ceil(count / size) * (states if not tokens else _blocks(window, tokens, context, in_flight))
        for (window, tokens, states), count in kinds.items()
    )
    return Pool(context, size * page, units)


def _one_group(kept: Sequence[Layer], context: int, in_flight: int, block: int) -> Pool:
    if not kept or kept[0].state_bytes:
        return Pool(context, sum(layer.state_bytes for layer in kept), kept[0].states if kept else STATES)
    page = sum(layer.token_bytes for layer in kept) * block
    window = kept[0].window
    return Pool(context, page, _blocks(window, block, context, in_flight), 0 if window else block)


def _hybrid_block(kept: Sequence[Layer], block: int) -> int:
    """Tokens of a page that is as large as a state, in whole blocks (`_align_hybrid_block_size`)."""
    state = max((layer.state_bytes for layer in kept), default=0)
    row = max((layer.token_bytes for layer in kept), default=0)
    return block * max(math.ceil(state / (block * row)), 1) if row else block


def _tokens_of(layer: Layer, page: int, block: int) -> int:
    """Tokens of a layer's page once all pages are equal; 0 for a state."""
    if layer.state_bytes:
        return 0
    own = layer.token_bytes * block
    return block * (page // own) if page % own == 0 else block


def _blocks(window: int, tokens: int, context: int, in_flight: int) -> int:
    """Pages of one request: of all its tokens, or of what a window sees and what is being computed, and one more."""
    if not window:
        return math.ceil(context / tokens)
    return math.ceil(min(window - 1 + in_flight, context) / tokens) + 1
