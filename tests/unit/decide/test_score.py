"""The second stage: named parts with reasons, and an order that never depends on chance."""

import sys
from collections import Counter

import msgspec
import pytest

from deployer.decide.choose import consider
from deployer.decide.host import complete
from deployer.errors import ProfileError
from deployer.types import Request
from tests.unit.decide.hosts import gpu, host, knowledge, model, plan, sample

replace = msgspec.structs.replace
P40 = ("Tesla P40", "6.1", 24576)


def points(name: str, **asked: object) -> dict[str, float]:
    return {part.part: part.value for part in plan(sample(name), **asked).score}  # type: ignore[arg-type]


def test_every_part_is_there_with_its_reason() -> None:
    found = plan(sample("p40x2-580"))
    assert [part.part for part in found.score] == [
        "workload", "quality", "speed", "first-token", "gpu", "accelerator", "verified", "prebuilt", "container", "key",
        "present", "compiled", "arithmetic", "unmeasured", "given-up", "devices",
    ]  # fmt: skip
    total = round(sum(part.value for part in found.score), 3)
    assert all(item.total <= total for item in found.runner_up)
    assert len(found.runner_up) == 5


def test_more_users_take_fewer_bits_rather_than_wait() -> None:
    alone = plan(sample("p40x2-580"), "qwen2.5-14b-instruct", users=1)
    crowd = plan(sample("p40x2-580"), "qwen2.5-14b-instruct", users=4, gpus=(0,))
    size = {"Q8_0": 8, "Q6_K": 6, "Q5_K_M": 5, "Q4_K_M": 4, "Q4_0": 4, "Q3_K_M": 3}
    assert size[crowd.model.quantization] < size[alone.model.quantization]


def test_a_model_that_is_here_is_preferred_to_a_little_more_quality() -> None:
    spec = model("qwen2.5-7b-instruct")
    here = replace(spec, variants=tuple(replace(item, present=item.quantization == "Q6_K") for item in spec.variants))
    assert plan(sample("rtx4090-580"), spec).model.quantization == "Q8_0"
    assert plan(sample("rtx4090-580"), here).model.quantization == "Q6_K"


def test_f16_is_not_better_than_q8_0() -> None:
    assert plan(sample("a100-80-580"), "qwen2.5-7b-instruct").model.quantization == "Q8_0"


def test_a_tie_is_decided_by_the_order_of_the_profile() -> None:
    found = plan(sample("rtx4090-580"), "qwen2.5-7b-instruct")
    assert found.image.profile == "server-cuda"
    assert found.runner_up[0].image == "server-cuda13"
    assert found.runner_up[0].total == round(sum(part.value for part in found.score), 3)


def test_a_fast_single_card_beats_a_slow_pair() -> None:
    found = plan(host(gpu(0, *P40), gpu(1, "GeForce RTX 3090", "8.6", 24576)), "qwen2.5-7b-instruct")
    assert [device.index for device in found.devices] == [1]


def test_a_crawling_model_gets_no_more_bits_than_it_must() -> None:
    found = plan(sample("rtx4090-580"), "llama-3.3-70b-instruct", users=4)
    assert found.model.quantization in ("Q3_K_M", "Q4_K_M")
    assert any("a smaller model would answer sooner" in text for text in found.warnings)


def test_an_unknown_bandwidth_is_no_guess() -> None:
    found = plan(host(gpu(0, "Card of tomorrow", "8.9", 24576)))
    assert found.speed.decode_tokens_per_s is None
    assert "unknown" in found.speed.basis


def test_thousands_of_candidates_take_little_work_each() -> None:
    """Counted in calls (about 250 each), which no slow machine changes: at 2,000 candidates 250 calls are 0.1 s."""
    kinds = [P40] * 4 + [("Tesla V100", "7.0", 32768)] * 2 + [("GeForce RTX 3090", "8.6", 24576)] * 2
    cards = [gpu(index, name, capability, total) for index, (name, capability, total) in enumerate(kinds)]
    where, _ = complete(host(*cards, ram_mib=256000), knowledge().gpus)
    engines = tuple(replace(knowledge().engines[0], engine=f"engine{index}") for index in range(10))
    many = replace(knowledge(), engines=engines)
    request = Request(model="qwen2.5-7b-instruct", users=8)
    wanted, events, before = model("qwen2.5-7b-instruct"), Counter[str](), sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: events.update((event,)))
    try:
        found = consider(request, where, wanted, many, verified=(), unavailable={})
    finally:
        sys.setprofile(before)
    assert len(found.ranked) > 1000
    assert 0 < events["call"] + events["c_call"] < 1000 * len(found.ranked)


def test_an_unknown_estimator_is_a_broken_profile() -> None:
    engine = replace(knowledge().engines[0], memory="guess")
    with pytest.raises(ProfileError, match="no estimator is called 'guess'"):
        plan(sample("p40x2-580"), known=replace(knowledge(), engines=(engine,)))


def test_what_is_given_up_is_told_in_the_unit_of_what_is_had() -> None:
    found = plan(sample("cpu-avx512"), model("qwen2.5-7b-instruct"), users=4)
    said = next(text for text in found.given_up if "which fits" in text)
    had = next(part.why for part in found.score if part.part == "speed")
    assert "each with 4 users busy, with prompts read" in had
    assert "each with 4 users busy, with prompts read" in said
    numbers = [float(text.split("about ")[1].split()[0]) for text in (had, said)]
    assert numbers[0] > numbers[1]


def test_an_embedding_model_only_reads() -> None:
    found = plan(sample("cpu-avx512"), model("bge-m3"), workload="embedding")
    said = " ".join((*found.reasons, *found.warnings, *(part.why for part in found.score)))
    assert "tokens/s, of a prompt" in said
    assert "comfortable" not in said
    assert "answer" not in said
