"""From a transformers `config.json` to the numbers that memory and speed follow from.

Names of the keys and what a configuration class assumes where a key is missing: transformers 4.57, classes
`<Model>Config`. GGUF names and what changes on conversion: llama.cpp b11434 conversion/*.py.
"""

import re
from collections.abc import Mapping
from typing import Any

from deployer.errors import ModelFileError
from deployer.models.names import printable
from deployer.models.periods import period, window_and_pattern
from deployer.types import Architecture

MAX_LAYERS = 4096
_HYBRID_INTERVAL = 4  # full_attention_interval of Qwen3NextConfig

# transformers `model_type` to the GGUF architecture, where a rule (`_` becomes `-`) does not do it.
_ARCHITECTURES = {
    "bert": "bert",
    "cohere": "command-r",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "gemma3_text": "gemma3",
    "glm4_moe": "glm4moe",
    "glm4_moe_lite": "deepseek2",
    "granitemoe": "granitemoe",
    "llama4_text": "llama4",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2_5_vl": "qwen2vl",
    "qwen2_moe": "qwen2moe",
    "qwen2_vl": "qwen2vl",
    "qwen3_5_moe_text": "qwen35moe",
    "qwen3_5_text": "qwen35",
    "qwen3_moe": "qwen3moe",
    "qwen3_next": "qwen3next",
    "roberta": "bert",
    "xlm-roberta": "bert",
}

# What the configuration class of a model assumes: its config.json may leave it out (google/gemma-3-4b-it does).
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
        "max_position_embeddings": 131072, "sliding_window_pattern": 6, "tie_word_embeddings": True,
    },
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True, "sliding_window": 4096, "sliding_window_pattern": 2},
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True, "sliding_window_pattern": 4},
    "gpt_oss": {"attention_bias": True, "sliding_window_pattern": 2},
    "qwen3_next": {"full_attention_interval": _HYBRID_INTERVAL},
}  # fmt: skip
_BIASED = frozenset({"bert", "roberta", "xlm-roberta"})
_CONTEXT_KEYS = {"cohere": ("model_max_length",), "nomic_bert": ("max_trained_positions", "n_positions")}
_OFFSET_POSITIONS = {"roberta": 2, "xlm-roberta": 2}  # rows before the first position (padding_idx + 1)


def text_body(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config.json that describes the language model, with what its class assumes."""
    text = document.get("text_config")
    body = {**document, **text} if isinstance(text, dict) else dict(document)
    known = _DEFAULTS.get(str(body.get("model_type")), {})
    return {**known, **{key: value for key, value in body.items() if value is not None or key not in known}}


def architecture_of(body: Mapping[str, Any], label: str) -> Architecture:
    """Architecture of a model from `text_body`. Raises ModelFileError naming the key."""
    kind = body.get("model_type")
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", kind):
        raise _broken(f"{label}: config.json: model_type is {printable(repr(kind))}")
    read = _Numbers(body, label)
    embedding, heads = read.number("hidden_size", "n_embd"), read.number("num_attention_heads", "n_head")
    layers = read.number("num_hidden_layers", "num_layers", "n_layer", high=MAX_LAYERS)
    context = read.number(*_CONTEXT_KEYS.get(kind, ()), "max_position_embeddings") - _OFFSET_POSITIONS.get(kind, 0)
    expert_width = read.number("moe_intermediate_size", low=0, default=0)
    window, pattern = window_and_pattern(*_window(read, layers), context)
    bias = body.get("attention_bias", body.get("qkv_bias"))
    return Architecture(
        name=_ARCHITECTURES.get(kind, kind.replace("_", "-")),
        layers=layers,
        embedding=embedding,
        feed_forward=read.number("intermediate_size", "n_inner", low=0, default=expert_width or None),
        heads=heads,
        vocabulary=read.number("vocab_size"),
        context_max=context,
        tied_embeddings=body.get("tie_word_embeddings", False) is True,
        attention_bias=(kind.startswith("qwen2") or kind in _BIASED) if bias is None else bias is True,
        sliding_window=window,
        sliding_pattern=pattern,
        **_heads(read, embedding, heads),
        **_experts(read, expert_width),
        **_recurrent(read, layers),
    )


class _Numbers:
    """Whole numbers of a config.json, each checked."""

    def __init__(self, body: Mapping[str, Any], label: str) -> None:
        self.body = body
        self._label = label

    def number(self, *keys: str, low: int = 1, high: int = 1 << 28, default: int | None = None) -> int:
        """The first of `keys` that has a value. Raises ModelFileError when it is missing or senseless."""
        key = next((key for key in keys if self.body.get(key) is not None), keys[0])
        found = self.body.get(key)
        found = default if found is None else found
        if found is None:
            raise _broken(f"{self._label}: config.json: {key} is missing")
        if type(found) is not int or not low <= found <= high:
            raise _broken(
                f"{self._label}: config.json: {key} is {printable(repr(found))}, not a number from {low} to {high}"
            )
        return found

    def layer_types(self, layers: int, kind: str) -> tuple[bool, ...] | None:
        """For each layer whether `layer_types` says `kind`; None where the key is missing or does not fit."""
        found = self.body.get("layer_types")
        if not isinstance(found, list) or len(found) != layers or kind not in found:
            return None
        return tuple(name == kind for name in found)


def _heads(read: _Numbers, embedding: int, heads: int) -> dict[str, int]:
    """Numbers of key and value heads, plain or latent (DeepSeek-V2 and what follows it)."""
    latent = read.number("kv_lora_rank", low=0, default=0)
    if not latent:
        usual = max(embedding // heads, 1)
        return {
            "kv_heads": read.number("num_key_value_heads", default=heads),
            "head_dim": read.number("head_dim", default=usual),
        }
    rope = read.number("qk_rope_head_dim")
    head, value = read.number("qk_nope_head_dim") + rope, read.number("v_head_dim")
    return {
        "kv_heads": heads,
        "head_dim": head,
        "value_head_dim": value if value != head else 0,
        "q_lora_rank": read.number("q_lora_rank", low=0, default=0),
        "kv_lora_rank": latent,
        "rope_head_dim": rope,
    }


def _experts(read: _Numbers, width: int) -> dict[str, int]:
    experts = read.number("num_experts", "num_local_experts", "n_routed_experts", low=0, default=0)
    if not experts:
        return {}
    shared_width = read.number("shared_expert_intermediate_size", low=0, default=0)
    return {
        "experts": experts,
        "experts_used": read.number("num_experts_per_tok", "experts_per_token", low=0, default=0),
        "expert_feed_forward": width,
        "shared_experts": read.number("n_shared_experts", low=0, default=1 if shared_width else 0),
        "shared_expert_feed_forward": shared_width if shared_width != width else 0,
        "dense_layers": read.number("first_k_dense_replace", low=0, default=0),
    }


def _window(read: _Numbers, layers: int) -> tuple[int, int | None]:
    """Window in tokens and its pattern (None: irregular)."""
    if read.body.get("use_sliding_window") is False or read.body.get("sliding_window") is None:
        return 0, None
    window = read.number("sliding_window", low=0)
    if (flags := read.layer_types(layers, "sliding_attention")) is not None:
        return window, period(flags)
    if isinstance(read.body.get("layer_types"), list) or "use_sliding_window" in read.body:
        return 0, None
    pattern = read.body.get("sliding_window_pattern", read.body.get("_sliding_window_pattern", 0))
    if isinstance(pattern, str):  # EXAONE 4.0: LLLG
        return window, period([pattern[layer % len(pattern)] == "L" for layer in range(layers)]) if pattern else None
    return window, pattern if type(pattern) is int and 0 <= pattern <= layers else None


def _recurrent(read: _Numbers, layers: int) -> dict[str, int]:
    """The recurrent part of a hybrid (gated delta net of Qwen3-Next and Qwen3.5)."""
    if not read.body.get("linear_num_value_heads"):
        return {}
    flags = read.layer_types(layers, "linear_attention")
    regular = None if flags is None else period(flags)
    heads = read.number("linear_num_value_heads")
    return {
        "full_attention_interval": regular or read.number("full_attention_interval", default=_HYBRID_INTERVAL),
        "ssm_inner_size": heads * read.number("linear_value_head_dim"),
        "ssm_state_size": read.number("linear_key_head_dim"),
        "ssm_conv_kernel": read.number("linear_conv_kernel_dim"),
        "ssm_groups": read.number("linear_num_key_heads"),
        "ssm_heads": heads,
    }


def _broken(reason: str) -> ModelFileError:
    return ModelFileError(reason, hint="give a folder with a complete transformers model, or a .gguf file")
