"""What a `config.json` says of single layers: windows, heads, widths, indexers, and caches that layers share.

Names of the keys, and what GGUF makes of them: llama.cpp b11434 conversion/<family>.py, `set_gguf_parameters`.
"""

from typing import Any

from deployer.models.hf_numbers import Numbers
from deployer.models.hf_states import HEADLESS, pattern, recurrent_flags
from deployer.models.layer_kinds import usual_indexers
from deployer.models.periods import period, window_and_pattern

_ROUNDED = 256  # widths of the feed-forward parts of DeciLM and LFM2 are multiples of it


def windows(read: Numbers, layers: int, context: int) -> dict[str, Any]:
    """Window in tokens, and which layers have it; empty where every layer sees everything."""
    if read.body.get("use_sliding_window") is False or read.body.get("sliding_window") is None:
        return {}
    size = read.number("sliding_window", low=0)
    if narrow := narrow_layers(read, layers):
        every = period(narrow)
        if every is None and 0 < size < context:
            return {"sliding_window": size, "window_layers": narrow}
    elif isinstance(read.body.get("layer_types"), list) or "use_sliding_window" in read.body:
        return {}
    else:
        found = read.body.get("sliding_window_pattern", read.body.get("_sliding_window_pattern", 0))
        every = found if type(found) is int and 0 <= found <= layers else None
    size, every = window_and_pattern(size, every, context)
    return {"sliding_window": size, "sliding_pattern": every}


def narrow_layers(read: Numbers, layers: int) -> tuple[bool, ...]:
    """For each layer whether it has a window, where layers are listed one by one; else empty."""
    if (flags := read.layer_types(layers, "sliding_attention")) is not None:
        return flags
    letters = read.body.get("sliding_window_pattern")
    if isinstance(letters, str) and letters:  # EXAONE 4.0: LLLG
        return tuple(letters[layer % len(letters)] == "L" for layer in range(layers))
    return tuple(mark == 1 for mark in read.listed("hybrid_layer_pattern", layers))  # MiMo


def kv_heads(read: Numbers, kind: str, layers: int, heads: int) -> dict[str, Any]:
    """Key and value heads, and those of each layer where they differ."""
    usual = read.number("num_key_value_heads", "num_attention_groups", low=min(heads, 1), default=heads)
    counts = _own_heads(read, kind, layers, heads, usual)
    if len(set(counts)) < 2:  # noqa: PLR2004
        return {"kv_heads": counts[0] if counts else usual}
    return {"kv_heads": max(counts), "kv_heads_by_layer": counts}


def _own_heads(read: Numbers, kind: str, layers: int, heads: int, usual: int) -> tuple[int, ...]:
    if kind == "nemotron_h":
        return tuple(usual if mark in {"*", "attention"} else 0 for mark in pattern(read, layers))
    if kind in HEADLESS:
        one = 1 if kind == "kimi_linear" else usual  # rows that all heads share
        return tuple(0 if state else one for state in recurrent_flags(read, kind, layers))
    if blocks := read.listed("block_configs", layers):
        groups = (_inside(block, "attention", "n_heads_in_group") for block in blocks)
        return tuple(heads // group if type(group) is int and group > 0 else 0 for group in groups)
    wide = read.size("num_global_key_value_heads", default=usual)
    other = read.part("attention_other_setting").size("num_attention_groups", default=usual)
    narrow = read.size("swa_num_key_value_heads", default=other)
    return tuple(narrow if flag else wide for flag in narrow_layers(read, layers))


def _inside(block: object, part: str, key: str) -> object:
    found = block.get(part) if isinstance(block, dict) else None
    return found.get(key) if isinstance(found, dict) else None


def head_dims(read: Numbers, embedding: int, heads: int) -> dict[str, Any]:
    """Elements of a head; of Gemma 4, those of layers that see everything are wider."""
    if not heads:
        return {"head_dim": 0}
    own = read.number("head_dim", "attention_head_dim", default=max(embedding // heads, 1))
    if wide := read.size("global_head_dim"):
        return {"head_dim": wide, "head_dim_swa": own, "value_head_dim_swa": own}
    value = read.size("v_head_dim", default=own)
    return {"head_dim": own, "value_head_dim": value if value != own else 0}


def shared(read: Numbers, name: str, layers: int, context: int) -> dict[str, Any]:
    """Layers that read the cache of others, an embedding for each layer, and the indexers of sparse attention.

    Layers that predict further tokens (`num_nextn_predict_layers`) are not among the `num_hidden_layers`, and an engine
    loads them only for speculation: they are no layers here.
    """
    index = read.size("index_head_dim")
    types = read.listed("indexer_types", layers)
    own = tuple(kind == "full" for kind in types) or usual_indexers(name, layers, context)
    return {
        "shared_kv_layers": read.number("num_kv_shared_layers", low=0, high=layers - 1, default=0),
        "per_layer_embedding": read.size("hidden_size_per_layer_input"),
        "indexer_head_dim": index,
        "indexer_layers": own if index else (),
    }


def feed_forward(read: Numbers, kind: str, layers: int, expert_width: int) -> dict[str, Any]:
    """Width of a dense feed-forward part, and of each layer where they differ."""
    counts = _own_widths(read, kind, layers, expert_width)
    if len(set(counts)) > 1:
        return {"feed_forward": max(counts), "feed_forward_by_layer": counts}
    if counts:
        return {"feed_forward": counts[0]}
    if kind == "lfm2":
        return {"feed_forward": _adjusted(read)}
    usual = expert_width or (0 if kind.startswith("mamba") else None)
    return {"feed_forward": read.number("intermediate_size", "n_inner", low=0, default=usual)}


def _own_widths(read: Numbers, kind: str, layers: int, expert_width: int) -> tuple[int, ...]:
    if kind == "nemotron_h":
        width = expert_width or read.number("intermediate_size")
        return tuple(width if mark in {"-", "E", "mlp", "moe"} else 0 for mark in pattern(read, layers))
    if blocks := read.listed("block_configs", layers):
        times = [_inside(block, "ffn", "ffn_mult") for block in blocks]
        return tuple(_multiplied(read, factor) if isinstance(factor, int | float) else 0 for factor in times)
    if kind == "gemma4_text" and read.body.get("use_double_wide_mlp") is True:
        width, own = read.number("intermediate_size"), layers - read.size("num_kv_shared_layers")
        return tuple(width if layer < own else 2 * width for layer in range(layers))
    return read.counts("intermediate_size", layers)


def _multiplied(read: Numbers, factor: float) -> int:
    """DeciLM: two thirds of so many embeddings, in steps of 256."""
    return _stepped(int(2 * factor * read.number("hidden_size") / 3), _ROUNDED)


def _adjusted(read: Numbers) -> int:
    """LFM2: two thirds of what is stated, times a factor, in steps."""
    width = read.number("block_ff_dim", "intermediate_size")
    if read.body.get("block_auto_adjust_ff_dim", True) is not True:
        return width
    factor = read.body.get("block_ffn_dim_multiplier")
    times = factor if isinstance(factor, int | float) else 1
    return _stepped(int(times * int(2 * width / 3)), read.number("block_multiple_of", default=_ROUNDED))


def _stepped(count: int, step: int) -> int:
    return -(-count // step) * step
