"""What is kept of conversations, family by family, worked out by hand from llama.cpp's rules."""

import pytest

from deployer.decide.kv_cache import state_bytes
from deployer.decide.llama import LlamaSettings, buffers
from deployer.decide.llama.cache import kv_bytes, row_bytes, states
from deployer.types import Architecture, WeightLayout

MIB = 1024 * 1024


def shape(name: str, layers: int, heads: int, kv_heads: int, head_dim: int, **rest: object) -> Architecture:
    facts: dict[str, object] = {"embedding": 4096, "feed_forward": 14336, "vocabulary": 128256, "context_max": 131072}
    numbers = {"layers": layers, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    return Architecture(name=name, **numbers, **{**facts, **rest})  # type: ignore[arg-type]


def asked(context: int, **rest: object) -> LlamaSettings:
    return LlamaSettings(context_total=context, **rest)  # type: ignore[arg-type]


QWEN_32B = shape("qwen3", 64, 64, 8, 128)
DEEPSEEK = shape(
    "deepseek2", 61, 128, 128, 192, value_head_dim=128, kv_lora_rank=512, rope_head_dim=64, q_lora_rank=1536
)
DEEPSEEK_OLD = shape("deepseek2", 60, 128, 128, 192, value_head_dim=128)
GLM_DSA = shape(
    "glm-dsa", 78, 64, 64, 256, kv_lora_rank=512, rope_head_dim=64, indexer_head_dim=128,
    indexer_layers=(True, True, *((True, False, False, False) * 19)),
)  # fmt: skip
GEMMA3 = shape("gemma3", 48, 16, 8, 256, sliding_window=1024, sliding_pattern=6)
GEMMA4 = shape(
    "gemma4", 48, 16, 8, 512, sliding_window=1024, sliding_pattern=6, head_dim_swa=256,
    kv_heads_by_layer=tuple(1 if layer % 6 == 5 else 8 for layer in range(48)),
)  # fmt: skip
GEMMA4_E2B = shape(
    "gemma4", 35, 8, 1, 512, sliding_window=512, sliding_pattern=5, head_dim_swa=256, shared_kv_layers=20
)
GPT_OSS = shape("gpt-oss", 24, 64, 8, 64, sliding_window=128, sliding_pattern=2)
QWEN_NEXT = shape(
    "qwen35", 64, 24, 4, 256, full_attention_interval=4, ssm_inner_size=6144, ssm_state_size=128, ssm_conv_kernel=4,
    ssm_groups=16, ssm_heads=48,
)  # fmt: skip
FALCON_H1 = shape(
    "falcon-h1", 24, 8, 2, 128, state_beside_attention=True, ssm_inner_size=3072, ssm_state_size=256,
    ssm_conv_kernel=4, ssm_groups=1, ssm_heads=48,
)  # fmt: skip
JAMBA = shape(
    "jamba", 4, 32, 8, 128, kv_heads_by_layer=(0, 0, 8, 0), recurrent_layers=(True, True, False, True),
    ssm_inner_size=8192, ssm_state_size=16, ssm_conv_kernel=4, ssm_heads=256,
)  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "settings", "by_hand"),
    [
        (QWEN_32B, asked(8192), 64 * 8192 * 8 * (128 + 128) * 2),
        (QWEN_32B, asked(8192, kv_type_k="q8_0", kv_type_v="q4_0"), 64 * 8192 * (1024 // 32 * 34 + 1024 // 32 * 18)),
        (QWEN_32B, asked(8000, slots=4), 64 * 4 * 2048 * 8 * 256 * 2),  # 2000 tokens a slot, padded to 2048
        (QWEN_32B, asked(8192, slots=4, unified=True), 64 * 8192 * 8 * 256 * 2),
        (DEEPSEEK, asked(4096), 61 * 4096 * (512 + 64) * 2),
        (DEEPSEEK_OLD, asked(4096), 60 * 4096 * 128 * (192 + 128) * 2),  # 19200 MiB, llama.cpp issue 12728
        (DEEPSEEK_OLD, asked(4096, kv_type_k="q8_0"), 60 * 4096 * 128 * (192 // 32 * 34 + 128 * 2)),
        (GLM_DSA, asked(768000), 768000 * (78 * 576 + 21 * 128) * 2),
        (GEMMA3, asked(32768), (8 * 32768 + 40 * 1536) * 8 * 512 * 2),  # 1024 + 512 cells see a window
        (GEMMA3, asked(32768, swa_full=True), 48 * 32768 * 8 * 512 * 2),
        (GEMMA3, asked(32768, slots=4, unified=True), (8 * 32768 + 40 * 4608) * 8 * 512 * 2),  # 4 * 1024 + 512
        (GEMMA3, asked(32768, slots=4), 4 * (8 * 8192 + 40 * 1536) * 8 * 512 * 2),
        (GEMMA4, asked(8192, slots=4, unified=True, micro_batch=2048), (8 * 8192 * 1024 + 40 * 6144 * 8 * 512) * 2),
        (GEMMA4_E2B, asked(32768, micro_batch=1024), (3 * 32768 * 1024 + 12 * 1536 * 512) * 2),  # 15 of 35 layers
        (GPT_OSS, asked(16384, micro_batch=2048), 12 * (16384 + 2304) * 8 * 128 * 2),
        (GPT_OSS, asked(49152, slots=2), 2 * 12 * (24576 + 768) * 8 * 128 * 2),
        (QWEN_NEXT, asked(8192), 16 * 8192 * 4 * 512 * 2),
        (FALCON_H1, asked(4096), 24 * 4096 * 2 * 256 * 2),
        (JAMBA, asked(4096), 4096 * 8 * 256 * 2),
    ],
)
def test_keys_and_values(architecture: Architecture, settings: LlamaSettings, by_hand: int) -> None:
    assert sum(kv_bytes(architecture, settings)) == by_hand


@pytest.mark.parametrize(
    ("kv_type", "bytes_of_1024"),
    [
        ("f32", 4096), ("f16", 2048), ("bf16", 2048), ("q8_0", 32 * 34), ("q5_1", 32 * 24), ("q5_0", 32 * 22),
        ("q4_1", 32 * 20), ("q4_0", 32 * 18), ("iq4_nl", 32 * 18),
    ],
)  # fmt: skip
def test_every_type_of_cache(kv_type: str, bytes_of_1024: int) -> None:
    assert row_bytes(kv_type, 1024) == bytes_of_1024


def test_without_flash_attention_every_layer_has_the_widest_values() -> None:
    # 8 layers of 1 x 512 and 40 of 8 x 256 elements: keys as they are, values 2048 wide everywhere
    kept = kv_bytes(GEMMA4, asked(1024, flash_attention=False))
    assert sum(kept) == 1024 * 2 * (8 * (512 + 2048) + 40 * (2048 + 2048))


def test_layers_that_only_draft_keep_nothing() -> None:
    drafting = shape("glm4moe", 47, 96, 8, 128, nextn_layers=1)
    assert kv_bytes(drafting, asked(4096))[-1] == 0
    assert sum(kv_bytes(drafting, asked(4096))) == 46 * 4096 * 8 * 256 * 2


@pytest.mark.parametrize(
    ("architecture", "by_hand"),
    [
        (QWEN_NEXT, ((4 - 1) * (6144 + 2 * 16 * 128) + 128 * 6144) * 4),
        (shape("mamba", 64, 0, 0, 0, ssm_inner_size=5120, ssm_state_size=16, ssm_conv_kernel=4), (3 + 16) * 5120 * 4),
        (FALCON_H1, (3 * (3072 + 2 * 256) + 256 * 3072) * 4),
        (shape("lfm2", 16, 32, 8, 64, embedding=2048, short_conv_cache=3), 2048 * 2 * 4),
        (shape("rwkv7", 32, 0, 0, 0, embedding=4096, wkv_head_size=64, token_shift=2), (2 * 4096 + 4096 * 64) * 4),
        (
            shape("kimi-linear", 27, 32, 32, 192, delta_head_dim=128, ssm_conv_kernel=4),
            (3 * 3 * 32 * 128 + 128 * 128 * 32) * 4,
        ),
        (shape("minimax-01", 80, 64, 8, 128, linear_head_dim=128), 128 * 128 * 64 * 4),
    ],
)
def test_states(architecture: Architecture, by_hand: int) -> None:
    assert state_bytes(architecture) == by_hand


def test_states_grow_with_slots_and_with_drafted_tokens() -> None:
    # Qwen3.8-27B, 4 slots, 2 drafted tokens: 1795.50 MiB in the log of build 9849
    assert round(sum(states(QWEN_NEXT, 4, 2)) / MIB, 2) == 1795.50
    assert sum(states(QWEN_NEXT, 4, 0)) == 48 * 4 * state_bytes(QWEN_NEXT)
    assert sum(states(FALCON_H1, 2, 0)) == 24 * 2 * state_bytes(FALCON_H1)
    assert sum(states(QWEN_32B, 4, 0)) == 0


RWKV = shape("rwkv7", 32, 0, 0, 0, wkv_head_size=64, token_shift=2, recurrent_layers=(True,) * 32)
LFM2 = shape("lfm2", 4, 32, 8, 64, short_conv_cache=3, recurrent_layers=(True, True, False, True))
NEMOTRON_H = shape(
    "nemotron_h", 4, 32, 8, 128, kv_heads_by_layer=(0, 0, 8, 0), feed_forward_by_layer=(0, 8192, 0, 0),
    recurrent_layers=(True, False, False, True), ssm_inner_size=8192, ssm_state_size=128, ssm_conv_kernel=4,
    ssm_groups=8, ssm_heads=128,
)  # fmt: skip
FAMILIES = (
    QWEN_32B, DEEPSEEK, DEEPSEEK_OLD, GLM_DSA, GEMMA3, GEMMA4, GEMMA4_E2B, GPT_OSS, QWEN_NEXT, FALCON_H1, JAMBA, RWKV,
    LFM2, NEMOTRON_H, shape("falcon", 32, 64, 8, 64), shape("starcoder2", 32, 36, 4, 128),
    shape("olmo2", 32, 32, 32, 128),
)  # fmt: skip


@pytest.mark.parametrize("architecture", FAMILIES, ids=lambda item: f"{item.name}-{item.layers}")
@pytest.mark.parametrize("gpu_layers", [(), (1,), (3,), "all", "pair"], ids=str)
def test_every_family_on_every_device(architecture: Architecture, gpu_layers: tuple[int, ...] | str) -> None:
    items = architecture.layers + 1
    counts = {"all": (items,), "pair": (items // 2, items - items // 2)}.get(str(gpu_layers), gpu_layers)
    layout = WeightLayout(input_bytes=10 * MIB, layer_bytes=(20 * MIB,) * architecture.layers, output_bytes=10 * MIB)
    settings = asked(4096, slots=2, gpu_layers=tuple(counts), accelerator="cuda" if counts else "cpu")
    made = buffers(architecture, layout, settings)
    every = (*made.gpus, made.host)
    assert sum(part.weights for part in every) == layout.total_bytes
    assert sum(part.kv for part in every) == sum(kv_bytes(architecture, settings))
    assert sum(part.state for part in every) == sum(states(architecture, 2, 0))
    assert all(part.compute > 512 * 4096 * 4 for part in every)
