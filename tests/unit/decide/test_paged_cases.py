"""The arithmetic of vLLM and SGLang against what their logs say."""

import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.decide.paged_layers import layers_of
from deployer.decide.paged_pool import Layer, pool, split
from deployer.decide.paged_weights import rank_bytes, stage_layers
from deployer.decide.paged_work import COMMUNICATION_FAST_MIB, MIB, graph_sizes, work
from deployer.decide.weights import Weights, packed_layout
from deployer.types import Architecture, WeightLayout

GIB = 1024**3
ROUNDED = 0.005
KNOWN: dict[str, Any] = msgspec.json.decode((Path(__file__).parent / "paged_cases.json").read_bytes())
CASES: list[dict[str, Any]] = KNOWN["cases"]


def architecture(case: dict[str, Any]) -> Architecture:
    return msgspec.convert(case["architecture"], Architecture)


def weights(of: Architecture, bits: float = 16.0) -> Weights:
    return Weights(packed_layout(of, bits), "computed", 1.0, of.tied_embeddings)


def scored(key: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["observed"][key]]


def name(case: dict[str, Any]) -> str:
    return str(case["id"])


def test_the_table_has_what_it_is_to_score() -> None:
    assert (len(scored("weights_gib")), len(scored("available_gib")), len(scored("graphs_gib"))) == (6, 6, 5)
    assert all(case["source"].startswith("https://") for case in CASES)


@pytest.mark.parametrize("case", scored("weights_gib"), ids=name)
def test_weights_of_a_rank_are_within_one_percent(case: dict[str, Any]) -> None:
    of = architecture(case)
    found = rank_bytes(of, weights(of, case["bits_per_weight"]), ranks=case["ranks"]) / GIB
    assert found == pytest.approx(case["observed"]["weights_gib"], rel=0.01)


def test_the_median_error_of_weights_is_below_a_third_of_a_percent() -> None:
    errors = []
    for case in scored("weights_gib"):
        of = architecture(case)
        found = rank_bytes(of, weights(of, case["bits_per_weight"]), ranks=case["ranks"]) / GIB
        errors.append(abs(found / case["observed"]["weights_gib"] - 1))
    assert statistics.median(errors) < 0.0033


@pytest.mark.parametrize("case", scored("available_gib"), ids=name)
def test_tokens_of_the_logged_memory_are_those_logged(case: dict[str, Any]) -> None:
    """The log rounds memory to 0.01 GiB, so its tokens lie between those of both ends."""
    made = pool(
        "vllm",
        layers_of(architecture(case), "vllm", ranks=case["ranks"], kv_type="auto"),
        context=case["context"],
        batch=case["batch"],
    )
    observed = case["observed"]
    for available, tokens, times in zip(
        sorted(observed["available_gib"]), sorted(observed["tokens"]), sorted(observed["concurrency"]), strict=True
    ):
        least, most = (int((available + end) * GIB) for end in (-ROUNDED, ROUNDED))
        assert made.tokens(least) <= tokens <= made.tokens(most)
        assert made.concurrency(least) - 0.01 <= times <= made.concurrency(most) + 0.01
        assert made.tokens(int(available * GIB)) == pytest.approx(tokens, rel=max(0.001, ROUNDED / available))


@pytest.mark.parametrize("case", [case for case in CASES if case["card_gib"]], ids=name)
def test_what_is_beside_weights_and_pool_is_not_more_than_estimated(case: dict[str, Any]) -> None:
    observed, of = case["observed"], architecture(case)
    needs = work(of, "vllm", batch=case["batch"], slots=case["slots"], ranks=case["ranks"], layers=of.layers)
    estimated = needs.compute_mib + needs.overhead_mib + (COMMUNICATION_FAST_MIB if case["ranks"] > 1 else 0)
    rest = case["card_gib"] * case["fraction"] - observed["weights_gib"] - min(observed["available_gib"])
    assert rest * 1024 <= estimated <= rest * 1024 * 2.5


@pytest.mark.parametrize("case", scored("graphs_gib"), ids=name)
def test_captured_graphs_are_not_more_than_estimated(case: dict[str, Any]) -> None:
    needs = work(architecture(case), "vllm", batch=2048, slots=256, ranks=1, layers=case["architecture"]["layers"])
    assert case["observed"]["graphs_gib"] * 1024 <= needs.graphs_mib


def test_the_pools_of_a_model_with_windows_as_sglang_logged_them() -> None:
    """Pool = after loading - before * (1 - 0.88); 12 full layers, 36 with a window, which get 0.8 times the tokens."""
    case = KNOWN["sglang"]
    layers = [Layer(token_bytes=case["token_bytes"])] * case["full_layers"]
    layers += [Layer(token_bytes=case["token_bytes"], window=case["window"])] * case["window_layers"]
    made = split(layers, context=case["context"], batch=case["batch"])
    available = int((case["after_gib"] - case["before_gib"] * (1 - case["fraction"])) * GIB)
    assert made.tokens(available) == pytest.approx(case["full_tokens"], rel=0.01)
    assert int(case["full_tokens"] * 0.8) == case["window_tokens"]
    assert made.concurrency(available) < 1


def test_graph_sizes_follow_the_slots() -> None:
    """1, 2, 4; up to 512: 3 + 31 + 17."""
    assert [graph_sizes(slots) for slots in (1, 2, 8, 256, 1024)] == [2, 3, 5, 51, 51]


def test_few_slots_need_less_than_many() -> None:
    of = architecture(CASES[0])
    few, many = (work(of, "vllm", batch=2048, slots=slots, ranks=1, layers=64) for slots in (4, 256))
    assert many.compute_mib - few.compute_mib == pytest.approx(252 * 151936 * 4 * 7 / MIB, abs=2)
    assert few.graphs_mib < many.graphs_mib


def test_what_is_whole_on_every_rank() -> None:
    """1000 layers' bytes of 2 B; norms and router whole; KV heads repeated beyond their number; vocabulary to 64."""
    of = Architecture(
        name="x", layers=1, embedding=256, feed_forward=512, heads=8, kv_heads=2, head_dim=32, vocabulary=100,
        context_max=0, experts=4, experts_used=1,
    )  # fmt: skip
    layout = WeightLayout(input_bytes=100 * 256 * 2, layer_bytes=(10_000_000,), output_bytes=100 * 256 * 2)
    made = Weights(layout, "exact", 1.0, False)
    whole, rows = (2 + 4) * 256 * 2, 2 * 128 * 256 * 2
    assert rank_bytes(of, made, ranks=1) == 10_000_000 + rows
    assert rank_bytes(of, made, ranks=2) == (10_000_000 - whole + rows) // 2 + whole
    repeated = rank_bytes(of, made, ranks=4) - ((10_000_000 - whole + rows) // 4 + whole)
    assert repeated == int((32 + 32) * 256 * 0.5 * 4.0)


def test_latent_attention_keeps_its_up_projection_twice() -> None:
    of = Architecture(
        name="deepseek2", layers=1, embedding=64, feed_forward=64, heads=4, kv_heads=4, head_dim=24, vocabulary=64,
        context_max=0, kv_lora_rank=32, rope_head_dim=8, value_head_dim=16,
    )  # fmt: skip
    layout = WeightLayout(input_bytes=0, layer_bytes=(1_000_000,), output_bytes=0)
    found = rank_bytes(of, Weights(layout, "exact", 1.0, False), ranks=1)
    assert found == 1_000_000 + 32 * 4 * (16 + 16) * 2


def test_stages_hold_all_layers_once_and_both_ends() -> None:
    assert stage_layers(32, 3) == (11, 11, 10)
    assert stage_layers(10, 4) == (2, 3, 3, 2)
    of = architecture(CASES[1])
    made = weights(of)
    stages = [rank_bytes(of, made, stages=3, stage=stage) for stage in range(3)]
    tables = 2 * 8192 * 128 * 2
    assert sum(stages) == pytest.approx(rank_bytes(of, made) + tables, abs=100)
    assert stages[0] > stages[1]


@pytest.mark.parametrize("case", scored("tokens"), ids=name)
def test_more_ranks_never_make_a_rank_larger(case: dict[str, Any]) -> None:
    of = architecture(case)
    sizes = [rank_bytes(of, weights(of), ranks=ranks) for ranks in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
