"""A published config.json of every architecture in the catalog gives the numbers that the catalog states.

Facts of the repositories' config.json files; those that other tests use too are in `hf_configs.py`.
"""

import json
from typing import Any

import pytest

from deployer import catalog
from deployer.errors import ModelFileError
from deployer.models.hf_architecture import architecture_of, text_body
from deployer.models.hf_config import NATIVE, parse_config
from tests.unit.models.hf_configs import CONFIGS

MORE: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-7B-Instruct": {
        "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "intermediate_size": 18944,
        "max_position_embeddings": 32768, "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "sliding_window": 131072, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 152064,
    },
    "CohereForAI/c4ai-command-r-v01": {
        "architectures": ["CohereForCausalLM"], "attention_bias": False, "hidden_size": 8192,
        "intermediate_size": 22528, "max_position_embeddings": 8192, "model_max_length": 131072,
        "model_type": "cohere", "num_attention_heads": 64, "num_hidden_layers": 40, "num_key_value_heads": 64,
        "torch_dtype": "float16", "use_qk_norm": False, "vocab_size": 256000,
    },
    "BAAI/bge-m3": {
        "architectures": ["XLMRobertaModel"], "hidden_size": 1024, "intermediate_size": 4096,
        "max_position_embeddings": 8194, "model_type": "xlm-roberta", "num_attention_heads": 16,
        "num_hidden_layers": 24, "torch_dtype": "float32", "type_vocab_size": 1, "vocab_size": 250002,
    },
    "nomic-ai/nomic-embed-text-v1.5": {
        "architectures": ["NomicBertModel"], "auto_map": {"AutoConfig": "nomic-ai/nomic-bert-2048--configuration.X"},
        "max_trained_positions": 2048, "model_type": "nomic_bert", "n_embd": 768, "n_head": 12, "n_inner": 3072,
        "n_layer": 12, "n_positions": 8192, "qkv_proj_bias": False, "torch_dtype": "float32", "vocab_size": 30528,
    },
    "deepseek-ai/DeepSeek-V3.1": CONFIGS["deepseek-ai/DeepSeek-V3.1"],
}  # fmt: skip

# A catalog entry for each architecture, with a repository whose config.json is the same model's.
SAME = {
    "command-r": ("command-r-35b", "CohereForAI/c4ai-command-r-v01"),
    "qwen2": ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
    "llama": ("llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
    "deepseek2": ("deepseek-v3.1", "deepseek-ai/DeepSeek-V3.1"),
    "bert": ("bge-m3", "BAAI/bge-m3"),
    "nomic-bert": ("nomic-embed-text-v1.5", "nomic-ai/nomic-embed-text-v1.5"),
    "qwen3": ("qwen3-8b", "Qwen/Qwen3-8B"),
    "gemma2": ("gemma-2-2b-it", "google/gemma-2-2b-it"),
    "gemma3": ("gemma-3-4b-it", "google/gemma-3-4b-it"),
    "gpt-oss": ("gpt-oss-20b", "openai/gpt-oss-20b"),
    "exaone": ("exaone-3.5-7.8b-instruct", "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct"),
    "exaone4": ("exaone-4.0-32b", "LGAI-EXAONE/EXAONE-4.0-32B"),
    "phi3": ("phi-3.5-mini-instruct", "microsoft/Phi-3.5-mini-instruct"),
    "qwen3moe": ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"),
    "qwen3next": ("qwen3-next-80b-a3b-instruct", "Qwen/Qwen3-Next-80B-A3B-Instruct"),
}
NUMBERS = (
    *("layers", "embedding", "heads", "kv_heads", "head_dim", "vocabulary", "experts", "experts_used"),
    *("kv_lora_rank", "rope_head_dim", "sliding_window", "sliding_pattern", "full_attention_interval"),
)


def test_every_architecture_of_the_catalog_is_here() -> None:
    assert {model.architecture.name for model in catalog.load_models()} == SAME.keys()


@pytest.mark.parametrize("name", SAME)
def test_a_config_gives_the_numbers_of_the_catalog(name: str) -> None:
    entry, repository = SAME[name]
    stated = next(model.architecture for model in catalog.load_models() if model.name == entry)
    read = architecture_of(text_body({**CONFIGS, **MORE}[repository]), repository)
    assert read.name == name
    assert {word: getattr(read, word) for word in NUMBERS} == {word: getattr(stated, word) for word in NUMBERS}


@pytest.mark.parametrize("name", SAME)
def test_it_opens_unless_the_engines_need_its_code(name: str) -> None:
    _, repository = SAME[name]
    document = {**CONFIGS, **MORE}[repository]
    data = json.dumps(document).encode()
    if name == "exaone":  # not a class of transformers, and no longer one of vLLM
        with pytest.raises(ModelFileError, match="auto_map"):
            parse_config(data, repository)
        return
    found = parse_config(data, repository)
    assert found.architecture.name == name
    assert found.names_code == ("auto_map" in document)
    assert document["model_type"] in NATIVE
