"""Recurrent parts of a model, from its `config.json`: how large a state is, and which layers have one.

Names of the keys and what is computed from them: llama.cpp b11434 conversion/<family>.py, `set_gguf_parameters`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from deployer.models.hf_numbers import Numbers
from deployer.models.periods import period

_HYBRID_INTERVAL = 4  # full_attention_interval of Qwen3NextConfig
_LINEAR_INTERVAL = 8  # of MiniMaxConfig: one layer in eight attends to everything
_RANK_PARTS = 16  # Mamba 1: `time_step_rank` "auto" is a sixteenth of the embedding

STATE_ONLY = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv6", "rwkv7"})
"""Transformers `model_type`s without attention."""

HEADLESS = frozenset({"granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "nemotron_h"})
"""Those whose recurrent layers GGUF marks by 0 key and value heads."""

_Read = Callable[[Numbers, int], dict[str, Any]]


def states(read: Numbers, kind: str, layers: int) -> dict[str, Any]:
    """Numbers of the recurrent part, as fields of Architecture; empty for a model that has none."""
    if made := _FAMILIES.get(kind):
        return made(read, layers)
    return _delta_net(read, layers) if read.body.get("linear_num_value_heads") else {}


def recurrent_flags(read: Numbers, kind: str, layers: int) -> tuple[bool, ...]:
    """For each layer whether it has a state and no attention; empty where the family says nothing of the kind."""
    if kind in STATE_ONLY:
        return (True,) * layers
    if kind == "nemotron_h":
        return tuple(mark in {"M", "mamba", "mamba2"} for mark in pattern(read, layers))
    if kind == "kimi_linear":
        full = read.part("linear_attn_config").body.get("full_attn_layers")
        return tuple(layer + 1 not in full for layer in range(layers)) if isinstance(full, list) else ()
    if (attends := _attends(read, layers)) is not None:
        return tuple(not flag for flag in attends)
    return ()


def pattern(read: Numbers, layers: int) -> Sequence[Any]:
    """What each layer of Nemotron-H is: letters of `hybrid_override_pattern`, or words of `layers_block_type`."""
    letters = read.body.get("hybrid_override_pattern")
    if isinstance(letters, str) and len(letters) >= layers:
        return letters[:layers]
    return read.listed("layers_block_type", layers)


def _attends(read: Numbers, layers: int) -> tuple[bool, ...] | None:
    """Layers with attention: by their types, by their numbers, or at a distance from the first."""
    if (flags := read.layer_types(layers, "attention", "full_attention")) is not None:
        return flags
    numbers = read.body.get("full_attn_idxs") or read.body.get("attn_layer_indices")
    if isinstance(numbers, list):
        return tuple(layer in numbers for layer in range(layers))
    if read.body.get("attn_layer_period") is None:
        return None
    every, first = read.number("attn_layer_period"), read.size("attn_layer_offset")
    return tuple(layer >= first and (layer - first) % every == 0 for layer in range(layers))


def _marked(flags: tuple[bool, ...]) -> dict[str, Any]:
    if not any(flags):
        return {}
    regular = period(flags)
    return {"full_attention_interval": regular} if regular else {"recurrent_layers": flags}


def _delta_net(read: Numbers, layers: int) -> dict[str, Any]:
    """Gated delta nets (Qwen3-Next, Qwen3.5)."""
    heads, flags = read.number("linear_num_value_heads"), read.layer_types(layers, "linear_attention")
    where = None if flags is None else _marked(flags)
    return {
        **(where or {"full_attention_interval": read.number("full_attention_interval", default=_HYBRID_INTERVAL)}),
        "ssm_inner_size": heads * read.number("linear_value_head_dim"),
        "ssm_state_size": read.number("linear_key_head_dim"),
        "ssm_conv_kernel": read.number("linear_conv_kernel_dim"),
        "ssm_groups": read.number("linear_num_key_heads"),
        "ssm_heads": heads,
    }


def _mamba1(read: Numbers, layers: int) -> dict[str, Any]:
    """Mamba, FalconMamba and the Mamba layers of Jamba."""
    embedding = read.number("hidden_size", "d_model")
    inner = read.body.get("intermediate_size") or read.size("expand", default=2) * embedding
    if read.body.get("model_type") == "jamba":
        inner = read.number("mamba_expand", default=2) * embedding
    rank = read.body.get("mamba_dt_rank", read.body.get("time_step_rank"))
    return {
        **_marked(recurrent_flags(read, str(read.body.get("model_type")), layers)),
        "ssm_inner_size": inner,
        "ssm_state_size": read.size("mamba_d_state", "state_size", default=16),
        "ssm_conv_kernel": read.size("mamba_d_conv", "conv_kernel", default=4),
        "ssm_heads": rank if type(rank) is int else -(embedding // -_RANK_PARTS),
    }


def _mamba2(read: Numbers, layers: int) -> dict[str, Any]:
    """Mamba 2 and the hybrids of it: Granite 4, Nemotron-H, Falcon-H1."""
    kind, embedding = str(read.body.get("model_type")), read.number("hidden_size", "d_model")
    head = read.size("mamba_d_head", "mamba_head_dim", default=64)
    if kind == "mamba2":
        head = read.number("head_dim", default=64)
    inner = read.size("mamba_expand", "expand", default=2) * embedding
    if kind == "falcon_h1":
        inner = read.size("mamba_d_ssm") or inner
    if kind == "nemotron_h":
        inner = read.number("mamba_num_heads") * head
    where = {"state_beside_attention": True} if kind == "falcon_h1" else _marked(recurrent_flags(read, kind, layers))
    return {
        **where,
        "ssm_inner_size": inner,
        "ssm_state_size": read.size("mamba_d_state", "ssm_state_size", "state_size", default=128),
        "ssm_conv_kernel": read.size("mamba_d_conv", "conv_kernel", default=4),
        "ssm_groups": read.size("mamba_n_groups", "n_groups", default=1),
        "ssm_heads": inner // max(head, 1),
    }


def _short_convolution(read: Numbers, layers: int) -> dict[str, Any]:
    flags = recurrent_flags(read, str(read.body.get("model_type")), layers)
    return {**_marked(flags), "short_conv_cache": read.number("conv_L_cache", default=3)}


def _kimi(read: Numbers, layers: int) -> dict[str, Any]:
    linear = read.part("linear_attn_config")
    return {
        **_marked(recurrent_flags(read, "kimi_linear", layers)),
        "delta_head_dim": linear.number("head_dim", default=128),
        "ssm_conv_kernel": linear.number("short_conv_kernel_size", default=4),
    }


def _lightning(read: Numbers, layers: int) -> dict[str, Any]:
    """Linear attention of MiniMax-01, whose state is one square for each head."""
    listed = read.listed("attn_type_list", layers)
    flags = tuple(kind == 0 for kind in listed) or read.layer_types(layers, "linear_attention") or ()
    return {**(_marked(flags) or {"full_attention_interval": _LINEAR_INTERVAL}), "linear_head_dim": _head_dim(read)}


def _head_dim(read: Numbers) -> int:
    return read.number("head_dim", default=read.number("hidden_size") // read.number("num_attention_heads"))


def _rwkv(read: Numbers, layers: int) -> dict[str, Any]:
    return {
        "recurrent_layers": (True,) * layers,
        "wkv_head_size": read.number("head_size", "head_dim", default=64),
        "token_shift": 2,
    }


_FAMILIES: dict[str, _Read] = {
    "falcon_h1": _mamba2,
    "falcon_mamba": _mamba1,
    "granitemoehybrid": _mamba2,
    "jamba": _mamba1,
    "kimi_linear": _kimi,
    "lfm2": _short_convolution,
    "lfm2_moe": _short_convolution,
    "mamba": _mamba1,
    "mamba2": _mamba2,
    "minimax": _lightning,
    "minimax_text_01": _lightning,
    "nemotron_h": _mamba2,
    "rwkv6": _rwkv,
    "rwkv7": _rwkv,
}
