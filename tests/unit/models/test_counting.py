"""The number of weights, against totals that makers publish to the last one."""

import pytest

from deployer.models.counting import count_parameters
from deployer.models.hf_architecture import architecture_of, text_body
from deployer.types import Architecture
from tests.unit.models.hf_configs import CONFIGS

# Totals that are published for these models.
PUBLISHED = {
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-Next-80B-A3B-Instruct": 79_674_391_296,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "google/gemma-2-2b-it": 2_614_341_888,
    "openai/gpt-oss-20b": 20_914_757_184,
    "deepseek-ai/DeepSeek-V3.1": 671_026_419_200,
    "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct": 7_818_448_896,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
}


@pytest.mark.parametrize("repository", PUBLISHED)
def test_counted_is_published(repository: str) -> None:
    shape = architecture_of(text_body(CONFIGS[repository]), repository)
    assert count_parameters(shape) == PUBLISHED[repository]


def encoder(name: str, context: int, vocabulary: int, layers: int, width: int) -> Architecture:
    return Architecture(
        name=name, layers=layers, embedding=width, feed_forward=4 * width, heads=width // 64, kv_heads=width // 64,
        head_dim=64, vocabulary=vocabulary, context_max=context, attention_bias=name == "bert",
    )  # fmt: skip


def test_encoders() -> None:
    assert count_parameters(encoder("bert", 8192, 250002, 24, 1024)) == 567_754_752  # bge-m3
    assert count_parameters(encoder("bert", 512, 250002, 24, 1024)) == 559_890_432  # multilingual-e5-large
    assert count_parameters(encoder("nomic-bert", 2048, 30528, 12, 768)) == 136_731_648  # nomic-embed-text-v1.5
