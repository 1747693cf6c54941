"""What the layers of a GGUF model are made of: heads, experts, windows, recurrent state.

Keys: llama.cpp b11434 gguf-py/gguf/constants.py; what is assumed without a key: src/models/<architecture>.cpp.
"""

from typing import Any

from deployer.models.gguf import GgufHeader
from deployer.models.metadata import each, flags, number
from deployer.models.periods import period, window_and_pattern

_WIDE = 1 << 24
_HEADS = 1 << 16
_RANK = 1 << 20
_PATTERN_KEY = "attention.sliding_window_pattern"

# Architecture to the window (0: from the file only) and pattern that its code assumes where the file does not say.
_WINDOWS = {
    "cohere2": (0, 4),
    "exaone-moe": (128, 4),
    "exaone4": (0, 4),
    "gemma2": (4096, 2),
    "gemma3": (0, 6),
    "gpt-oss": (0, 2),
    "llama4": (8192, 4),
    "mellum": (0, 4),
    "olmo2": (0, 4),
    "plamo3": (0, 8),
}
_IGNORED = frozenset({"phi3"})  # the window of the file is switched off in src/models/phi3.cpp
_HYBRIDS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "minimax-01": 8}  # full_attention_interval without the key


_NO_HEADS = frozenset((
    "bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "nemotron_h",
    "nemotron_h_moe", "plamo2",
))  # fmt: skip
_ALL_STATES = frozenset(("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"))
_OWN_KV = 20  # layers of Gemma 3n that have keys and values of their own (src/models/gemma3n.cpp)
_GLM_5_2_CONTEXT = 1 << 20
_INDEXERS = (
    True,
    True,
    *((True, False, False, False) * 19),
)  # of GLM-5.2, which has 78 layers (src/models/glm-dsa.cpp)


def heads(header: GgufHeader, name: str, embedding: int) -> dict[str, Any]:
    """Numbers of query, key and value heads.

    With `attention.key_length_mla` the cache holds compressed rows (llama.cpp src/llama-hparams.cpp `is_mla`); a file
    without it holds full keys and values.
    """
    count = number(header, f"{name}.attention.head_count", high=_HEADS)
    usual = embedding // count if count else 0
    key = number(header, f"{name}.attention.key_length", default=usual, high=_HEADS)
    value = number(header, f"{name}.attention.value_length", default=usual, high=_HEADS)
    queries = {"heads": count, "q_lora_rank": number(header, f"{name}.attention.q_lora_rank", default=0, high=_RANK)}
    if f"{name}.attention.key_length_mla" not in header.metadata:
        kv_heads = number(header, f"{name}.attention.head_count_kv", default=count, high=_HEADS)
        return {**queries, "kv_heads": kv_heads, "head_dim": key, "value_head_dim": value if value != key else 0}
    whole = number(header, f"{name}.attention.key_length_mla", low=1, high=_HEADS)
    latent_value = number(header, f"{name}.attention.value_length_mla", low=1, high=_HEADS)
    latent = number(header, f"{name}.attention.kv_lora_rank", low=1, high=_RANK)
    return {
        **queries,
        "kv_heads": count,
        "head_dim": whole,
        "value_head_dim": latent_value if latent_value != whole else 0,
        "kv_lora_rank": latent,
        "rope_head_dim": number(header, f"{name}.rope.dimension_count", default=max(key - latent, 0), high=_HEADS),
    }


def experts(header: GgufHeader, name: str) -> dict[str, Any]:
    """Numbers of the mixture of experts; empty for a dense model."""
    count = number(header, f"{name}.expert_count", default=0, high=_HEADS)
    width = number(header, f"{name}.expert_feed_forward_length", default=0, high=_WIDE)
    if not count:
        return {"expert_feed_forward": width}
    shared_width = number(header, f"{name}.expert_shared_feed_forward_length", default=0, high=_WIDE)
    shared = number(header, f"{name}.expert_shared_count", default=1 if shared_width else 0, high=_HEADS)
    shared_width //= max(shared, 1)
    return {
        "experts": count,
        "experts_used": number(header, f"{name}.expert_used_count", default=0, high=_HEADS),
        "expert_feed_forward": width,
        "shared_experts": shared,
        "shared_expert_feed_forward": shared_width if shared_width != width else 0,
        "dense_layers": number(header, f"{name}.leading_dense_block_count", default=0, high=_HEADS),
    }


def by_layer(header: GgufHeader, name: str, layers: int) -> dict[str, Any]:
    """What differs from layer to layer, or counts layers at the end."""
    count = each(header, f"{name}.attention.head_count_kv", layers)
    narrow = number(header, f"{name}.attention.key_length_swa", default=0, high=_HEADS)
    shared = layers - _OWN_KV if name == "gemma3n" and layers > _OWN_KV else 0
    index = number(header, f"{name}.attention.indexer.key_length", default=0, high=_HEADS)
    drafting = number(header, f"{name}.nextn_predict_layers", default=0, high=layers - 1)
    types = flags(header, f"{name}.attention.indexer.types", layers - drafting)
    usual = usual_indexers(name, layers - drafting, number(header, f"{name}.context_length", high=1 << 40))
    own = types or usual
    return {
        "kv_heads_by_layer": count,
        "head_dim_swa": narrow,
        "value_head_dim_swa": number(header, f"{name}.attention.value_length_swa", default=narrow, high=_HEADS),
        "shared_kv_layers": number(header, f"{name}.attention.shared_kv_layers", default=shared, high=layers - 1),
        "nextn_layers": drafting,
        "indexer_head_dim": index,
        "indexer_layers": (*own, *((True,) * (layers - len(own)))) if index and own else (),
        "feed_forward_by_layer": each(header, f"{name}.feed_forward_length", layers),
        "per_layer_embedding": number(header, f"{name}.embedding_length_per_layer_input", default=0, high=_WIDE),
    }


def usual_indexers(name: str, layers: int, context: int) -> tuple[bool, ...]:
    """Layers with an indexer of their own where the file does not say: empty for all; GLM-5.2 is known by its context.

    Source: llama.cpp b11434 src/models/glm-dsa.cpp (`is_pre_5_2`, `GLM_5_2_DEFAULT_INDEXER_TYPES`).
    """
    if name != "glm-dsa" or context < _GLM_5_2_CONTEXT or layers < len(_INDEXERS):
        return ()
    return (*_INDEXERS, *((True,) * (layers - len(_INDEXERS))))


def window(header: GgufHeader, name: str, layers: int, context: int) -> dict[str, Any]:
    """Sliding window in tokens and which layers have it; zeros where every layer sees everything."""
    assumed, pattern = _WINDOWS.get(name, (0, None))
    size = number(header, f"{name}.attention.sliding_window", default=assumed, high=1 << 40)
    if name in _IGNORED:
        return {}
    if (narrow := flags(header, f"{name}.{_PATTERN_KEY}", layers)) is not None:
        pattern = period(narrow)
        if pattern is None and 0 < size < context:
            return {"sliding_window": size, "window_layers": narrow}
    elif f"{name}.{_PATTERN_KEY}" in header.metadata:
        pattern = number(header, f"{name}.{_PATTERN_KEY}", high=_HEADS)
    size, pattern = window_and_pattern(size, pattern, context)
    return {"sliding_window": size, "sliding_pattern": pattern}


def recurrent(header: GgufHeader, name: str, layers: int) -> dict[str, Any]:
    """Numbers of a recurrent part; empty for a model that has none."""

    def size(key: str, default: int = 0) -> int:
        return number(header, f"{name}.{key}", default=default, high=1 << 28)

    found: dict[str, Any] = {
        "ssm_inner_size": size("ssm.inner_size"),
        "ssm_state_size": size("ssm.state_size"),
        "ssm_conv_kernel": size("ssm.conv_kernel"),
        "ssm_groups": size("ssm.group_count"),
        "ssm_heads": size("ssm.time_step_rank"),
        "short_conv_cache": size("shortconv.l_cache"),
        "wkv_head_size": size("wkv.head_size"),
        "token_shift": size("token_shift_count", 2) if name in _ALL_STATES and "rwkv" in name else 0,
        "delta_head_dim": size("kda.head_dim"),
        "linear_head_dim": size("attention.key_length") if name == "minimax-01" else 0,
        "state_beside_attention": name == "falcon-h1",
    }
    if not any(found.values()):
        return {}
    return found | _state_layers(header, name, layers)


def _state_layers(header: GgufHeader, name: str, layers: int) -> dict[str, Any]:
    """Which layers have a state: at a fixed distance, as listed, or those without key and value heads."""
    marked = flags(header, f"{name}.attention.recurrent_layers", layers)
    if marked is None and name in _ALL_STATES:
        marked = (True,) * layers
    if marked is None and name in _NO_HEADS:
        counts = each(header, f"{name}.attention.head_count_kv", layers)
        wide = each(header, f"{name}.feed_forward_length", layers) if name.startswith("nemotron_h") else ()
        marked = tuple(not count and not (wide and wide[layer]) for layer, count in enumerate(counts))
    if marked is not None:
        regular = period(marked)
        return {"full_attention_interval": regular} if regular else {"recurrent_layers": marked if any(marked) else ()}
    interval = number(header, f"{name}.full_attention_interval", default=_HYBRIDS.get(name, 0), high=_HEADS)
    return {"full_attention_interval": interval}
