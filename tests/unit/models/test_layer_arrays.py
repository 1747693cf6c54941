"""Numbers that differ from layer to layer, and which layers have a state, from GGUF headers that gguf-py wrote."""

from pathlib import Path

import pytest

from deployer.errors import ModelFileError
from deployer.models.architecture import architecture, weight_layout
from deployer.models.gguf import read_file
from deployer.types import Architecture
from tests.unit.models.test_layer_kinds import Value, write

PLAIN: dict[str, Value] = {
    "block_count": 6, "context_length": 131072, "embedding_length": 2048, "feed_forward_length": 8192,
    "attention.head_count": 32, "attention.head_count_kv": 8, "vocab_size": 32000,
}  # fmt: skip
MAMBA: dict[str, Value] = {
    "ssm.inner_size": 4096,
    "ssm.state_size": 128,
    "ssm.conv_kernel": 4,
    "ssm.group_count": 1,
    "ssm.time_step_rank": 64,
}


def read(path: Path, name: str, **changes: Value) -> Architecture:
    pairs = {**PLAIN, **{key.replace("__", "."): value for key, value in changes.items()}}
    return architecture(read_file(write(path / "m.gguf", name, pairs)))


def test_heads_of_each_layer(tmp_path: Path) -> None:
    found = read(tmp_path, "gemma4", attention__head_count_kv=[8, 8, 8, 8, 8, 1], attention__key_length_swa=256)
    assert found.kv_heads_by_layer == (8, 8, 8, 8, 8, 1)
    assert (found.kv_heads, found.head_dim_swa, found.value_head_dim_swa) == (8, 256, 256)
    assert read(tmp_path, "llama", attention__head_count_kv=[8] * 6).kv_heads_by_layer == ()


def test_an_irregular_window_is_kept_layer_by_layer(tmp_path: Path) -> None:
    pattern = [True, False, True, True, False, True]
    found = read(
        tmp_path, "gemma4", attention__sliding_window=512, attention__sliding_window_pattern=pattern,
        attention__shared_kv_layers=2, embedding_length_per_layer_input=256,
    )  # fmt: skip
    assert found.windows == (512, 0, 512, 512, 0, 512)
    assert (found.shared_kv_layers, found.per_layer_embedding) == (2, 256)


def test_layers_that_draft_are_counted_but_keep_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "glm4moe", nextn_predict_layers=1).nextn_layers == 1
    with pytest.raises(ModelFileError, match="nextn_predict_layers"):
        read(tmp_path, "glm4moe", nextn_predict_layers=6)


@pytest.mark.parametrize(
    ("name", "heads", "expected"),
    [
        ("jamba", [0, 0, 8, 0, 0, 8], (True, True, False, True, True, False)),
        ("granitehybrid", [0, 0, 0, 0, 0, 8], (True, True, True, True, True, False)),
        ("mamba2", 0, (True,) * 6),
        ("qwen3next", 8, (True, True, True, False, True, True)),
        ("llama", [0, 0, 8, 0, 0, 8], (False,) * 6),
    ],
)
def test_layers_with_a_state(tmp_path: Path, name: str, heads: Value, expected: tuple[bool, ...]) -> None:
    pairs = {**PLAIN, **MAMBA, "attention.head_count_kv": heads}
    found = architecture(read_file(write(tmp_path / "m.gguf", name, pairs)))
    assert found.recurrent == expected


def test_a_layer_of_nemotron_h_is_one_thing(tmp_path: Path) -> None:
    pairs = {
        **PLAIN, **MAMBA, "attention.head_count_kv": [0, 0, 8, 0, 0, 0], "feed_forward_length": [0, 8192, 0, 0, 8192, 0]
    }  # fmt: skip
    found = architecture(read_file(write(tmp_path / "m.gguf", "nemotron_h", pairs)))
    assert found.recurrent == (True, False, False, True, False, True)
    assert found.feed_forward_by_layer == (0, 8192, 0, 0, 8192, 0)


def test_falcon_h1_has_a_state_beside_its_attention(tmp_path: Path) -> None:
    found = architecture(read_file(write(tmp_path / "m.gguf", "falcon-h1", {**PLAIN, **MAMBA})))
    assert found.state_beside_attention
    assert found.recurrent == (False,) * 6


@pytest.mark.parametrize(
    ("name", "key", "value", "field"),
    [
        ("lfm2", "shortconv.l_cache", 3, "short_conv_cache"),
        ("rwkv7", "wkv.head_size", 64, "wkv_head_size"),
        ("kimi-linear", "kda.head_dim", 128, "delta_head_dim"),
        ("minimax-01", "attention.key_length", 128, "linear_head_dim"),
    ],
)
def test_other_states(tmp_path: Path, name: str, key: str, value: int, field: str) -> None:
    found = architecture(read_file(write(tmp_path / "m.gguf", name, {**PLAIN, key: value})))
    assert getattr(found, field) == value


def test_the_indexer_of_sparse_attention(tmp_path: Path) -> None:
    latent = {"attention.key_length_mla": 256, "attention.value_length_mla": 256, "attention.kv_lora_rank": 512}
    pairs = {**PLAIN, **latent, "attention.indexer.key_length": 128, "block_count": 79, "nextn_predict_layers": 1}
    older = architecture(read_file(write(tmp_path / "old.gguf", "glm-dsa", pairs)))
    assert (older.indexer_head_dim, older.indexer_layers) == (128, ())  # GLM-5.1: all have one
    pairs["context_length"] = 1 << 20
    found = architecture(read_file(write(tmp_path / "m.gguf", "glm-dsa", pairs)))
    assert sum(found.indexer_layers[:78]) == 21
    assert found.indexer_layers[78:] == (True,)


def test_a_list_with_something_else_than_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="head_count_kv"):
        read(tmp_path, "jamba", attention__head_count_kv=[8, -1, 8, 8, 8, 8])


def test_the_token_embedding_is_counted_by_itself(tmp_path: Path) -> None:
    layout = weight_layout(read_file(write(tmp_path / "m.gguf", "llama", PLAIN)), 6)
    assert layout.token_embedding_bytes == layout.input_bytes == 128
    assert layout.expert_bytes == ()
