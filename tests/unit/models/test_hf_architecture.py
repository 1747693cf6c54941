"""Numbers from config.json: plain, nested, latent, sliding, mixed, hybrid, and senseless."""

import json
from typing import Any

import pytest

from deployer.errors import ModelFileError
from deployer.models.hf_architecture import architecture_of, text_body
from deployer.models.hf_config import parse_config
from deployer.models.periods import period, window_and_pattern
from deployer.types import Architecture
from tests.unit.models.hf_configs import CONFIGS


def read(repository: str, **change: Any) -> Architecture:
    return architecture_of(text_body({**CONFIGS[repository], **change}), repository)


def test_a_nested_config_with_what_its_class_assumes() -> None:
    shape = read("google/gemma-3-4b-it")
    assert (shape.name, shape.layers, shape.heads, shape.kv_heads, shape.head_dim) == ("gemma3", 34, 8, 4, 256)
    assert (shape.vocabulary, shape.context_max, shape.tied_embeddings) == (262208, 131072, True)
    assert shape.windows == tuple(0 if layer % 6 == 5 else 1024 for layer in range(34))


def test_a_family_that_ties_without_saying() -> None:
    assert read("google/gemma-2-2b-it").tied_embeddings
    assert not read("google/gemma-2-2b-it", tie_word_embeddings=False).tied_embeddings


def test_latent_attention() -> None:
    shape = read("deepseek-ai/DeepSeek-V3.1")
    assert (shape.name, shape.heads, shape.kv_heads, shape.head_dim, shape.value_head_dim) == (
        "deepseek2", 128, 128, 192, 128,
    )  # fmt: skip
    assert (shape.q_lora_rank, shape.kv_lora_rank, shape.rope_head_dim) == (1536, 512, 64)
    assert (shape.experts, shape.shared_experts, shape.dense_layers) == (256, 1, 3)
    assert read("deepseek-ai/DeepSeek-V3.1", q_lora_rank=None).q_lora_rank == 0


def test_latent_values_as_wide_as_keys_count_as_usual() -> None:
    shape = read("zai-org/GLM-4.7-Flash")
    assert (shape.head_dim, shape.value_head_dim) == (256, 0)


def test_a_hybrid() -> None:
    shape = read("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert shape.name == "qwen3next"
    assert sum(shape.recurrent) == 36
    assert shape.recurrent[:4] == (True, True, True, False)
    assert (shape.ssm_inner_size, shape.ssm_state_size, shape.ssm_groups, shape.ssm_heads) == (4096, 128, 16, 32)
    assert (shape.shared_experts, shape.shared_expert_feed_forward) == (1, 0)
    listed = ["linear_attention", "full_attention"] * 24
    assert read("Qwen/Qwen3-Next-80B-A3B-Instruct", layer_types=listed).full_attention_interval == 2


@pytest.mark.parametrize(
    ("repository", "change", "expected"),
    [
        ("openai/gpt-oss-20b", {}, (128, 2)),
        ("openai/gpt-oss-20b", {"layer_types": ["sliding_attention"] * 24}, (128, 0)),
        ("openai/gpt-oss-20b", {"layer_types": ["full_attention"] * 24}, (0, 0)),
        (
            "openai/gpt-oss-20b",
            {"layer_types": ["full_attention"] + ["sliding_attention"] * 23},
            (128, 0),
        ),  # layer by layer
        ("openai/gpt-oss-20b", {"layer_types": "all"}, (128, 2)),
        ("LGAI-EXAONE/EXAONE-4.0-32B", {}, (4096, 4)),
        ("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window_pattern": 4}, (4096, 4)),
        ("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window_pattern": "LLGL"}, (4096, 0)),  # layer by layer
        ("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window_pattern": ""}, (0, 0)),
        ("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window_pattern": -1}, (0, 0)),
        ("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window": None}, (0, 0)),
        ("microsoft/Phi-3.5-mini-instruct", {}, (0, 0)),
        ("Qwen/Qwen3-8B", {"sliding_window": 4096}, (0, 0)),
        ("Qwen/Qwen3-8B", {"sliding_window": 4096, "use_sliding_window": True}, (0, 0)),
    ],
)
def test_windows(repository: str, change: dict[str, Any], expected: tuple[int, int]) -> None:
    shape = read(repository, **change)
    assert (shape.sliding_window, shape.sliding_pattern) == expected


def test_an_irregular_window_is_kept_layer_by_layer() -> None:
    shape = read("LGAI-EXAONE/EXAONE-4.0-32B", sliding_window_pattern="LLGL")
    assert shape.windows[:8] == (4096, 4096, 0, 4096) * 2


def test_encoders_count_positions_from_two() -> None:
    base = {"model_type": "xlm-roberta", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 24, "max_position_embeddings": 8194, "vocab_size": 250002}  # fmt: skip
    shape = architecture_of(base, "bge-m3")
    assert (shape.name, shape.context_max, shape.attention_bias) == ("bert", 8192, True)


def test_other_words_for_the_same_numbers() -> None:
    assert read("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct").layers == 32
    cohere = {**CONFIGS["meta-llama/Llama-3.3-70B-Instruct"], "model_type": "cohere", "model_max_length": 131072}
    del cohere["tie_word_embeddings"]
    shape = architecture_of(text_body(cohere), "cohere")
    assert (shape.name, shape.context_max, shape.tied_embeddings) == ("command-r", 131072, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_lora_rank": -1}, "kv_lora_rank is -1"),
        ({"qk_rope_head_dim": None}, "qk_rope_head_dim is missing"),
        ({"n_routed_experts": "many"}, "n_routed_experts is 'many'"),
        ({"first_k_dense_replace": 1.5}, "first_k_dense_replace is 1.5"),
    ],
)
def test_a_senseless_number_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        read("deepseek-ai/DeepSeek-V3.1", **change)


def test_periods() -> None:
    assert period([True, True, False, True, True, False]) == 3
    assert period([True, True]) == 0
    assert period([False, False]) == 1
    assert period([False, True, True]) is None
    assert window_and_pattern(512, None, 4096) == (0, 0)
    assert window_and_pattern(512, 1, 4096) == (0, 0)
    assert window_and_pattern(4096, 2, 4096) == (0, 0)
    assert window_and_pattern(512, 6, 4096) == (512, 6)


@pytest.mark.parametrize(
    ("declared", "labels", "expected"),
    [
        ("XLMRobertaForSequenceClassification", {"id2label": {"0": "LABEL_0"}}, True),
        ("BertForSequenceClassification", {"num_labels": 1}, True),
        ("ModernBertForSequenceClassification", {"id2label": {"0": "LABEL_0"}}, True),
        ("BertForSequenceClassification", {"id2label": {"0": "no", "1": "yes"}}, False),
        ("BertForSequenceClassification", {}, False),
        ("XLMRobertaModel", {"id2label": {"0": "LABEL_0"}}, False),
        ("LlamaForSequenceClassification", {"id2label": {"0": "LABEL_0"}}, False),
    ],
)
def test_an_encoder_with_one_label_is_a_reranker(declared: str, labels: dict[str, Any], expected: bool) -> None:
    shape = {"model_type": "bert", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
             "num_hidden_layers": 2, "max_position_embeddings": 512, "vocab_size": 100}  # fmt: skip
    document = {**shape, "architectures": [declared], **labels}
    assert parse_config(json.dumps(document).encode(), "m").reranker is expected
