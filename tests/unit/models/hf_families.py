"""The same models twice: facts of published config.json files, and the keys of GGUF files made from them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Value = int | Sequence[int] | Sequence[bool]


class Family(NamedTuple):
    """A model as `config.json` and as GGUF metadata; `same`: fields of Architecture that need not be equal."""

    config: Mapping[str, Any]
    name: str
    pairs: Mapping[str, Value]
    other: tuple[str, ...] = ()


def usual(layers: int, embedding: int, width: Value, context: int, heads: tuple[int, Value, int]) -> dict[str, Value]:
    """The keys that every file has; `heads`: query heads, key and value heads, elements of a head."""
    found: dict[str, Value] = {
        "block_count": layers, "context_length": context, "embedding_length": embedding, "feed_forward_length": width,
        "attention.head_count": heads[0], "attention.head_count_kv": heads[1],
    }  # fmt: skip
    return found | ({"attention.key_length": heads[2], "attention.value_length": heads[2]} if heads[2] else {})


def ssm(inner: int, state: int, rank: int, groups: int = 0) -> dict[str, Value]:
    found: dict[str, Value] = {
        "ssm.inner_size": inner, "ssm.state_size": state, "ssm.conv_kernel": 4, "ssm.time_step_rank": rank
    }  # fmt: skip
    return found | ({"ssm.group_count": groups} if groups else {})


def body(kind: str, sizes: tuple[int, int, Any, int | None, int], **more: Any) -> dict[str, Any]:
    """What every config.json has; `sizes`: layers, embedding, feed-forward width, context, vocabulary."""
    layers, embedding, width, context, vocabulary = sizes
    return {
        "model_type": kind, "num_hidden_layers": layers, "hidden_size": embedding, "intermediate_size": width,
        "max_position_embeddings": context, "vocab_size": vocabulary, **more,
    }  # fmt: skip


_GEMMA_WINDOWS = [layer % 5 != 4 for layer in range(35)]
_GEMMA_TYPES = ["sliding_attention" if narrow else "full_attention" for narrow in _GEMMA_WINDOWS]
_LARGE_WINDOWS = [layer % 6 != 5 for layer in range(30)]
_GRANITE_FULL = (5, 15, 25, 35)
_LFM2_FULL = (2, 5, 8, 10, 12, 14)
_NEMOTRON = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
_KIMI_FULL = (4, 8, 12, 16, 20, 24, 27)
_GLM_TYPES = ["full"] * 3 + ["shared", "shared", "shared", "full"] * 18 + ["shared"] * 3
_STEP_WINDOWS = [layer % 4 != 0 for layer in range(45)]
_MIMO_WINDOWS = [0 if layer == 0 or layer % 6 == 5 else 1 for layer in range(48)]

FAMILIES: dict[str, Family] = {
    "google/gemma-3n-E2B-it": Family(
        body("gemma3n_text", (30, 2048, [8192] * 30, 32768, 262400), num_attention_heads=8, num_key_value_heads=2,
             head_dim=256, sliding_window=512, layer_types=_GEMMA_TYPES[:30], num_kv_shared_layers=10,
             hidden_size_per_layer_input=256),
        "gemma3n",
        {**usual(30, 2048, 8192, 32768, (8, 2, 256)), "attention.sliding_window": 512, "vocab_size": 262400,
         "attention.sliding_window_pattern": _GEMMA_WINDOWS[:30], "attention.shared_kv_layers": 10,
         "embedding_length_per_layer_input": 256},
    ),
    "google/gemma-4-E2B-it": Family(
        body("gemma4_text", (35, 1536, 6144, 131072, 262144), num_attention_heads=8, num_key_value_heads=1,
             head_dim=256, global_head_dim=512, num_global_key_value_heads=None, sliding_window=512,
             layer_types=_GEMMA_TYPES, num_kv_shared_layers=20, hidden_size_per_layer_input=256,
             use_double_wide_mlp=True),
        "gemma4",
        {**usual(35, 1536, [6144] * 15 + [12288] * 20, 131072, (8, 1, 512)), "attention.sliding_window": 512,
         "attention.sliding_window_pattern": _GEMMA_WINDOWS, "attention.key_length_swa": 256, "vocab_size": 262144,
         "attention.value_length_swa": 256, "attention.shared_kv_layers": 20, "embedding_length_per_layer_input": 256},
    ),
    "google/gemma-4-26B-A4B-it": Family(
        body("gemma4_text", (30, 2816, 2112, 262144, 262144), num_attention_heads=16, num_key_value_heads=8,
             head_dim=256, global_head_dim=512, num_global_key_value_heads=2, sliding_window=1024,
             num_kv_shared_layers=0,
             layer_types=["sliding_attention" if narrow else "full_attention" for narrow in _LARGE_WINDOWS],
             num_experts=128, top_k_experts=8, moe_intermediate_size=704),
        "gemma4",
        {**usual(30, 2816, 2112, 262144, (16, [8 if narrow else 2 for narrow in _LARGE_WINDOWS], 512)),
         "attention.sliding_window": 1024, "attention.sliding_window_pattern": _LARGE_WINDOWS, "expert_count": 128,
         "attention.key_length_swa": 256, "attention.value_length_swa": 256, "expert_used_count": 8,
         "expert_feed_forward_length": 704, "vocab_size": 262144},
    ),
    "tiiuae/Falcon-H1-1.5B-Instruct": Family(
        body("falcon_h1", (24, 2048, 4096, 131072, 65537), num_attention_heads=8, num_key_value_heads=2, head_dim=128,
             mamba_d_ssm=3072, mamba_d_state=256, mamba_d_conv=4, mamba_n_groups=1, mamba_d_head=64, mamba_n_heads=48,
             mamba_expand=2),
        "falcon-h1",
        {**usual(24, 2048, 4096, 131072, (8, 2, 128)), **ssm(3072, 256, 48, 1), "vocab_size": 65537},
    ),
    "ibm-granite/granite-4.0-h-tiny": Family(
        body("granitemoehybrid", (40, 1536, 512, 131072, 100352), num_attention_heads=12, num_key_value_heads=4,
             layer_types=["attention" if layer in _GRANITE_FULL else "mamba" for layer in range(40)], mamba_d_conv=4,
             mamba_d_head=64, mamba_d_state=128, mamba_expand=2, mamba_n_groups=1, mamba_n_heads=48,
             num_local_experts=64, num_experts_per_tok=6, shared_intermediate_size=1024, tie_word_embeddings=True),
        "granitehybrid",
        {**usual(40, 1536, 512, 1 << 20, (12, [4 if layer in _GRANITE_FULL else 0 for layer in range(40)], 0)),
         **ssm(3072, 128, 48, 1), "expert_count": 64, "expert_used_count": 6, "vocab_size": 100352,
         "expert_shared_feed_forward_length": 1024},
        ("context_max",),  # the converter writes 1048576
    ),
    "ai21labs/Jamba-v0.1": Family(
        body("jamba", (32, 4096, 14336, 262144, 65536), num_attention_heads=32, num_key_value_heads=8, mamba_d_conv=4,
             attn_layer_offset=4, attn_layer_period=8, mamba_d_state=16, mamba_dt_rank=256, mamba_expand=2,
             num_experts=16, num_experts_per_tok=2),
        "jamba",
        {**usual(32, 4096, 14336, 262144, (32, [8 if layer % 8 == 4 else 0 for layer in range(32)], 0)),
         **ssm(8192, 16, 256), "expert_count": 16, "expert_used_count": 2, "vocab_size": 65536},
    ),
    "LiquidAI/LFM2-1.2B": Family(
        body("lfm2", (16, 2048, None, 128000, 65536), num_attention_heads=32, num_key_value_heads=8, conv_L_cache=3,
                block_ff_dim=12288, block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=1.0, block_multiple_of=256,
                full_attn_idxs=list(_LFM2_FULL)),
        "lfm2",
        {**usual(16, 2048, 8192, 128000, (32, [8 if layer in _LFM2_FULL else 0 for layer in range(16)], 0)),
         "shortconv.l_cache": 3, "vocab_size": 65536},
    ),
    "nvidia/Nemotron-H-8B-Base-8K": Family(
        body("nemotron_h", (52, 4096, 21504, 8192, 131072), num_attention_heads=32, num_key_value_heads=8,
             attention_head_dim=128, hybrid_override_pattern=_NEMOTRON, mamba_head_dim=64, mamba_num_heads=128,
             n_groups=8, ssm_state_size=128, conv_kernel=4, expand=2),
        "nemotron_h",
        {**usual(52, 4096, [21504 if mark == "-" else 0 for mark in _NEMOTRON], 8192,
                 (32, [8 if mark == "*" else 0 for mark in _NEMOTRON], 128)),
         **ssm(8192, 128, 128, 8), "vocab_size": 131072},
    ),
    "state-spaces/mamba-2.8b-hf": Family(
        {"model_type": "mamba", "num_hidden_layers": 64, "hidden_size": 2560, "intermediate_size": 5120,
         "state_size": 16, "conv_kernel": 4, "time_step_rank": 160, "expand": 2, "vocab_size": 50280},
        "mamba",
        {**usual(64, 2560, 0, 1 << 20, (0, 0, 0)), **ssm(5120, 16, 160), "vocab_size": 50280},
        ("feed_forward",),  # 0 in GGUF: it has none
    ),
    "mamba2-2.7b": Family(
        {"model_type": "mamba2", "num_hidden_layers": 64, "hidden_size": 2560, "state_size": 128, "conv_kernel": 4,
         "expand": 2, "n_groups": 1, "head_dim": 64, "num_heads": 80, "vocab_size": 50288, "tie_word_embeddings": True},
        "mamba2",
        {**usual(64, 2560, 0, 1 << 20, (0, 0, 0)), **ssm(5120, 128, 80, 1), "vocab_size": 50288},
    ),
    "fla-hub/rwkv7-1.5B-world": Family(
        {"model_type": "rwkv7", "num_hidden_layers": 24, "hidden_size": 2048, "intermediate_size": 8192, "head_dim": 64,
         "num_heads": 32, "vocab_size": 65536},
        "rwkv7",
        {**usual(24, 2048, 8192, 1 << 20, (0, 0, 0)), "wkv.head_size": 64, "vocab_size": 65536},
    ),
    "moonshotai/Kimi-Linear-48B-A3B-Instruct": Family(
        body("kimi_linear", (27, 2304, 9216, None, 163840), num_attention_heads=32, num_key_value_heads=32,
                model_max_length=1048576, kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64,
                v_head_dim=128, num_experts=256, num_experts_per_token=8, num_shared_experts=1,
                moe_intermediate_size=1024, first_k_dense_replace=1, head_dim=72,
                linear_attn_config={"full_attn_layers": list(_KIMI_FULL), "head_dim": 128, "num_heads": 32,
                                    "short_conv_kernel_size": 4}),
        "kimi-linear",
        {**usual(27, 2304, 9216, 1048576, (32, [int(layer + 1 in _KIMI_FULL) for layer in range(27)], 0)),
         "attention.key_length": 576, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
         "attention.kv_lora_rank": 512, "rope.dimension_count": 64, "ssm.conv_kernel": 4, "kda.head_dim": 128,
         "expert_count": 256, "expert_used_count": 8, "expert_shared_count": 1, "expert_feed_forward_length": 1024,
         "leading_dense_block_count": 1, "vocab_size": 163840},
    ),
    "deepseek-ai/DeepSeek-V3.2": Family(
        body("deepseek_v32", (61, 7168, 18432, 163840, 129280), num_attention_heads=128, num_key_value_heads=128,
             kv_lora_rank=512, q_lora_rank=1536, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
             index_head_dim=128, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8,
             moe_intermediate_size=2048, first_k_dense_replace=3, num_nextn_predict_layers=1),
        "deepseek32",
        {**usual(62, 7168, 18432, 163840, (128, 1, 0)), "nextn_predict_layers": 1, "attention.q_lora_rank": 1536,
         "attention.key_length": 576, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
         "attention.kv_lora_rank": 512, "rope.dimension_count": 64, "attention.indexer.key_length": 128,
         "expert_count": 256, "expert_used_count": 8, "expert_shared_count": 1, "expert_feed_forward_length": 2048,
         "leading_dense_block_count": 3, "vocab_size": 129280},
        ("layers", "nextn_layers"),
    ),
    "zai-org/GLM-5.2": Family(
        body("glm_moe_dsa", (78, 6144, 12288, 1048576, 154880), num_attention_heads=64, num_key_value_heads=64,
             kv_lora_rank=512, q_lora_rank=2048, qk_nope_head_dim=192, qk_rope_head_dim=64, v_head_dim=256,
             index_head_dim=128, indexer_types=_GLM_TYPES, n_routed_experts=256, n_shared_experts=1,
             num_experts_per_tok=8, moe_intermediate_size=2048, first_k_dense_replace=3, num_nextn_predict_layers=1),
        "glm-dsa",
        {**usual(79, 6144, 12288, 1048576, (64, 1, 0)), "nextn_predict_layers": 1, "attention.q_lora_rank": 2048,
         "attention.key_length": 576, "attention.key_length_mla": 256, "attention.value_length_mla": 256,
         "attention.kv_lora_rank": 512, "rope.dimension_count": 64, "attention.indexer.key_length": 128,
         "expert_count": 256, "expert_used_count": 8, "expert_shared_count": 1, "expert_feed_forward_length": 2048,
         "leading_dense_block_count": 3, "vocab_size": 154880},
        ("layers", "nextn_layers", "indexer_layers"),
    ),
    "MiniMaxAI/MiniMax-Text-01": Family(
        body("minimax_text_01", (80, 6144, 9216, 10240000, 200064), num_attention_heads=64, num_key_value_heads=8,
             head_dim=128, attn_type_list=[int(layer % 8 == 7) for layer in range(80)], num_local_experts=32,
             num_experts_per_tok=2),
        "minimax-01",
        {**usual(80, 6144, 9216, 10240000, (64, 8, 128)), "expert_count": 32, "expert_used_count": 2,
         "vocab_size": 200064},
    ),
    "stepfun-ai/Step-3.5-Flash": Family(
        body("step3p5", (45, 4096, 11264, 262144, 128896), num_attention_heads=64, num_attention_groups=8, head_dim=128,
             attention_other_setting={"num_attention_heads": 96, "num_attention_groups": 8}, sliding_window=512,
             layer_types=["sliding_attention" if narrow else "full_attention" for narrow in _STEP_WINDOWS]
             + ["sliding_attention"] * 3, moe_num_experts=288, moe_top_k=8, moe_intermediate_size=1280,
             share_expert_dim=1280, num_nextn_predict_layers=3),
        "step35",
        {**usual(45, 4096, 11264, 262144, (64, 8, 128)), "attention.sliding_window": 512, "expert_count": 288,
         "attention.sliding_window_pattern": _STEP_WINDOWS, "expert_used_count": 8, "expert_feed_forward_length": 1280,
         "expert_shared_feed_forward_length": 1280, "vocab_size": 128896},
    ),
    "XiaomiMiMo/MiMo-V2-Flash": Family(
        body("mimo_v2_flash", (48, 4096, 16384, 262144, 152576), num_attention_heads=64, num_key_value_heads=4,
             head_dim=192, v_head_dim=128, swa_num_key_value_heads=8, swa_head_dim=192, swa_v_head_dim=128,
             hybrid_layer_pattern=_MIMO_WINDOWS, sliding_window=128, n_routed_experts=256, num_experts_per_tok=8,
             moe_intermediate_size=2048),
        "mimo2",
        {**usual(48, 4096, 16384, 262144, (64, [8 if narrow else 4 for narrow in _MIMO_WINDOWS], 192)),
         "attention.value_length": 128, "attention.sliding_window": 128, "expert_count": 256, "expert_used_count": 8,
         "attention.sliding_window_pattern": [bool(narrow) for narrow in _MIMO_WINDOWS], "vocab_size": 152576,
         "expert_feed_forward_length": 2048},
    ),
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1 (three layers)": Family(
        body("nemotron-nas", (3, 8192, None, 131072, 128256), num_attention_heads=64, num_key_value_heads=None,
             block_configs=[
                 {"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": 5.25}},
                 {"attention": {"n_heads_in_group": None}, "ffn": {"ffn_mult": 2.625}},
                 {"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": None}},
             ]),
        "deci",
        {**usual(3, 8192, [28672, 14336, 0], 131072, (64, [8, 0, 8], 0)), "vocab_size": 128256},
    ),
}  # fmt: skip
"""The numbers that say how large a part is."""
