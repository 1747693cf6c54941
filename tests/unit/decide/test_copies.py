"""Copies of a model in an engine that holds one a process: several servers behind a gateway, where users are many."""

import re

import msgspec
import pytest

from deployer.decide.candidates import Candidate, Device
from deployer.decide.copies import most_apart, of_all, one_copy, part_of
from deployer.decide.device_sets import device_sets
from deployer.decide.fit import fit_table
from deployer.errors import NoFitError
from deployer.types import HostFacts, Request
from tests.unit.decide.hosts import gpu, host, knowledge, model, plan
from tests.unit.decide.test_correction import observed
from tests.unit.decide.test_correction import plan as learned_plan
from tests.unit.decide.test_parallel import devices, flag, shapes
from tests.unit.decide.test_rule_table import GGUF, only

replace = msgspec.structs.replace
P40 = ("Tesla P40", "6.1", 24576)
RTX = ("GeForce RTX 3090", "8.6", 24576)
LLAMA = next(engine for engine in knowledge().engines if engine.engine == "llama.cpp")
SMALL, MEDIUM, LARGE = "qwen2.5-7b-instruct", "qwen2.5-14b-instruct", "llama-3.3-70b-instruct"


def p40s(count: int = 4) -> HostFacts:
    return host(*[gpu(index, *P40) for index in range(count)], ram_mib=128000)


@pytest.mark.parametrize(
    ("what", "users", "copies", "cards"),
    [(SMALL, 1, 1, 1), (SMALL, 8, 1, 1), (SMALL, 16, 2, 2), (SMALL, 32, 4, 4), (SMALL, 200, 4, 4),
     (MEDIUM, 8, 4, 4), (LARGE, 1, 1, 3), (LARGE, 8, 2, 4)],
)  # fmt: skip
def test_users_decide_how_many_copies(what: str, users: int, copies: int, cards: int) -> None:
    found = plan(p40s(), what, users=users)
    assert (found.engine, found.copies, len(found.devices)) == ("llama.cpp", copies, cards)
    assert found.settings.data_parallel == copies
    assert (found.gateway is not None) == (copies > 1)


def test_copies_give_each_user_more_and_the_reason_says_how_much() -> None:
    found = plan(p40s(), SMALL, users=32)
    alone = plan(p40s(), SMALL, users=32, gpus=(0,))
    assert (found.speed.total_tokens_per_s or 0) > 2 * (alone.speed.total_tokens_per_s or 0)
    said = found.reasons[2]
    assert "4 copies of the model behind a gateway, each for up to 8 users at once on a GPU of its own" in said
    rates = re.search(
        r"about (\S+) tokens/s each with 32 users busy, where one server on Tesla P40 gives about (\S+)", said
    )
    assert rates is not None
    assert float(rates[1]) > 2 * float(rates[2].rstrip(";"))


def test_each_copy_is_told_its_own_part() -> None:
    found = plan(p40s(), SMALL, users=32)
    assert (found.settings.slots, flag(found, "--parallel"), flag(found, "--ctx-size")) == (32, "8", str(8 * 8192))
    assert (flag(found, "--device"), flag(found, "--tensor-split")) == ("CUDA0", None)
    assert (found.settings.threads, flag(found, "--threads")) == (4, "4")  # of 16 cores
    assert int(flag(found, "--cache-ram") or 0) * 4 == found.settings.prompt_cache_mib > 0
    assert "--data-parallel-size" not in found.command


def test_copies_of_several_cards_are_each_split_by_layers() -> None:
    found = plan(p40s(), LARGE, users=8)
    assert (flag(found, "--device"), flag(found, "--tensor-split")) == ("CUDA0,CUDA1", "41,40")
    assert found.settings.gpu_layers == 81
    assert "each for up to 4 users at once on 2 GPUs, split 41 + 40" in found.reasons[2]


def test_memory_is_that_of_one_server_with_its_part_of_the_users_on_every_card() -> None:
    found, alone = (
        plan(p40s(), SMALL, users=32, quantization="Q6_K"),
        plan(p40s(1), SMALL, users=8, quantization="Q6_K"),
    )
    *cards, main = found.memory.devices
    assert [card.device for card in cards] == [device.uuid for device in found.devices]
    assert {card.total_mib for card in cards} == {alone.memory.devices[0].total_mib}
    assert main.total_mib == 4 * alone.memory.devices[-1].total_mib
    ceiling, limit = alone.limits.memory_mib or 0, found.limits.memory_mib or 0
    assert limit <= ceiling  # of each container; its prompt cache is a part of the same


def test_the_card_with_the_least_room_decides_for_all() -> None:
    tight = host(gpu(0, *P40), gpu(1, *P40, memory_free_mib=12000), ram_mib=128000)
    found = plan(tight, SMALL, users=16, gpus=(0, 1))
    if found.copies == 2:
        first, second, _ = found.memory.devices
        assert first.total_mib == second.total_mib
        assert (first.available_mib, second.available_mib) == (24276, 12000)
    assert found.memory.fits
    full = host(gpu(0, *P40), gpu(1, *P40, memory_free_mib=3000), ram_mib=128000)
    assert plan(full, SMALL, users=16, gpus=(0, 1)).copies == 1


def test_unlike_cards_hold_no_copies() -> None:
    mixed = host(gpu(0, *P40), gpu(1, *RTX), ram_mib=128000)
    assert plan(mixed, only(GGUF), engine="llama.cpp", users=32).copies == 1


@pytest.mark.parametrize("facts", [{"uuid": None}, {"unified_memory": True}, {"vendor": "amd"}])
def test_a_card_that_cannot_be_handed_over_by_uuid_or_shares_its_memory_holds_none(facts: dict[str, object]) -> None:
    cards = [replace(device, gpu=replace(device.gpu, **facts)) for device in devices(P40, P40)]
    asked, image = Request(model="m", users=8), "server-cuda"
    assert most_apart(candidate_on(image, cards), asked) == 0
    assert most_apart(candidate_on(image, devices(P40, P40)), asked) == 8
    assert most_apart(candidate_on(image, devices(P40, P40)), replace(asked, slots=3)) == 3
    assert most_apart(candidate_on("server-vulkan", devices(P40, P40)), Request(model="m", users=8)) == 0


def candidate_on(image: str, cards: list[Device]) -> Candidate:
    chosen = next(item for item in LLAMA.images if item.id == image)
    return Candidate(LLAMA, chosen, GGUF, tuple(cards))


def test_a_program_on_this_host_has_no_copies_and_uses_no_gpu() -> None:
    where = replace(p40s(), container=None, programs={"llama-server": "/usr/bin/llama-server"})
    found = plan(where, SMALL, users=32, runtime="process")
    assert (found.copies, found.gateway, found.devices) == (1, None, ())
    assert any("no GPU is used" in text for text in found.warnings)


def test_sets_of_copies_are_doubled_and_never_more_than_users() -> None:
    architecture = model(LARGE).architecture
    eight = devices(*[P40] * 8)
    made = {one for one in shapes(device_sets(eight, LLAMA, architecture, users=99, apart=99)) if one[1] > 1}
    assert {(2, 2, 1), (4, 4, 1), (8, 8, 1), (4, 2, 1), (8, 4, 1), (6, 2, 1), (8, 2, 1), (6, 3, 1)} >= made
    assert {(2, 2, 1), (8, 8, 1), (8, 2, 1)} <= made
    few = shapes(device_sets(eight, LLAMA, architecture, users=99, apart=3))
    assert max(copies for _, copies, _ in few) == 3
    assert all(copies == 1 for _, copies, _ in shapes(device_sets(eight, LLAMA, architecture, users=99)))
    mixture = replace(architecture, experts=8, experts_used=2)
    assert any(copies == 8 for _, copies, _ in shapes(device_sets(eight, LLAMA, mixture, users=99, apart=99)))


def test_never_more_copies_than_slots_were_asked_for() -> None:
    found = plan(p40s(), MEDIUM, users=32, slots=2)
    assert found.copies <= 2
    assert found.settings.slots == 2


def test_batches_of_many_take_every_card() -> None:
    assert plan(p40s(), SMALL, users=8, workload="batch").copies == 4
    assert plan(p40s(), SMALL, users=8).copies == 1


def test_the_table_of_what_fits_is_about_one_server() -> None:
    request = Request(model=SMALL, users=32)
    rows = fit_table(request, p40s(), model(SMALL), knowledge()).rows
    assert rows
    assert all(cell.slots == 32 for row in rows for cell in row.cells if cell.fits)


def test_the_gateway_lets_the_engines_routes_through_and_passes_the_key() -> None:
    gateway = plan(p40s(), SMALL, users=32).gateway
    assert gateway is not None
    assert {"GET /v1/models", "POST /v1/chat/completions", "GET /metrics"} <= set(gateway.routes)
    assert "GET /slots" not in gateway.routes
    assert (gateway.passes_key, gateway.lists) == (True, False)


def test_health_alone_is_open() -> None:
    assert plan(p40s(), SMALL, users=32).health.public_paths == ("/health",)
    assert plan(p40s(), SMALL, users=1).health.public_paths == ("/health", "/v1/health")


def test_main_memory_is_corrected_by_as_many_copies_only() -> None:
    before = plan(p40s(), SMALL, users=32)
    seen = observed(before, {"host": before.memory.devices[-1].total_mib + 2000})
    again = learned_plan(p40s(), seen, users=32, quantization=before.model.quantization)
    assert again.copies == before.copies
    assert again.memory.devices[-1].formula is not None
    alone = learned_plan(p40s(), seen, users=1, quantization=before.model.quantization)
    assert alone.copies == 1
    assert alone.memory.devices[-1].formula is None


def test_a_copy_that_does_not_fit_is_a_refusal_with_numbers() -> None:
    with pytest.raises(NoFitError) as refused:
        plan(p40s(2), "llama-3.3-70b-instruct", users=8, context=131072, slots=8, engine="llama.cpp", gpus=(0, 1))
    assert "MiB are missing" in str(refused.value)


def test_one_copy_of_one_is_itself() -> None:
    candidate = candidate_on("server-cuda", devices(P40))
    where = p40s()
    memory = plan(where, SMALL).memory
    assert one_copy(candidate) is candidate
    assert part_of(where, 1) is where
    assert of_all(memory, candidate, where) is memory
    assert part_of(where, 4).memory.available_mib == 32000
