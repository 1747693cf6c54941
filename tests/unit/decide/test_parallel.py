"""Several GPUs in an engine that divides a model: shared layers, copies and stages, by users and by what divides."""

import pytest

from deployer.decide.candidates import Device
from deployer.decide.device_sets import DeviceSet, asked_sets, device_sets
from deployer.errors import NoFitError
from deployer.types import Architecture, HostFacts, Plan
from tests.unit.decide.hosts import gpu, host, model, plan
from tests.unit.decide.test_rule_table import AWQ, BF16, MIXTURE, QWEN, VLLM, knowing, only, replace

LLAMA_70B = model("llama-3.3-70b-instruct").architecture
RTX = ("GeForce RTX 3090", "8.6", 24576)
CARD = ("GeForce RTX 4090", "8.9", 24564)
H100 = ("NVIDIA H100 80GB HBM3", "9.0", 81559)


def cards(count: int, card: tuple[str, str, int] = CARD) -> HostFacts:
    return host(*[gpu(index, *card) for index in range(count)], ram_mib=256000)


def devices(*kinds: tuple[str, str, int]) -> list[Device]:
    return [Device(gpu(index, *kind)) for index, kind in enumerate(kinds)]


def shape(found: Plan) -> tuple[int, int, int]:
    settings = found.settings
    return settings.tensor_parallel, settings.data_parallel, settings.pipeline_parallel


def shapes(sets: tuple[DeviceSet, ...]) -> set[tuple[int, int, int]]:
    return {(len(one.devices), one.data_parallel, one.pipeline_parallel) for one in sets}


def flag(found: Plan, name: str) -> str | None:
    return found.command[found.command.index(name) + 1] if name in found.command else None


def test_sets_of_copies_are_doubled_and_never_more_than_users() -> None:
    eight = devices(*[RTX] * 8)
    found = shapes(device_sets(eight, VLLM, LLAMA_70B, users=100))
    assert found == {
        (1, 1, 1),
        (2, 1, 1),
        (4, 1, 1),
        (8, 1, 1),
        (2, 2, 1),
        (4, 4, 1),
        (8, 8, 1),
        (4, 2, 1),
        (8, 4, 1),
        (8, 2, 1),
    }
    assert all(copies <= 3 for _, copies, _ in shapes(device_sets(eight, VLLM, LLAMA_70B, users=3)))
    assert all(copies == 1 for _, copies, _ in shapes(device_sets(eight, VLLM, LLAMA_70B, users=1)))


def test_models_with_experts_have_no_copies() -> None:
    mixture = replace(LLAMA_70B, experts=8, experts_used=2)
    assert all(copies == 1 for _, copies, _ in shapes(device_sets(devices(RTX, RTX), VLLM, mixture, users=64)))


@pytest.mark.parametrize(("count", "expected"), [(3, (3, 1, 3)), (6, (6, 1, 3)), (7, (7, 1, 7)), (5, (5, 1, 5))])
def test_a_pipeline_takes_what_does_not_divide(count: int, expected: tuple[int, int, int]) -> None:
    found = shapes(device_sets(devices(*[RTX] * count), VLLM, LLAMA_70B))
    assert {one for one in found if one[2] > 1} == {expected}


def test_no_pipeline_where_the_heads_divide_or_layers_are_few() -> None:
    assert all(stages == 1 for _, _, stages in shapes(device_sets(devices(RTX, RTX), VLLM, LLAMA_70B)))
    flat = replace(LLAMA_70B, layers=2)
    assert all(stages == 1 for _, _, stages in shapes(device_sets(devices(RTX, RTX, RTX), VLLM, flat)))


def test_asked_gpus_are_used_all_in_every_way() -> None:
    four = tuple(devices(*[RTX] * 4))
    found = asked_sets(four, VLLM, LLAMA_70B, users=8)
    assert {len(one.devices) for one in found} == {4}
    assert {(one.data_parallel, one.pipeline_parallel) for one in found} == {(1, 1), (4, 1), (2, 1)}
    assert asked_sets((), VLLM, LLAMA_70B) == (DeviceSet(()),)


@pytest.mark.parametrize(
    ("users", "workload", "expected"),
    [(1, "chat", (1, 1, 1)), (8, "chat", (1, 1, 1)), (64, "chat", (1, 2, 1)), (200, "chat", (1, 4, 1)),
     (64, "batch", (1, 4, 1))],
)  # fmt: skip
def test_users_decide_how_many_copies_of_a_model_that_fits_one_card(
    users: int, workload: str, expected: tuple[int, int, int]
) -> None:
    found = plan(cards(4), only(AWQ), engine="vllm", users=users, workload=workload)
    assert shape(found) == expected
    assert len(found.devices) == expected[0] * expected[1]


def test_asked_cards_share_layers_for_one_and_hold_copies_for_many() -> None:
    assert shape(plan(cards(2), only(AWQ), engine="vllm", users=1, gpus=(0, 1))) == (2, 1, 1)
    assert shape(plan(cards(2), only(AWQ), engine="vllm", users=128, gpus=(0, 1))) == (1, 2, 1)


def test_linked_cards_share_layers_longer() -> None:
    slow, linked = (
        plan(cards(4, card), only(BF16), engine="vllm", users=64, gpus=(0, 1, 2, 3)) for card in (CARD, H100)
    )
    assert slow.settings.data_parallel > linked.settings.data_parallel


def test_a_copy_needs_the_whole_model_on_its_card() -> None:
    large = only(BF16, of=model("qwen2.5-14b-instruct"))
    found = plan(cards(4), large, engine="vllm", users=200)
    assert shape(found) == (2, 2, 1)
    weights = [item.weights_mib for item in found.memory.devices[:4]]
    assert len(set(weights)) == 1
    assert 13000 < weights[0] < 15500  # half of 28 GiB
    with pytest.raises(NoFitError):
        plan(cards(4), large, engine="vllm", users=200, gpus=(0,))


def test_flags_count_users_of_each_copy() -> None:
    found = plan(cards(2), only(AWQ), engine="vllm", users=100, gpus=(0, 1))
    assert (found.settings.slots, found.settings.data_parallel) == (100, 2)
    assert (flag(found, "--max-num-seqs"), flag(found, "--data-parallel-size")) == ("50", "2")
    assert flag(found, "--tensor-parallel-size") is None
    other = plan(cards(2), only(AWQ), engine="sglang", users=100, gpus=(0, 1))
    assert (flag(other, "--max-running-requests"), flag(other, "--dp-size")) == ("50", "2")


def test_copies_are_twice_as_fast_together_as_one_with_half_the_users() -> None:
    one = plan(cards(2), only(AWQ), engine="vllm", users=50, gpus=(0,))
    two = plan(cards(2), only(AWQ), engine="vllm", users=100, gpus=(0, 1))
    assert one.speed.total_tokens_per_s is not None
    assert two.speed.total_tokens_per_s == pytest.approx(2 * one.speed.total_tokens_per_s, rel=0.05)
    assert two.speed.decode_tokens_per_s == pytest.approx(one.speed.decode_tokens_per_s, rel=0.05)


def test_the_reasons_say_how_the_model_lies_on_the_cards() -> None:
    copies = " ".join(plan(cards(2), only(AWQ), engine="vllm", users=100, gpus=(0, 1)).reasons)
    assert "2 copies of the model for up to 50 users each (data parallel)" in copies
    stages = " ".join(plan(cards(3), only(BF16), engine="vllm", users=1, gpus=(0, 1, 2)).reasons)
    assert "3 stages of layers, one after the other (pipeline parallel)" in stages
    alone = " ".join(plan(cards(3), only(AWQ), engine="vllm").reasons)
    assert "like GPUs are free for 2 more copies" in alone


def test_a_mixture_on_two_cards_shares_its_layers() -> None:
    found = plan(cards(2), only(AWQ, of=replace(QWEN, architecture=MIXTURE)), engine="vllm", users=100, gpus=(0, 1))
    assert shape(found) == (2, 1, 1)


def test_a_pipeline_is_slower_for_one_and_holds_more() -> None:
    odd = replace(QWEN, architecture=replace(QWEN.architecture, heads=28, kv_heads=4))
    found = plan(cards(3), only(BF16, of=odd), engine="vllm", gpus=(0, 1, 2), known=knowing(VLLM))
    pair = plan(cards(3), only(BF16, of=odd), engine="vllm", gpus=(0, 1), known=knowing(VLLM))
    assert shape(found) == (1, 1, 3)
    assert (found.speed.decode_tokens_per_s or 0) < (pair.speed.decode_tokens_per_s or 0)
    assert flag(found, "--pipeline-parallel-size") == "3"


def test_windows_linux_lets_no_card_reach_another() -> None:
    where = replace(cards(3), os=replace(cards(3).os, wsl=True))
    found = plan(where, only(BF16), engine="vllm", gpus=(0, 1, 2))
    assert found.environment.get("NCCL_P2P_DISABLE") == "1"


def test_a_model_without_heads_stays_on_one_card() -> None:
    state: Architecture = replace(LLAMA_70B, heads=0, kv_heads=0)
    found = shapes(device_sets(devices(RTX, RTX), VLLM, state))
    assert (2, 1, 1) not in found
    assert (2, 1, 2) in found
