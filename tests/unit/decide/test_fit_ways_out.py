"""A refusal for memory names settings that would really fit, each alone; a plan says what it gave up."""

import pytest

from deployer.errors import NoFitError
from deployer.types import Plan
from tests.unit.decide.hosts import gpu, host, model, plan

SEVENTY = "llama-3.3-70b-instruct"
PAIR = host(*(gpu(index, "Tesla P40", "6.1", 24576) for index in range(2)), ram_mib=40000)

ASKED: list[dict[str, object]] = [
    {"quantization": "Q4_K_M", "gpus": [0], "context": 60000, "kv_type": "f16", "slots": 2},
    {"context": 131072, "kv_type": "f16", "quantization": "Q6_K"},
    {"engine": "llama.cpp", "quantization": "Q8_0", "context": 131072, "slots": 2},
    {"slots": 64, "context": 8192, "quantization": "Q4_K_M"},
    {"gpus": [], "quantization": "Q4_K_M"},
]


def refused(asked: dict[str, object]) -> NoFitError:
    with pytest.raises(NoFitError) as caught:
        plan(PAIR, SEVENTY, asked=asked)
    return caught.value


@pytest.mark.parametrize("asked", ASKED)
def test_each_way_out_fits_alone(asked: dict[str, object]) -> None:
    error = refused(asked)
    would_fit = error.details["would_fit"]
    assert isinstance(would_fit, dict)
    assert would_fit
    for name, value in would_fit.items():
        made = plan(PAIR, SEVENTY, asked={**asked, name: value})
        held = {word: given for word, given in asked.items() if word != name}
        assert kept(made, held), (name, value)


def kept(made: Plan, asked: dict[str, object]) -> bool:
    """What was asked for is what the plan has."""
    has = {
        "context": made.settings.context,
        "slots": made.settings.slots,
        "kv_type": made.settings.kv_cache_type,
        "quantization": made.model.quantization,
        "gpus": [device.index for device in made.devices],
        "engine": made.engine,
    }
    return all(has[word] == value for word, value in asked.items() if word != "gpus" or made.devices)


@pytest.mark.parametrize("asked", ASKED)
def test_the_refusal_says_how_much_is_missing_and_what_to_type(asked: dict[str, object]) -> None:
    error = refused(asked)
    assert "MiB are missing" in error.message
    assert "would fit: --" in error.hint
    assert f"deployer fit {SEVENTY}" in error.hint


def test_the_largest_context_is_the_largest_that_a_plan_takes() -> None:
    asked: dict[str, object] = {"context": 131072, "quantization": "Q6_K", "kv_type": "f16"}
    found = refused(asked).details["would_fit"]
    assert isinstance(found, dict)
    largest = found["context"]
    assert plan(PAIR, SEVENTY, asked={**asked, "context": largest}).settings.context == largest
    assert isinstance(refused({**asked, "context": largest + 256}), NoFitError)


def test_where_one_change_is_not_enough_several_are_named() -> None:
    asked: dict[str, object] = {"quantization": "Q8_0", "gpus": [0], "context": 100000, "kv_type": "f16", "slots": 3}
    error = refused(asked)
    found = error.details["would_fit_together"]
    assert isinstance(found, dict)
    assert set(found) == set(asked)
    assert kept(plan(PAIR, SEVENTY, asked=found), found)
    assert "no single change is enough; these together would fit: --context" in error.hint


def test_where_nothing_helps_nothing_is_promised() -> None:
    with pytest.raises(NoFitError) as caught:
        plan(host(ram_mib=900), SEVENTY)
    assert caught.value.details["would_fit"] == {}
    assert "a smaller model or quantization" in caught.value.hint


def test_a_plan_says_what_it_gave_up() -> None:
    tight = plan(host(gpu(0, "Tesla P40", "6.1", 24576), ram_mib=60000), SEVENTY)
    said = " | ".join(tight.given_up)
    assert "layers are in main memory" in said
    assert f"{tight.model.quantization} instead of" in said


def test_a_plan_with_room_gives_nothing_up() -> None:
    roomy = plan(host(gpu(0, "H100", "9.0", 81920)), model("qwen2.5-0.5b-instruct"), quantization="Q8_0")
    assert roomy.given_up == ()
