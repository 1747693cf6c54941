"""What a plan leaves of a host: for every host, all plans together promise no more than is free."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.decide import describe_taken, device_shares, host_after, portion, taken
from deployer.decide.host import complete
from deployer.errors import NoFitError
from deployer.types import HostFacts, MigDevice, MigFacts, Plan
from tests.unit.decide.hosts import gpu, host, knowledge, plan, sample, sample_names
from tests.unit.decide.test_properties import hosts

replace = msgspec.structs.replace
SMALL, LARGE = "qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct"
FREE = 20_000


def free(where: HostFacts) -> dict[str, int | None]:
    """Free memory by device, as plans call them."""
    return {"host": where.memory.available_mib, **{gpu.uuid or "": gpu.memory_free_mib for gpu in where.gpus}}


def one_after_the_other(where: HostFacts, models: list[str]) -> list[Plan]:
    made: list[Plan] = []
    for index, name in enumerate(models):
        try:
            found = replace(plan(where, name), name=f"d{index}")
        except NoFitError:
            continue
        made.append(found)
        where = host_after(where, found)
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hosts(), st.lists(st.sampled_from([SMALL, LARGE, "qwen2.5-32b-instruct"]), min_size=2, max_size=4))
def test_plans_together_never_take_more_than_is_free(where: HostFacts, models: list[str]) -> None:
    made = one_after_the_other(where, models)
    for device, size in free(where).items():
        if size is not None:
            assert sum(taken(item).get(device, 0) for item in made) <= size


@pytest.mark.parametrize("name", sample_names())
def test_the_same_holds_on_every_known_host(name: str) -> None:
    where = sample(name)
    made = one_after_the_other(where, [LARGE, SMALL, SMALL])
    assert made
    for share in device_shares(complete(where, knowledge().gpus)[0], made):
        assert share.available_mib is not None
        assert share.taken_mib == sum(share.by.values()) <= share.available_mib
        assert share.left_mib == share.available_mib - share.taken_mib


def test_the_next_one_sees_less_by_estimate_margin_and_prompt_cache() -> None:
    where = host(gpu(0, "GeForce RTX 4090", "8.9", 24564))
    made = plan(where)
    card, main = made.memory.devices
    left = host_after(where, made)
    assert left.gpus[0].memory_free_mib == (where.gpus[0].memory_free_mib or 0) - card.total_mib - card.margin_mib
    kept = main.total_mib + main.margin_mib + made.settings.prompt_cache_mib
    assert left.memory.available_mib == (where.memory.available_mib or 0) - kept
    assert made.settings.prompt_cache_mib > 0
    assert left.cpu == where.cpu


def test_shared_memory_is_taken_once_from_both_sides() -> None:
    where = sample("gb10")
    made = plan(where, LARGE)
    left, sizes = host_after(where, made), taken(made)
    every = sum(sizes.values())
    assert made.devices
    assert left.memory.available_mib == (where.memory.available_mib or 0) - every
    assert left.gpus[0].memory_free_mib == (where.gpus[0].memory_free_mib or 0) - every


def test_a_gpu_that_tells_its_total_only_remembers_who_holds_it() -> None:
    where = host(gpu(0, "GeForce RTX 4090", "8.9", 24564, memory_free_mib=None))
    made = plan(where, LARGE)
    left = host_after(where, made)
    assert left.gpus[0].memory_free_mib is None
    again, before = complete(left, knowledge().gpus)[0], complete(where, knowledge().gpus)[0]
    lost = (before.gpus[0].memory_free_mib or 0) - (again.gpus[0].memory_free_mib or 0)
    assert lost == taken(made)[str(where.gpus[0].uuid)] > 0


def test_a_slice_is_taken_and_its_neighbour_is_not() -> None:
    slices = tuple(
        MigDevice(uuid=f"MIG-{index}", name="MIG 3g.40gb", memory_total_mib=40448, memory_free_mib=FREE)
        for index in range(2)
    )
    where = host(gpu(0, "NVIDIA H100 80GB HBM3", "9.0", 81559, mig=MigFacts(enabled=True, devices=slices)))
    made = plan(where, LARGE)
    (used,) = [device.uuid for device in made.devices]
    left = host_after(where, made).gpus[0].mig
    assert left is not None
    sizes = {part.uuid: part.memory_free_mib for part in left.devices}
    assert sizes.pop(used) == FREE - taken(made)[str(used)]
    assert list(sizes.values()) == [FREE]


def test_memory_that_is_not_known_stays_unknown() -> None:
    where = host(gpu(0, "GeForce RTX 4090", "8.9", 24564))
    dark = replace(where, memory=replace(where.memory, available_mib=None, total_mib=None))
    left = host_after(dark, plan(where, LARGE))
    assert left.memory.available_mib is None
    assert left.memory.total_mib is None
    assert portion(dark, 0.5).memory.available_mib is None


def test_a_portion_is_that_part_of_everything_that_is_free() -> None:
    where = host(gpu(0, "GeForce RTX 4090", "8.9", 24564, memory_free_mib=FREE), ram_mib=1000)
    half = portion(where, 0.5)
    assert half.gpus[0].memory_free_mib == FREE // 2
    assert half.memory.available_mib == 500
    assert half.gpus[0].memory_total_mib == where.gpus[0].memory_total_mib


def test_who_takes_what_is_said_in_words() -> None:
    where = host(gpu(0, "GeForce RTX 4090", "8.9", 24564))
    made = plan(where, LARGE)
    sizes = list(taken(made).values())
    said = describe_taken([made])
    assert said == f"demo takes {sizes[0]} MiB of GPU 0 and {sizes[1]} MiB of main memory"
    assert not describe_taken([])
