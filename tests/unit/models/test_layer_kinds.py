"""Heads, experts, windows and recurrent state from GGUF headers that gguf-py wrote."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

from deployer.errors import ModelFileError
from deployer.models.architecture import architecture
from deployer.models.gguf import read_file
from deployer.models.hf_architecture import architecture_of, text_body
from deployer.types import Architecture
from tests.unit.models.hf_configs import CONFIGS

Value = int | Sequence[int] | Sequence[bool]


def write(path: Path, name: str, pairs: Mapping[str, Value], *, tied: bool = False, bias: bool = False) -> Path:
    """A header with the keys of a model of real size, and just enough tensors to tell ties and biases."""
    writer = gguf.GGUFWriter(str(path), name)
    for key, value in pairs.items():
        if isinstance(value, int):
            writer.add_uint32(f"{name}.{key}", value)
        else:
            writer.add_array(f"{name}.{key}", value)
    small = np.zeros((1, 32), dtype=np.float32)
    writer.add_tensor("token_embd.weight", small)
    if not tied:
        writer.add_tensor("output.weight", small)
    if bias:
        writer.add_tensor("blk.0.attn_q.bias", small)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read(path: Path) -> Architecture:
    return architecture(read_file(path))


DEEPSEEK: dict[str, Value] = {
    "block_count": 61, "context_length": 163840, "embedding_length": 7168, "feed_forward_length": 18432,
    "attention.head_count": 128, "attention.head_count_kv": 1, "attention.q_lora_rank": 1536,
    "attention.kv_lora_rank": 512, "attention.key_length": 576, "attention.value_length": 512,
    "attention.key_length_mla": 192, "attention.value_length_mla": 128, "rope.dimension_count": 64,
    "expert_count": 256, "expert_used_count": 8, "expert_feed_forward_length": 2048, "expert_shared_count": 1,
    "leading_dense_block_count": 3, "vocab_size": 129280,
}  # fmt: skip
QWEN3NEXT: dict[str, Value] = {
    "block_count": 48, "context_length": 262144, "embedding_length": 2048, "feed_forward_length": 5120,
    "attention.head_count": 16, "attention.head_count_kv": 2, "attention.key_length": 256,
    "attention.value_length": 256, "expert_count": 512, "expert_used_count": 10, "expert_feed_forward_length": 512,
    "expert_shared_feed_forward_length": 512, "ssm.conv_kernel": 4, "ssm.inner_size": 4096, "ssm.state_size": 128,
    "ssm.group_count": 16, "ssm.time_step_rank": 32, "vocab_size": 151936,
}  # fmt: skip
GEMMA3: dict[str, Value] = {
    "block_count": 34, "context_length": 131072, "embedding_length": 2560, "feed_forward_length": 10240,
    "attention.head_count": 8, "attention.head_count_kv": 4, "attention.key_length": 256,
    "attention.value_length": 256, "attention.sliding_window": 1024, "vocab_size": 262144,
}  # fmt: skip


def test_latent_attention(tmp_path: Path) -> None:
    shape = read(write(tmp_path / "m.gguf", "deepseek2", DEEPSEEK))
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.value_head_dim) == (128, 128, 192, 128)
    assert (shape.q_lora_rank, shape.kv_lora_rank, shape.rope_head_dim) == (1536, 512, 64)
    assert (shape.experts, shape.experts_used, shape.shared_experts, shape.dense_layers) == (256, 8, 1, 3)
    assert shape.shared_expert_feed_forward == 0


def test_a_file_from_before_latent_attention_has_full_keys_and_values(tmp_path: Path) -> None:
    old = {key: value for key, value in DEEPSEEK.items() if not key.endswith("_mla")}
    old |= {"attention.head_count_kv": 128, "attention.key_length": 192, "attention.value_length": 128}
    shape = read(write(tmp_path / "m.gguf", "deepseek2", old))
    assert (shape.kv_lora_rank, shape.rope_head_dim) == (0, 0)
    assert (shape.kv_heads, shape.head_dim, shape.value_head_dim) == (128, 192, 128)


def test_a_latent_rank_that_is_missing_is_named(tmp_path: Path) -> None:
    broken = {key: value for key, value in DEEPSEEK.items() if key != "attention.kv_lora_rank"}
    with pytest.raises(ModelFileError, match=r"deepseek2\.attention\.kv_lora_rank is missing"):
        read(write(tmp_path / "m.gguf", "deepseek2", broken))


def test_a_hybrid_without_the_interval_has_that_of_its_code(tmp_path: Path) -> None:
    shape = read(write(tmp_path / "a.gguf", "qwen3next", QWEN3NEXT))
    assert shape.full_attention_interval == 4
    assert (shape.ssm_inner_size, shape.ssm_state_size, shape.ssm_conv_kernel) == (4096, 128, 4)
    assert (shape.ssm_groups, shape.ssm_heads, shape.shared_experts) == (16, 32, 1)
    stated = {**QWEN3NEXT, "full_attention_interval": 8}
    assert read(write(tmp_path / "b.gguf", "qwen3next", stated)).full_attention_interval == 8
    listed = {**QWEN3NEXT, "attention.recurrent_layers": [True, False] * 24}
    assert read(write(tmp_path / "c.gguf", "qwen3next", listed)).full_attention_interval == 2
    assert read(write(tmp_path / "d.gguf", "mamba", QWEN3NEXT)).full_attention_interval == 0


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("gemma3", {}, (1024, 6)),
        ("gemma3", {"attention.sliding_window_pattern": 3}, (1024, 3)),
        ("gemma3", {"attention.sliding_window_pattern": [True, False] * 17}, (1024, 2)),
        ("gemma3", {"attention.sliding_window_pattern": [True] * 34}, (1024, 0)),
        ("gemma3", {"attention.sliding_window_pattern": [False] * 34}, (0, 0)),
        ("gemma3", {"attention.sliding_window_pattern": [False] + [True] * 33}, (1024, 0)),  # layer by layer
        ("gemma3", {"attention.sliding_window_pattern": [True, False]}, (1024, 6)),
        ("gemma3", {"attention.sliding_window": 0}, (0, 0)),
        ("gemma3", {"attention.sliding_window": 131072}, (0, 0)),
        ("gemma2", {"attention.sliding_window": 4096}, (4096, 2)),
        ("gpt-oss", {"attention.sliding_window": 128}, (128, 2)),
        ("exaone4", {"attention.sliding_window": 4096}, (4096, 4)),
        ("phi3", {"attention.sliding_window": 2047}, (0, 0)),
        ("llama", {"attention.sliding_window": 4096}, (0, 0)),
        ("some-new-model", {"attention.sliding_window_pattern": [True, False] * 17}, (1024, 2)),
    ],
)
def test_windows(tmp_path: Path, name: str, change: dict[str, Value], expected: tuple[int, int]) -> None:
    shape = read(write(tmp_path / "m.gguf", name, {**GEMMA3, **change}, tied=True))
    assert (shape.sliding_window, shape.sliding_pattern) == expected


def test_gemma2_has_a_window_even_where_the_file_is_silent(tmp_path: Path) -> None:
    silent = {key: value for key, value in GEMMA3.items() if key != "attention.sliding_window"}
    assert read(write(tmp_path / "a.gguf", "gemma2", silent)).sliding_window == 4096
    assert read(write(tmp_path / "b.gguf", "gemma3", silent)).sliding_window == 0


def test_shared_experts_of_another_width(tmp_path: Path) -> None:
    qwen2moe = {**QWEN3NEXT, "expert_shared_feed_forward_length": 5632, "expert_feed_forward_length": 1408}
    shape = read(write(tmp_path / "m.gguf", "qwen2moe", qwen2moe))
    assert (shape.expert_feed_forward, shape.shared_experts, shape.shared_expert_feed_forward) == (1408, 1, 5632)


GPT_OSS: dict[str, Value] = {
    "block_count": 24, "context_length": 131072, "embedding_length": 2880, "feed_forward_length": 2880,
    "attention.head_count": 64, "attention.head_count_kv": 8, "attention.key_length": 64, "attention.value_length": 64,
    "attention.sliding_window": 128, "expert_count": 32, "expert_used_count": 4, "vocab_size": 201088,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "pairs", "repository", "bias"),
    [
        ("deepseek2", DEEPSEEK, "deepseek-ai/DeepSeek-V3.1", False),
        ("qwen3next", QWEN3NEXT, "Qwen/Qwen3-Next-80B-A3B-Instruct", False),
        ("gemma3", {**GEMMA3, "vocab_size": 262208}, "google/gemma-3-4b-it", False),
        ("gpt-oss", GPT_OSS, "openai/gpt-oss-20b", True),
    ],
)
def test_a_model_says_the_same_in_both_formats(
    tmp_path: Path, name: str, pairs: Mapping[str, Value], repository: str, bias: bool
) -> None:
    from_gguf = read(write(tmp_path / "m.gguf", name, pairs, tied=name == "gemma3", bias=bias))
    assert from_gguf == architecture_of(text_body(CONFIGS[repository]), repository)
