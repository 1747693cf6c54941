"""The table of what fits says the same as plans do, and is monotone where memory is."""

import functools
import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.decide.fit import COLUMNS, PLACES, fit_table
from deployer.decide.room import STEP
from deployer.errors import BadInputError, NoFitError
from deployer.types import HostFacts, ModelSpec, Plan, Request
from deployer.types.fit import FitCell, FitRow, FitTable
from tests.unit.decide import test_correction as measured
from tests.unit.decide.hosts import every_form, gpu, host, knowledge, model, plan, sample, sample_names

replace = msgspec.structs.replace
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEVENTY = "llama-3.3-70b-instruct"


def table(where: HostFacts, what: ModelSpec | str, **words: object) -> FitTable:
    spec = model(what) if isinstance(what, str) else what
    request = msgspec.convert({"model": spec.name, **words}, Request)
    return fit_table(request, where, spec, knowledge())


def at(row: FitRow, context: int) -> FitCell:
    return next(cell for cell in row.cells if cell.context == context)


def rows(found: FitTable, *, engine: str = "llama.cpp", place: str) -> dict[str, FitRow]:
    return {row.quantization: row for row in found.rows if row.engine == engine and row.place == place}


@functools.cache
def mixed() -> FitTable:
    return table(sample("p40-3090-mixed"), SEVENTY)


def test_every_form_is_a_row_on_every_kind_of_devices() -> None:
    ggufs = {variant.quantization for variant in model(SEVENTY).variants if variant.format == "gguf"}
    for place in ("one GPU", "all GPUs", "CPU"):
        assert set(rows(mixed(), place=place)) == ggufs
    assert {row.engine for row in mixed().rows} == {"llama.cpp", "vllm"}


def test_the_columns_end_with_the_models_own_maximum() -> None:
    assert mixed().contexts == COLUMNS
    short = replace(model(SEVENTY), architecture=replace(model(SEVENTY).architecture, context_max=6000))
    assert table(sample("p40-3090-mixed"), short).contexts == (2048, 4096)
    tiny = replace(model(SEVENTY), architecture=replace(model(SEVENTY).architecture, context_max=512))
    assert table(sample("p40-3090-mixed"), tiny).contexts == (512,)


def test_an_asked_context_is_a_column_of_its_own() -> None:
    found = table(sample("p40-3090-mixed"), SEVENTY, context=5000)
    assert found.context == 5000
    assert found.contexts == (2048, 4096, 5000, *COLUMNS[2:])


def test_more_memory_in_more_gpus_and_less_in_a_larger_form() -> None:
    one, both = rows(mixed(), place="one GPU"), rows(mixed(), place="all GPUs")
    for name, row in one.items():
        assert (at(both[name], 8192).gpu_layers or 0) >= (at(row, 8192).gpu_layers or 0)
    sizes = [row.size_mib for row in both.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_a_missing_amount_would_really_do() -> None:
    card = gpu(0, "GeForce RTX 3090", "8.6", 24576, memory_free_mib=20000)
    where = host(card)
    row = next(
        row for row in table(where, every_form("qwen2.5-7b-instruct"), engine="vllm").rows if row.place == "one GPU"
    )
    short = next((cell for cell in row.cells if cell.fits is False), None)
    larger = host(replace(card, memory_total_mib=200000, memory_free_mib=198000))
    again = next(
        row for row in table(larger, every_form("qwen2.5-7b-instruct"), engine="vllm").rows if row.place == "one GPU"
    )
    assert all(cell.fits for cell in again.cells)
    assert short is None or (short.room_mib or 0) < 0


CARDS = [("Tesla P40", "6.1"), ("Tesla T4", "7.5"), ("GeForce RTX 3090", "8.6"), ("H100", "9.0")]


@st.composite
def hosts(draw: st.DrawFn) -> HostFacts:
    kind = draw(st.sampled_from(CARDS))
    total = draw(st.integers(6000, 90000))
    cards = [
        gpu(index, *kind, total, memory_free_mib=draw(st.integers(3000, total)))
        for index in range(draw(st.integers(0, 3)))
    ]
    return host(*cards, ram_mib=draw(st.integers(2000, 100000)))


MODELS = ["qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct", "qwen3-30b-a3b", SEVENTY]


@FEW
@given(hosts(), st.sampled_from(MODELS), st.integers(1, 8))
def test_what_fits_with_more_context_fits_with_less(where: HostFacts, what: str, users: int) -> None:
    try:
        found = table(where, every_form(what), users=users)
    except NoFitError:
        return
    for row in found.rows:
        fitting = [bool(cell.fits) for cell in row.cells]
        assert fitting == sorted(fitting, reverse=True), (row.label, row.quantization, fitting)
        layers = [(cell.gpu_layers or 0, cell.kv_cache_type, cell.cpu_moe_layers) for cell in row.cells if cell.fits]
        same = [count for count, kv_type, experts in layers if (kv_type, experts) == layers[0][1:]]
        # One layer of play: the holes of ggml's buffer may fit a longer context a little better.
        assert all(longer <= shorter + 1 for shorter, longer in itertools.pairwise(same)), (row.label, same)


@FEW
@given(hosts(), st.sampled_from(MODELS), st.integers(1, 4))
def test_the_largest_context_is_the_largest(where: HostFacts, what: str, users: int) -> None:
    spec = every_form(what)
    try:
        found = table(where, spec, users=users)
    except NoFitError:
        return
    for row in found.rows[::3]:
        if row.max_context is None:
            assert not any(cell.fits for cell in row.cells)
            continue
        asked = {"users": users, "quantization": row.quantization, "engine": row.engine}
        if row.max_context >= 256:
            assert at(_row(table(where, spec, **asked, context=row.max_context), row), row.max_context).fits
        more = row.max_context + STEP
        if more <= spec.architecture.context_max:
            assert at(_row(table(where, spec, **asked, context=more), row), more).fits is False


def _row(found: FitTable, like: FitRow) -> FitRow:
    """The row of the same form on the same devices."""
    return next(
        row
        for row in found.rows
        if (row.devices, row.quantization, row.format) == (like.devices, like.quantization, like.format)
    )


def decide(where: HostFacts, what: ModelSpec, asked: dict[str, object]) -> Plan | None:
    try:
        return plan(where, what, asked=asked)
    except NoFitError:
        return None


@pytest.mark.parametrize("name", sample_names())
def test_a_plan_of_exactly_a_cell_agrees_with_it(name: str) -> None:
    spec = model("qwen2.5-32b-instruct")
    try:
        found = table(sample(name), spec, users=2)
    except NoFitError:
        return
    agreed = 0
    for row in found.rows:
        if row.engine != "llama.cpp":
            continue
        for cell in row.cells[::2]:
            asked = {
                "engine": row.engine, "image": row.image, "quantization": row.quantization, "slots": cell.slots,
                "context": cell.context, "gpus": [device.index for device in row.devices],
            }  # fmt: skip
            made = decide(sample(name), spec, asked)
            if made is None:
                assert cell.fits is False
                continue
            assert cell.fits is not False
            assert (made.settings.context, made.settings.slots) == (cell.context, cell.slots)
            agreed += 1
    assert agreed


@pytest.mark.parametrize("name", ["p40-3090-mixed", "h100x8-580", "cpu-avx512"])
def test_what_was_asked_for_holds_in_every_row(name: str) -> None:
    found = table(
        sample(name), "qwen2.5-7b-instruct", users=3, slots=5, kv_type="q8_0", engine="llama.cpp", quantization="Q4_K_M"
    )
    assert {row.quantization for row in found.rows} == {"Q4_K_M"}
    assert {row.engine for row in found.rows} == {"llama.cpp"}
    for row in found.rows:
        for cell in row.cells:
            assert cell.slots == 5
            assert cell.kv_cache_type in ("q8_0", None)


def test_asked_gpus_are_the_only_ones() -> None:
    found = table(sample("p40-3090-mixed"), "qwen2.5-7b-instruct", gpus=[0])
    assert {device.index for row in found.rows for device in row.devices} == {0}
    assert {row.place for row in table(sample("p40-3090-mixed"), "qwen2.5-7b-instruct", gpus=[]).rows} == {"CPU"}


def test_unknown_memory_is_null_and_never_a_guess() -> None:
    blind = host(gpu(0, "Card of tomorrow", "8.6", None))
    row = next(row for row in table(blind, "qwen2.5-7b-instruct").rows if row.devices)
    assert {(cell.fits, cell.room_mib) for cell in row.cells} == {(None, None)}
    assert row.max_context is None


def test_the_room_is_what_the_fullest_device_has_left() -> None:
    for row in mixed().rows:
        for cell in row.cells:
            if row.engine == "llama.cpp" and cell.fits:
                assert cell.memory is not None
                left = [(one.available_mib or 0) - one.total_mib - one.margin_mib for one in cell.memory.devices]
                assert cell.room_mib == min(left)


def test_where_no_engine_can_run_it_is_refused_as_a_plan_is() -> None:
    strange = replace(
        model("qwen2.5-7b-instruct"), architecture=replace(model("qwen2.5-7b-instruct").architecture, name="foozz")
    )
    with pytest.raises(NoFitError) as refused:
        table(host(), strange)
    assert refused.value.details["rejected"]


def test_a_wrong_word_names_the_nearest() -> None:
    with pytest.raises(BadInputError, match="Q4_K_M"):
        table(host(), "qwen2.5-7b-instruct", quantization="Q4_K_N")
    with pytest.raises(BadInputError, match="q8_0"):
        table(host(), "qwen2.5-7b-instruct", kv_type="q8")


def test_equal_input_gives_equal_bytes_and_places_are_in_order() -> None:
    again = table(sample("p40-3090-mixed"), SEVENTY)
    assert msgspec.json.encode(again) == msgspec.json.encode(mixed())
    order = [PLACES.index(row.place) for row in again.rows]
    assert order == sorted(order)


def test_what_was_measured_here_changes_table_and_plan_alike() -> None:
    uuid = "GPU-00000000-0000-4000-8000-000000000000"
    before = measured.plan(measured.ONE_GPU, **measured.WORDS, slots=1, context=8192)
    taken = measured.memory(before, uuid).total_mib + 900
    seen = measured.observed(before, {uuid: taken})
    request = Request(model=measured.MODEL, engine="llama.cpp", quantization="Q4_K_M", slots=1, context=8192)
    asked = (request, measured.ONE_GPU, model(measured.MODEL), knowledge())
    plain, told = fit_table(*asked), fit_table(*asked, observations=(seen,))
    made = measured.plan(measured.ONE_GPU, seen, **measured.WORDS, slots=1, context=8192)
    rooms = []
    for found in (plain, told):
        row = next(row for row in found.rows if row.place == "one GPU")
        rooms.append(at(row, 8192))
    assert rooms[1].memory == made.memory
    assert (rooms[0].room_mib or 0) - (rooms[1].room_mib or 0) >= 900


def test_users_who_wait_are_told_as_in_a_plan() -> None:
    said = "64 of 4096 users are served at once; the others wait their turn"
    asked = {"users": 4096, "quantization": "Q8_0", "engine": "llama.cpp"}
    assert said in table(sample("p40x2-535"), "qwen2.5-7b-instruct", **asked).warnings
    assert not table(sample("p40x2-535"), "qwen2.5-7b-instruct", **{**asked, "users": 64}).warnings
    both = table(sample("h100x8-580"), "qwen2.5-7b-instruct", users=4096).warnings
    assert len([text for text in both if "4096 users" in text and text.startswith(("llama.cpp on", "vllm on"))]) > 1


def test_like_gpus_by_powers_of_two_and_as_many_as_the_plan_takes() -> None:
    where, what = sample("h100x8-580"), "qwen2.5-72b-instruct"
    counts = {len(row.devices) for row in table(where, what, users=20).rows}
    assert counts == {0, 1, 2, 4, 8}
    assert len(plan(where, model(what), users=20).devices) in counts
    three = host(*(gpu(index, "Tesla P40", "6.1", 24576) for index in range(3)))
    assert {len(row.devices) for row in table(three, SEVENTY).rows} == {0, 1, 2, 3}


def test_machine_code_goes_before_code_that_the_driver_compiles() -> None:
    where, what = sample("gb10"), "qwen2.5-7b-instruct"
    chosen = {row.image for row in rows(table(where, what), place="one GPU").values()}
    assert chosen == {"server-cuda13"} == {plan(where, model(what)).image.profile}
