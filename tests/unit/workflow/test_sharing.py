"""How several deployments are laid out on one host: order, greedy engines, and who is in the way."""

import itertools
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.decide import taken
from deployer.errors import BadInputError, NoFitError
from deployer.types import HostFacts, Plan, Request
from deployer.workflow.sharing import Arrangement, Wanted, arrange, follow
from tests.unit.decide.hosts import every_form, gpu, host, plan, sample
from tests.unit.decide.test_properties import hosts

SMALL, LARGE, HUGE = "qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct", "llama-3.3-70b-instruct"
SIZES = {SMALL: 494_032_768, LARGE: 7_615_616_512, HUGE: 70_553_706_496}

FIXED = {"quantization": "Q4_K_M", "context": 8192}


def wanted(name: str, model: str, **asked: object) -> Wanted:
    return Wanted(name, msgspec.convert({"model": model, "name": name, **asked}, Request), SIZES[model])


def decide_one(request: Request, where: HostFacts) -> Plan:
    asked = {key: value for key, value in msgspec.structs.asdict(request).items() if key not in {"model", "name"}}
    made = plan(where, every_form(request.model), asked=asked)
    return msgspec.structs.replace(made, name=request.name or "")


def names(order: Sequence[Wanted]) -> list[str]:
    return [item.name for item in order]


def test_asked_gpus_go_first_then_the_largest_then_the_order_of_the_file() -> None:
    two = host(*(gpu(index, "GeForce RTX 3090", "8.6", 24576) for index in range(2)))
    every = [wanted("a", SMALL), wanted("b", SMALL), wanted("c", LARGE), wanted("d", SMALL, gpus=[1])]
    arrangement, plans = arrange(every, two, decide_one)
    assert names(arrangement.order) == ["d", "c", "a", "b"]
    assert [device.index for device in plans[0].devices] == [1]


def test_an_engine_that_takes_all_takes_it_last() -> None:
    one = sample("rtx4090-580")
    every = [wanted("pool", LARGE, engine="vllm", quantization="AWQ"), wanted("small", SMALL, engine="llama.cpp")]
    arrangement, plans = arrange(every, one, decide_one)
    assert names(arrangement.order) == ["small", "pool"]
    assert all(item.devices for item in plans)
    assert plans[1].settings.gpu_memory_fraction is not None


def test_two_engines_that_take_all_get_a_part_each() -> None:
    one = host(gpu(0, "NVIDIA A100-SXM4-80GB", "8.0", 81920))
    every = [wanted("a", LARGE, engine="vllm"), wanted("b", LARGE, engine="vllm")]
    arrangement, plans = arrange(every, one, decide_one)
    assert arrangement.in_parts == {"a", "b"}
    fractions = [item.settings.gpu_memory_fraction for item in plans]
    assert all(item.devices for item in plans)
    assert 0.8 < sum(fraction for fraction in fractions if fraction is not None) <= 1
    assert sum(taken(item)[str(one.gpus[0].uuid)] for item in plans) <= (one.gpus[0].memory_free_mib or 0)


def test_a_refusal_names_which_and_what_the_others_take() -> None:
    small = host(gpu(0, "Tesla P4", "6.1", 7680), ram_mib=4000)
    every = [wanted("first", LARGE, gpus=[0], **FIXED), wanted("second", LARGE, **FIXED)]
    with pytest.raises(NoFitError) as caught:
        arrange(every, small, decide_one)
    error = caught.value
    assert error.exit_code == 4
    assert error.message.startswith("second: ")
    assert "first takes " in error.message
    assert "MiB of main memory" in error.message
    assert error.details["deployment"] == "second"
    assert error.details["rejected"]
    assert set(error.details["taken"]) == {"first"}  # type: ignore[call-overload]


def test_what_fits_nowhere_is_refused_without_blaming_others() -> None:
    with pytest.raises(NoFitError) as caught:
        arrange([wanted("small", SMALL), wanted("huge", HUGE)], host(ram_mib=9000), decide_one)
    assert caught.value.message.startswith("huge: ")
    assert "takes" not in caught.value.message.partition("; of this host")[2]
    assert caught.value.details["taken"] == {}


def test_other_errors_name_the_deployment_too() -> None:
    with pytest.raises(BadInputError, match=r"^b: --engine nonesuch"):
        arrange([wanted("a", SMALL), wanted("b", SMALL, engine="nonesuch")], host(), decide_one)


def test_the_same_wishes_give_the_same_arrangement_and_following_it_the_same_plans() -> None:
    where = sample("p40-3090-mixed")
    every = [wanted("a", LARGE), wanted("b", SMALL), wanted("c", LARGE, users=8)]
    first, again = arrange(every, where, decide_one), arrange(every, where, decide_one)
    assert first == again
    assert follow(first[0], where, decide_one) == first[1]


def test_following_says_who_does_not_fit_any_more() -> None:
    arrangement = Arrangement((wanted("a", LARGE, **FIXED), wanted("b", LARGE, **FIXED)))
    with pytest.raises(NoFitError, match=r"^b: .*; of this host a takes "):
        follow(arrangement, host(ram_mib=9000), decide_one)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hosts(), st.lists(st.sampled_from([SMALL, LARGE]), min_size=2, max_size=3))
def test_no_arrangement_takes_more_of_a_device_than_is_free(where: HostFacts, models: list[str]) -> None:
    every = [wanted(f"d{index}", name) for index, name in enumerate(models)]
    try:
        _, plans = arrange(every, where, decide_one)
    except NoFitError:
        return
    free = {"host": where.memory.available_mib, **{item.uuid or "": item.memory_free_mib for item in where.gpus}}
    for device, size in free.items():
        assert sum(taken(item).get(device, 0) for item in plans) <= (size or 0)


def counting(log: list[str]) -> Callable[[Request, HostFacts], Plan]:
    def decide(request: Request, where: HostFacts) -> Plan:
        log.append(request.name or "")
        return decide_one(request, where)

    return decide


def test_a_host_with_room_for_all_is_decided_once() -> None:
    log: list[str] = []
    arrange([wanted(name, SMALL) for name in "abc"], host(ram_mib=100_000), counting(log))
    assert [name for name, _ in itertools.groupby(log)] == ["a", "b", "c"]
