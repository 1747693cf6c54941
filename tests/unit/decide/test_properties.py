"""What must hold on every host, found by looking at many that nobody thought of."""

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.decide.capability import code_for, driver_floor
from deployer.decide.version import at_least, newer_branch
from deployer.errors import NoFitError
from deployer.types import Gpu, HostFacts, ImageProfile, Plan
from tests.unit.decide.hosts import gpu, host, knowledge, model, plan

replace = msgspec.structs.replace
CARDS = [
    ("Tesla K80", "3.7"), ("Tesla M40", "5.2"), ("Tesla P100", "6.0"), ("Tesla P40", "6.1"), ("Tesla V100", "7.0"),
    ("Tesla T4", "7.5"), ("A100", "8.0"), ("GeForce RTX 3090", "8.6"), ("GeForce RTX 4090", "8.9"), ("H100", "9.0"),
    ("B200", "10.0"), ("GeForce RTX 5090", "12.0"), ("Card of tomorrow", "13.0"),
]  # fmt: skip
DRIVERS = ["470.256.02", "525.60.13", "535.183.01", "550.54.14", "570.86.15", "580.95.05", "590.44.01", "615.10"]
MODELS = ["qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct", "qwen2.5-32b-instruct", "llama-3.3-70b-instruct"]


@st.composite
def cards(draw: st.DrawFn, index: int) -> Gpu:
    name, capability = draw(st.sampled_from(CARDS))
    total = draw(st.integers(2000, 90000))
    free = draw(st.integers(0, total))
    error = draw(st.sampled_from([None, None, None, "GPU is lost"]))
    return gpu(index, name, capability, total, memory_free_mib=free, error=error, display=draw(st.booleans()))


@st.composite
def hosts(draw: st.DrawFn) -> HostFacts:
    count = draw(st.integers(0, 4))
    gpus = [draw(cards(index)) for index in range(count)]
    return host(*gpus, driver=draw(st.sampled_from(DRIVERS)), ram_mib=draw(st.integers(500, 200000)))


requests = st.fixed_dictionaries(
    {"users": st.integers(1, 80)}, optional={"context": st.sampled_from([512, 4096, 32768])}
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def decide(where: HostFacts, what: str, asked: dict[str, int]) -> Plan | None:
    try:
        return plan(where, model(what), users=asked["users"], context=asked.get("context"))
    except NoFitError:
        return None


def image_of(found: Plan) -> ImageProfile:
    return next(image for image in knowledge().engines[0].images if image.id == found.image.profile)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_a_plan_is_only_made_where_it_can_run(where: HostFacts, what: str, asked: dict[str, int]) -> None:
    found = decide(where, what, asked)
    if found is None:
        return
    image, driver = image_of(found), where.nvidia.driver if where.nvidia else None
    for device in found.devices:
        card = next(item for item in where.gpus if item.index == device.index)
        assert card.error is None
        if image.accelerator == "cuda":
            code = code_for(image, card)
            assert code is not None
            floor = driver_floor(image, code)
            assert floor is not None
            assert driver is not None
            assert at_least(driver, floor)
            assert not (card.compute_capability in ("5.2", "6.0", "6.1", "7.0") and newer_branch(driver, "580"))


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_a_plan_never_needs_more_memory_than_there_is(where: HostFacts, what: str, asked: dict[str, int]) -> None:
    found = decide(where, what, asked)
    if found is None:
        return
    free = {card.uuid: card.memory_free_mib for card in where.gpus} | {"host": where.memory.available_mib}
    for part in found.memory.devices:
        available = free[part.device]
        assert available is not None
        assert part.total_mib == part.weights_mib + part.kv_cache_mib + part.compute_mib + part.overhead_mib
        assert part.total_mib + part.margin_mib <= available
    assert found.settings.context == asked.get("context", found.settings.context)
    assert 1 <= found.settings.slots <= min(asked["users"], 64)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_equal_input_gives_equal_bytes(where: HostFacts, what: str, asked: dict[str, int]) -> None:
    copy = msgspec.json.decode(msgspec.json.encode(where), type=HostFacts)
    first, second = decide(where, what, asked), decide(copy, what, asked)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests, st.integers(0, 100000), st.integers(0, 100000))
def test_more_memory_never_makes_a_plan_fail(
    where: HostFacts, what: str, asked: dict[str, int], more_main: int, more_gpu: int
) -> None:
    if decide(where, what, asked) is None:
        return
    larger = replace(
        where,
        memory=replace(where.memory, available_mib=(where.memory.available_mib or 0) + more_main),
        gpus=tuple(
            replace(
                card,
                memory_total_mib=(card.memory_total_mib or 0) + more_gpu,
                memory_free_mib=(card.memory_free_mib or 0) + more_gpu,
            )
            for card in where.gpus
        ),
    )
    assert decide(larger, what, asked) is not None
