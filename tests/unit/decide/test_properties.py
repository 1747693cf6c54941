"""What must hold on every host, found by looking at many that nobody thought of."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.decide import rules
from deployer.decide.candidates import Candidate
from deployer.decide.capability import code_for, driver_floor
from deployer.decide.device_sets import divides, same_kind
from deployer.decide.rules import Rule
from deployer.decide.rules_quantization import support_of
from deployer.decide.score import total
from deployer.decide.version import at_least, capability, newer_branch
from deployer.errors import NoFitError
from deployer.types import EngineProfile, Gpu, HostFacts, ImageProfile, Plan
from tests.unit.decide.hosts import every_form, gpu, host, knowledge, model, plan

replace = msgspec.structs.replace
CARDS = [
    ("Tesla K80", "3.7"), ("Tesla M40", "5.2"), ("Tesla P100", "6.0"), ("Tesla P40", "6.1"), ("Tesla V100", "7.0"),
    ("Tesla T4", "7.5"), ("A100", "8.0"), ("GeForce RTX 3090", "8.6"), ("GeForce RTX 4090", "8.9"), ("H100", "9.0"),
    ("B200", "10.0"), ("GeForce RTX 5090", "12.0"), ("Card of tomorrow", "13.0"),
]  # fmt: skip
DRIVERS = ["470.256.02", "525.60.13", "535.183.01", "550.54.14", "570.86.15", "580.95.05", "590.44.01", "615.10"]
ENGINES = [None, None, *(engine.engine for engine in knowledge().engines)]
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
    {
        "users": st.integers(1, 300),
        "engine": st.sampled_from(ENGINES),
        "workload": st.sampled_from(["chat", "agents", "batch"]),
    },
    optional={"context": st.sampled_from([512, 4096, 32768])},
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def decide(where: HostFacts, what: str, asked: dict[str, object]) -> Plan | None:
    try:
        return plan(where, every_form(what), asked=asked)
    except NoFitError:
        return None


def engine_of(found: Plan) -> EngineProfile:
    return next(engine for engine in knowledge().engines if engine.engine == found.engine)


def image_of(found: Plan) -> ImageProfile:
    return next(image for image in engine_of(found).images if image.id == found.image.profile)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_a_plan_is_only_made_where_it_can_run(where: HostFacts, what: str, asked: dict[str, object]) -> None:
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
def test_a_plan_never_needs_more_memory_than_there_is(where: HostFacts, what: str, asked: dict[str, object]) -> None:
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
    users = asked["users"]
    assert isinstance(users, int)
    most = (64 if engine_of(found).memory == "llama.cpp" else 256) * found.settings.data_parallel
    assert 1 <= found.settings.slots <= min(users, most)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_equal_input_gives_equal_bytes(where: HostFacts, what: str, asked: dict[str, object]) -> None:
    copy = msgspec.json.decode(msgspec.json.encode(where), type=HostFacts)
    first, second = decide(where, what, asked), decide(copy, what, asked)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests, st.integers(0, 100000), st.integers(0, 100000))
def test_more_memory_never_makes_a_plan_fail(
    where: HostFacts, what: str, asked: dict[str, object], more_main: int, more_gpu: int
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


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_engines_that_share_layers_get_like_gpus_that_divide_the_heads(
    where: HostFacts, what: str, asked: dict[str, object]
) -> None:
    found = decide(where, what, asked)
    if found is None or engine_of(found).memory != "paged_kv" or len(found.devices) < 2:
        return
    cards = [next(card for card in where.gpus if card.index == device.index) for device in found.devices]
    settings = found.settings
    assert len(cards) == settings.tensor_parallel * settings.data_parallel * settings.pipeline_parallel
    assert settings.data_parallel <= max(settings.slots, 1)
    assert divides(model(what).architecture, settings.tensor_parallel)
    assert all(same_kind(cards[0], card) for card in cards)
    assert found.settings.gpu_memory_fraction is not None
    assert 0 < found.settings.gpu_memory_fraction <= 0.92


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_copies_that_are_servers_of_their_own_are_alike_and_each_has_a_user(
    where: HostFacts, what: str, asked: dict[str, object]
) -> None:
    found = decide(where, what, {**asked, "engine": "llama.cpp"})
    if found is None or found.copies == 1:
        return
    cards = [next(card for card in where.gpus if card.index == device.index) for device in found.devices]
    assert len(cards) % found.copies == 0
    assert found.copies == found.settings.data_parallel <= found.settings.slots
    assert all(same_kind(cards[0], card) for card in cards)
    assert found.settings.gpu_layers == model(what).architecture.layers + 1
    assert found.gateway is not None


@MANY
@given(hosts(), st.sampled_from(MODELS), requests)
def test_a_quantization_runs_on_every_chosen_gpu(where: HostFacts, what: str, asked: dict[str, object]) -> None:
    found = decide(where, what, asked)
    if found is None or found.image.accelerator != "cuda":
        return
    variant = next(item for item in every_form(what).variants if item.quantization == found.model.quantization)
    support = support_of(engine_of(found), replace(variant, format=found.model.format))
    for device in found.devices:
        card = next(item for item in where.gpus if item.index == device.index)
        if support is not None and support.min_capability is not None:
            assert capability(card.compute_capability or "") >= capability(support.min_capability)


@MANY
@given(hosts(), st.sampled_from(MODELS), requests, st.integers(0, 11), st.sampled_from(["IMAGE_RULES", "FORM_RULES"]))
def test_a_stricter_rule_never_makes_the_choice_better(
    where: HostFacts, what: str, asked: dict[str, object], number: int, group: str
) -> None:
    """Refusing more can only take options away: a plan may get worse or vanish, never appear or score higher."""
    before = decide(where, what, asked)
    table: tuple[Rule, ...] = getattr(rules, group)

    def stricter(candidate: Candidate, *_: object) -> str | None:
        name = candidate.image.id + (candidate.variant.quantization if group == "FORM_RULES" else "")
        return "because" if sum(name.encode()) % 12 == number else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, group, (*table, Rule("stricter", stricter)))
        after = decide(where, what, asked)
    if after is None:
        return
    assert before is not None
    assert total(after.score) <= total(before.score)
