"""The order of sacrifice: what is given up first, what is said about it, and what is never given up."""

import msgspec
import pytest

from deployer.decide.candidates import Candidate, Device
from deployer.decide.settings import MOST_SLOTS, SACRIFICES, SLOTS_PER_CORE, offers, waiting_cost, wanted_offers
from deployer.types import EngineProfile, Request
from tests.unit.decide.hosts import gpu, host, knowledge, model

QWEN = model("qwen2.5-7b-instruct")
CARD = Device(gpu(0, "Tesla P40", "6.1", 24576))


def engine(name: str) -> EngineProfile:
    return next(item for item in knowledge().engines if item.engine == name)


def candidate(name: str = "llama.cpp", *, cpu: bool = False, **changes: object) -> Candidate:
    found = engine(name)
    wanted = "cpu" if cpu else "cuda"
    image = next(item for item in found.images if item.accelerator == wanted)
    made = Candidate(found, image, QWEN.variants[0], devices=() if cpu else (CARD,))
    return msgspec.structs.replace(made, **changes)


def wanted(about: Candidate, **words: object) -> list[tuple[int, int, str]]:
    request = msgspec.convert({"model": "x", **words}, Request)
    return [
        (offer.slots, offer.context, offer.kv_type)
        for offer in wanted_offers(about, host(), QWEN.architecture, request)
    ]


def test_the_order_is_kv_type_then_context_then_slots() -> None:
    assert [item.name for item in SACRIFICES if item.kind == "offer"] == ["kv-type", "context", "slots"]
    assert wanted(candidate(), users=2) == [
        (2, 8192, "f16"), (2, 8192, "q8_0"),
        (2, 4096, "f16"), (2, 4096, "q8_0"),
        (2, 2048, "f16"), (2, 2048, "q8_0"),
        (1, 8192, "f16"), (1, 8192, "q8_0"),
        (1, 4096, "f16"), (1, 4096, "q8_0"),
        (1, 2048, "f16"), (1, 2048, "q8_0"),
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "types"), [(128, {"f16", "q8_0"}), (80, {"f16"})])
def test_heads_that_blocks_do_not_divide_keep_their_16_bits(width: int, types: set[str]) -> None:
    shape = msgspec.structs.replace(QWEN.architecture, head_dim=width)
    found = wanted_offers(candidate(), host(), shape, Request(model="x"))
    assert {offer.kv_type for offer in found} == types


def test_who_never_gets_a_slot_costs_as_much_as_halved_slots() -> None:
    offer = wanted_offers(candidate(), host(), QWEN.architecture, Request(model="x", users=128))[0]
    slots = next(item.cost for item in SACRIFICES if item.name == "slots")
    assert offer.best_slots == MOST_SLOTS["llama.cpp"]
    assert waiting_cost(offer, Request(model="x", users=128)) == slots
    assert waiting_cost(offer, Request(model="x", users=64)) == 0
    assert waiting_cost(offer, Request(model="x", users=128, slots=64)) == 0


def test_every_step_says_what_was_given_up_and_counts() -> None:
    best, *others, last = offers(4, (8192, 4096), ("f16", "q8_0"))
    assert (best.steps_down, best.given_up) == (0, ())
    assert all(offer.steps_down > 0 and offer.given_up for offer in others)
    assert last.given_up == (
        "KV cache in q8_0 instead of f16 (half the memory, slightly less exact)",
        "4096 tokens of context instead of 8192",
        "1 of 4 users served at once; the others wait their turn",
    )
    cost = {item.name: item.cost for item in SACRIFICES}
    assert last.steps_down == cost["context"] + cost["kv-type"] + 2 * cost["slots"]


@pytest.mark.parametrize("users", [1, 3, 40])
def test_what_was_asked_for_stands_alone(users: int) -> None:
    found = wanted(candidate(), users=users, context=5000, slots=3, kv_type="q4_0")
    assert found == [(3, 5000, "q4_0")]


def test_an_explicit_context_leaves_the_other_steps() -> None:
    assert wanted(candidate(), users=2, context=5000) == [
        (2, 5000, "f16"), (2, 5000, "q8_0"), (1, 5000, "f16"), (1, 5000, "q8_0")
    ]  # fmt: skip


def test_users_wait_but_slots_do_not() -> None:
    assert {slots for slots, _, _ in wanted(candidate(), users=8)} == {8, 4, 2, 1}
    assert {slots for slots, _, _ in wanted(candidate(), users=8, slots=8)} == {8}


def test_slots_are_bounded_by_themselves_and_not_when_asked_for() -> None:
    assert wanted(candidate(), users=500)[0][0] == MOST_SLOTS["llama.cpp"]
    assert wanted(candidate(), users=500, slots=200)[0][0] == 200
    assert wanted(candidate(cpu=True), users=500)[0][0] == min(SLOTS_PER_CORE * 16, MOST_SLOTS["llama.cpp"])


def test_an_engine_that_cannot_be_told_a_type_falls_back_to_none() -> None:
    mute = msgspec.structs.replace(engine("llama.cpp"), kv_types=("f16",))
    assert {kv_type for _, _, kv_type in wanted(candidate(engine=mute), users=2)} == {"f16"}


def test_every_engine_knows_its_own_first_type() -> None:
    for item in knowledge().engines:
        first = "auto" if item.memory == "paged_kv" else "f16"
        assert first in item.kv_types, item.engine
