"""From a transformers `config.json` to the numbers that memory and speed follow from.

Names of the keys and what a configuration class assumes where a key is missing: transformers 4.57, classes
`<Model>Config`. GGUF names and what changes on conversion: llama.cpp b11434 conversion/*.py.
"""

import re
from collections.abc import Mapping
from typing import Any

from deployer.models import hf_layers
from deployer.models.hf_numbers import Numbers, broken
from deployer.models.hf_states import STATE_ONLY, states
from deployer.models.names import printable
from deployer.types import Architecture

MAX_LAYERS = 4096
_UNLIMITED = 1 << 20  # what GGUF states as the context of a model without attention
_EXPERTS_USED = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts", "moe_top_k")
_SHARED_WIDTHS = (
    *("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"),
    "share_expert_dim",
)

# transformers `model_type` to the GGUF architecture, where a rule (`_` becomes `-`) does not do it.
_ARCHITECTURES = {
    "bailing_moe": "bailingmoe",
    "bailing_moe_v2": "bailingmoe2",
    "bert": "bert",
    "cohere": "command-r",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "deepseek_v32": "deepseek32",
    "ernie4_5": "ernie4_5",
    "ernie4_5_moe": "ernie4_5-moe",
    "falcon_mamba": "mamba",
    "gemma3_text": "gemma3",
    "gemma3n_text": "gemma3n",
    "gemma4_text": "gemma4",
    "glm4_moe": "glm4moe",
    "glm4_moe_lite": "deepseek2",
    "glm_moe_dsa": "glm-dsa",
    "gpt_neox": "gptneox",
    "granitemoe": "granitemoe",
    "granitemoehybrid": "granitehybrid",
    "hunyuan_v1_dense": "hunyuan-dense",
    "hunyuan_v1_moe": "hunyuan-moe",
    "kimi_k2": "deepseek2",
    "lfm2_moe": "lfm2moe",
    "llama4_text": "llama4",
    "mimo_v2_flash": "mimo2",
    "minimax": "minimax-01",
    "minimax_text_01": "minimax-01",
    "mistral": "llama",
    "mixtral": "llama",
    "modernbert": "modern-bert",
    "nemotron-nas": "deci",
    "nemotron_h": "nemotron_h",
    "olmo3": "olmo2",
    "qwen2_5_vl": "qwen2vl",
    "qwen2_5_vl_text": "qwen2vl",
    "qwen2_moe": "qwen2moe",
    "qwen2_vl": "qwen2vl",
    "qwen2_vl_text": "qwen2vl",
    "qwen3_5_moe_text": "qwen35moe",
    "qwen3_5_text": "qwen35",
    "qwen3_moe": "qwen3moe",
    "qwen3_next": "qwen3next",
    "qwen3_vl_moe_text": "qwen3vlmoe",
    "qwen3_vl_text": "qwen3vl",
    "roberta": "bert",
    "seed_oss": "seed_oss",
    "step3p5": "step35",
    "xlm-roberta": "bert",
}

_TIED = ("cohere", "falcon_mamba", "gemma", "gemma3n_text", "gemma4_text", "lfm2", "lfm2_moe", "mamba")

# What the configuration class of a model assumes: its config.json may leave it out (google/gemma-3-4b-it does).
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
        "max_position_embeddings": 131072, "sliding_window_pattern": 6, "tie_word_embeddings": True,
    },
    "gemma2": {"tie_word_embeddings": True, "sliding_window": 4096, "sliding_window_pattern": 2},
    "cohere2": {"tie_word_embeddings": True, "sliding_window_pattern": 4},
    "gpt_oss": {"attention_bias": True, "sliding_window_pattern": 2},
    **{kind: {"tie_word_embeddings": True} for kind in _TIED},
}  # fmt: skip
_BIASED = frozenset({"bert", "roberta", "xlm-roberta"})
_CONTEXT_KEYS = {
    "cohere": ("model_max_length",),
    "kimi_linear": ("model_max_length",),
    "nomic_bert": ("max_trained_positions", "n_positions"),
}
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
        raise broken(f"{label}: config.json: model_type is {printable(repr(kind))}")
    read, name = Numbers(body, label), gguf_name(body)
    embedding = read.number("hidden_size", "n_embd", "d_model")
    heads = 0 if kind in STATE_ONLY else read.number("num_attention_heads", "n_head")
    layers = read.number("num_hidden_layers", "num_layers", "n_layer", high=MAX_LAYERS)
    usual = _UNLIMITED if kind in STATE_ONLY else None
    context = read.number(*_CONTEXT_KEYS.get(kind, ()), "max_position_embeddings", default=usual)
    context -= _OFFSET_POSITIONS.get(kind, 0)
    expert_width = read.size("moe_intermediate_size", "expert_intermediate_size")
    bias = body.get("attention_bias", body.get("qkv_bias"))
    return Architecture(
        name=name,
        layers=layers,
        embedding=embedding,
        heads=heads,
        vocabulary=read.number("vocab_size"),
        context_max=context,
        tied_embeddings=body.get("tie_word_embeddings", body.get("tie_embedding", False)) is True,
        attention_bias=(kind.startswith("qwen2") or kind in _BIASED) if bias is None else bias is True,
        **hf_layers.feed_forward(read, kind, layers, expert_width),
        **hf_layers.windows(read, layers, context),
        **hf_layers.shared(read, name, layers, context),
        **_heads(read, kind, layers, embedding, heads),
        **_experts(read, expert_width),
        **states(read, kind, layers),
    )


def gguf_name(body: Mapping[str, Any]) -> str:
    """GGUF architecture of a model: by table from its `model_type`, else by rule."""
    kind = str(body.get("model_type"))
    name = _ARCHITECTURES.get(kind, kind.replace("_", "-"))
    return f"{name}_moe" if name == "nemotron_h" and body.get("n_routed_experts") else name


def _heads(read: Numbers, kind: str, layers: int, embedding: int, heads: int) -> dict[str, Any]:
    """Numbers of heads, plain or latent (DeepSeek-V2 and what follows it)."""
    latent = read.size("kv_lora_rank")
    counts = hf_layers.kv_heads(read, kind, layers, heads)
    if not latent:
        return {**counts, **hf_layers.head_dims(read, embedding, heads)}
    rope = read.number("qk_rope_head_dim")
    head, value = read.number("qk_nope_head_dim") + rope, read.number("v_head_dim")
    return {
        **counts,
        "kv_heads": heads,
        "head_dim": head,
        "value_head_dim": value if value != head else 0,
        "q_lora_rank": read.size("q_lora_rank"),
        "kv_lora_rank": latent,
        "rope_head_dim": rope,
    }


def _experts(read: Numbers, width: int) -> dict[str, Any]:
    experts = read.size("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    if not experts:
        return {}
    shared_width = read.size(*_SHARED_WIDTHS)
    return {
        "experts": experts,
        "experts_used": read.size(*_EXPERTS_USED),
        "expert_feed_forward": width,
        "shared_experts": read.size("n_shared_experts", "num_shared_experts", default=1 if shared_width else 0),
        "shared_expert_feed_forward": shared_width if shared_width != width else 0,
        "dense_layers": read.size("first_k_dense_replace", "num_dense_layers"),
    }
