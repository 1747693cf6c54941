"""What the layers of a GGUF model are made of: heads, experts, windows, recurrent state.

Keys: llama.cpp b11434 gguf-py/gguf/constants.py; what is assumed without a key: src/models/<architecture>.cpp.
"""

from deployer.models.gguf import GgufHeader
from deployer.models.metadata import flags, number
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
_HYBRIDS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}  # full_attention_interval without the key


def heads(header: GgufHeader, name: str, embedding: int) -> dict[str, int]:
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


def experts(header: GgufHeader, name: str) -> dict[str, int]:
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


def window(header: GgufHeader, name: str, layers: int, context: int) -> tuple[int, int]:
    """Sliding window in tokens and its pattern; (0, 0) where every layer sees everything."""
    assumed, pattern = _WINDOWS.get(name, (0, None))
    size = number(header, f"{name}.attention.sliding_window", default=assumed, high=1 << 40)
    if name in _IGNORED:
        return 0, 0
    if (each := flags(header, f"{name}.{_PATTERN_KEY}", layers)) is not None:
        return window_and_pattern(size, period(each), context)
    if f"{name}.{_PATTERN_KEY}" in header.metadata:
        pattern = number(header, f"{name}.{_PATTERN_KEY}", high=_HEADS)
    return window_and_pattern(size, pattern, context)


def recurrent(header: GgufHeader, name: str, layers: int) -> dict[str, int]:
    """Numbers of a recurrent part; empty for a model that has none."""
    if f"{name}.ssm.inner_size" not in header.metadata:
        return {}
    each = flags(header, f"{name}.attention.recurrent_layers", layers)
    interval = number(header, f"{name}.full_attention_interval", default=_HYBRIDS.get(name, 0), high=_HEADS)
    regular = None if each is None else period(each)

    def size(key: str) -> int:
        return number(header, f"{name}.ssm.{key}", default=0, high=1 << 28)

    return {
        "full_attention_interval": regular or interval,
        "ssm_inner_size": size("inner_size"),
        "ssm_state_size": size("state_size"),
        "ssm_conv_kernel": size("conv_kernel"),
        "ssm_groups": size("group_count"),
        "ssm_heads": size("time_step_rank"),
    }
