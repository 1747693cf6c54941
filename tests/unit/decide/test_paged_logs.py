"""vLLM and SGLang against further load logs from public sources (paged_logs.json), and what was learned from them."""

import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.decide.candidates import Candidate, Device
from deployer.decide.paged_layers import layers_of
from deployer.decide.paged_pool import pool
from deployer.decide.paged_weights import expert_tile, rank_bytes
from deployer.decide.paged_work import MIB, communication_mib, work
from deployer.decide.weights import Weights, packed_layout, weights_of
from deployer.types import Architecture, Gpu, ModelVariant
from tests.unit.decide.hosts import gpu
from tests.unit.decide.test_estimate_paged import candidate

GIB = 1024**3
ROUNDED = 0.005
KNOWN: dict[str, Any] = msgspec.json.decode((Path(__file__).parent / "paged_logs.json").read_bytes())


def name(case: dict[str, Any]) -> str:
    return str(case["id"])


def architecture(model: str) -> Architecture:
    return msgspec.convert(KNOWN["architectures"][model], Architecture)


def rank_gib(case: dict[str, Any]) -> float:
    of = architecture(case["model"])
    layout = packed_layout(of, case["bits"], experts_only=case["experts_only"])
    weights = Weights(layout, "computed", 1.0, of.tied_embeddings)
    return rank_bytes(of, weights, ranks=case["ranks"], tile=tuple(case["tile"])) / GIB


def test_every_log_says_where_it_is_from() -> None:
    every = KNOWN["weights"] + KNOWN["pools"]
    assert all(case["source"].startswith("https://github.com/") and case["version"] for case in every)
    assert (len(KNOWN["weights"]), len(KNOWN["pools"])) == (7, 8)


@pytest.mark.parametrize("case", KNOWN["weights"], ids=name)
def test_weights_of_a_rank_are_within_one_percent(case: dict[str, Any]) -> None:
    assert rank_gib(case) == pytest.approx(case["weights_gib"], rel=0.01)


def test_the_median_error_of_weights_is_below_a_third_of_a_percent() -> None:
    errors = [abs(rank_gib(case) / case["weights_gib"] - 1) for case in KNOWN["weights"]]
    assert statistics.median(errors) < 0.0033


@pytest.mark.parametrize("case", KNOWN["pools"], ids=name)
def test_tokens_of_the_logged_memory_are_those_logged(case: dict[str, Any]) -> None:
    """The log rounds memory to 0.01 GiB, so what it says lies between what both ends hold."""
    layers = layers_of(architecture(case["model"]), case["engine"], ranks=case["ranks"], kv_type=case["kv_type"])
    if "states" in case:
        layers = tuple(msgspec.structs.replace(layer, states=case["states"]) for layer in layers)
    made = pool(case["engine"], layers, context=case["context"], batch=case["batch"])
    least, most = (int((case["available_gib"] + end) * GIB) for end in (-ROUNDED, ROUNDED))
    if case["tokens"] is not None:
        assert made.tokens(least) <= case["tokens"] <= made.tokens(most)
    if case["concurrency"] is not None:
        assert made.concurrency(least) - 0.005 <= case["concurrency"] <= made.concurrency(most) + 0.005


def served(engine: str, capability: str | None, quantization: str = "MXFP4") -> Candidate:
    cards = () if capability is None else (gpu(0, "NVIDIA GPU", capability, 81_920),)
    variant = ModelVariant(format="safetensors", quantization=quantization, source="hf:a/b", files=())
    made = candidate(engine, *cards)
    return msgspec.structs.replace(made, variant=variant)


@pytest.mark.parametrize(
    ("engine", "capability", "tile"),
    [
        ("vllm", "8.0", (256, 128)),
        ("vllm", "8.9", (256, 128)),
        ("vllm", "9.0", (256, 64)),
        ("vllm", "10.0", (256, 128)),
        ("vllm", "12.0", (256, 128)),
        ("sglang", "9.0", (1, 64)),
        ("sglang", "10.0", (256, 128)),
        ("vllm", None, (1, 1)),
    ],
)
def test_kernels_pad_experts_in_mxfp4_alone(engine: str, capability: str | None, tile: tuple[int, int]) -> None:
    assert expert_tile(served(engine, capability)) == tile
    assert expert_tile(served(engine, capability, "FP8")) == (1, 1)


def test_padding_of_amd_cards_and_of_divided_experts() -> None:
    """The embedding of 2880 becomes 3072 and, on each of two ranks, a width of 1440 becomes 1536."""
    amd = candidate("vllm", Gpu(index=0, vendor="amd", gfx="gfx942"), image="rocm")
    variant = served("vllm", "9.0").variant
    assert expert_tile(msgspec.structs.replace(amd, variant=variant)) == (256, 256)
    of = architecture("gpt-oss-120b")
    weights = Weights(packed_layout(of, 4.25, experts_only=True), "computed", 1.0, False)
    plain, padded = (rank_bytes(of, weights, ranks=2, tile=tile) for tile in ((1, 1), (256, 128)))
    experts = sum(weights.layout.expert_bytes)
    assert padded - plain == pytest.approx(experts / 2 * ((3072 / 2880) * (1536 / 1440) - 1), abs=2)


def test_all_but_the_experts_keeps_16_bits_in_mxfp4() -> None:
    of = architecture("gpt-oss-120b")
    variant = served("vllm", "9.0").variant
    found = weights_of(variant, of, 116_829_156_672, 4.25)
    assert found.layout.total_bytes / GIB == pytest.approx(60.77, rel=0.005)  # files of 65.25 GB
    assert sum(found.layout.expert_bytes) == 36 * int(3 * 128 * 2880 * 2880 * 4.25 / 8)
    files = msgspec.structs.replace(variant, size_bytes=2 * found.layout.total_bytes)
    scaled = weights_of(files, of, 116_829_156_672, 4.25).layout
    assert sum(scaled.expert_bytes) == pytest.approx(2 * sum(found.layout.expert_bytes), rel=0.001)


def test_an_encoder_has_no_head_and_bert_no_gate() -> None:
    """XLM-RoBERTa large: 567.75 million weights; vLLM keeps no keys and values of it."""
    of = Architecture(
        name="bert", layers=24, embedding=1024, feed_forward=4096, heads=16, kv_heads=16, head_dim=64,
        vocabulary=250002, context_max=8192, attention_bias=True,
    )  # fmt: skip
    assert packed_layout(of, 16).total_bytes / 2 == pytest.approx(567_754_752, rel=0.003)
    assert pool("vllm", layers_of(of, "vllm", ranks=1, kv_type="auto"), context=8192, batch=8192).needed(8) == 0
    assert pool("sglang", layers_of(of, "sglang", ranks=1, kv_type="auto"), context=8192, batch=8192).needed(8) > 0


def test_reading_pictures_takes_what_logs_say() -> None:
    """Activations at their peak, on one GPU and on each of two; what is beside weights and pool is no less there."""
    of = architecture("qwen3.8-27b")
    one = work(of, "vllm", batch=2048, slots=8, ranks=1, layers=64, pictures=True)
    two = work(of, "vllm", batch=8192, slots=2, ranks=2, layers=64, pictures=True)
    assert 2.01 <= one.compute_mib / 1024 <= 2.01 * 1.1  # syv-ai/qwen38-27b-rtx3090#107
    assert 1.59 <= two.compute_mib / 1024 <= 1.59 * 1.1  # noonghunna/club-3090#1087
    cards = tuple(Device(gpu(place, "NVIDIA GeForce RTX 5090", "12.0", 32_607)) for place in range(2))
    said = 15.05 - 14.28 + 1.59 + 0.13
    assert two.compute_mib + two.overhead_mib + communication_mib(cards) >= said * 1024


def test_pictures_need_nothing_where_text_needs_more() -> None:
    of = architecture("qwen3.8-27b")
    text, seen = (
        work(of, "vllm", batch=8192, slots=256, ranks=1, layers=64, pictures=pictures) for pictures in (False, True)
    )
    assert text == seen
    plain, kept = (
        work(of, "sglang", batch=8192, slots=256, ranks=1, layers=64, pictures=pictures) for pictures in (False, True)
    )
    assert kept.beside_mib - plain.beside_mib == 100


def test_gpt_oss_120b_did_not_fit_with_a_thousand_slots() -> None:
    """0.9 of an H100: -2.14 GiB were left for keys and values (vllm#23278)."""
    case = KNOWN["weights"][0]
    needs = work(architecture(case["model"]), "vllm", batch=8192, slots=1024, ranks=1, layers=36)
    left = 0.9 * 79.18 - rank_gib(case) - (needs.compute_mib + needs.beside_mib) * MIB / GIB
    assert left < 0
