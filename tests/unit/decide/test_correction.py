"""What measurements on a host do to the next plan."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import __version__
from deployer.decide import correction, make_plan
from deployer.decide.correction import Subject
from deployer.errors import NoFitError
from deployer.types import (
    DeviceMemory,
    HostFacts,
    MeasuredMemory,
    MemoryPlan,
    Observation,
    Plan,
    Rejection,
    Request,
    SpeedEstimate,
)
from tests.unit.decide.hosts import SITE, gpu, host, knowledge, model

MODEL = "qwen2.5-7b-instruct"
GPU = "GPU-00000000-0000-4000-8000-000000000000"


def plan(where: HostFacts, *observations: Observation, **words: Any) -> Plan:
    request = msgspec.convert({"model": MODEL, **words}, type=Request)
    return make_plan(
        request,
        where,
        model(MODEL),
        knowledge(),
        verified=(),
        site=SITE,
        unavailable={},
        observations=observations,
    )


def observed(made: Plan, used: dict[str, int], serial: int = 1, **changes: Any) -> Observation:
    """What `up` would have kept of this plan, where devices took so much."""
    how = {device: "resident" if device == "host" else "nvml-process" for device in used}
    seen = Observation(
        serial=serial,
        when="2026-11-20T10:00:00Z",
        deployment=made.name,
        release=1,
        fingerprint=made.host_fingerprint,
        formulas=__version__,
        engine=made.engine,
        engine_version=made.engine_version,
        image=made.image.profile,
        accelerator=made.image.accelerator,
        model=made.model.ref,
        architecture=made.model.architecture,
        parameters=made.model.parameters,
        quantization=made.model.quantization,
        settings=made.settings,
        predicted=made.memory.devices,
        measured=tuple(
            msgspec.convert({"device": device, "used_mib": size, "how": how[device]}, type=MeasuredMemory)
            for device, size in used.items()
        ),
        speed=made.speed,
    )
    return msgspec.structs.replace(seen, **changes)


def memory(made: Plan, device: str) -> DeviceMemory:
    return next(item for item in made.memory.devices if item.device == device)


ONE_GPU = host(gpu(0, "NVIDIA GeForce RTX 3090", "8.6", 24576))
WORDS = {"engine": "llama.cpp", "quantization": "Q4_K_M"}


def test_without_measurements_a_plan_is_what_the_formulas_say() -> None:
    made = plan(ONE_GPU, **WORDS)
    assert made.learned == 0
    assert all(device.formula is None for device in made.memory.devices)
    assert made.speed.factor == 1.0


def test_what_was_measured_beside_the_buffers_replaces_the_allowance() -> None:
    before = plan(ONE_GPU, **WORDS)
    was = memory(before, GPU)
    after = plan(ONE_GPU, observed(before, {GPU: was.total_mib + 500}, serial=7), **WORDS)
    now = memory(after, GPU)
    assert now.overhead_mib == was.overhead_mib + 500
    assert now.total_mib == was.total_mib + 500
    assert now.formula is not None
    assert (now.formula.total_mib, now.formula.measurements) == (was.total_mib, 1)
    assert memory(after, "host") == memory(before, "host")
    assert after.learned == 7
    assert any("corrected by 1 measurement here" in reason for reason in after.reasons)


def test_the_server_that_was_measured_is_not_another_plan() -> None:
    before = plan(ONE_GPU, **WORDS)
    seen = observed(before, {device.device: device.total_mib - 40 for device in before.memory.devices})
    after = plan(ONE_GPU, seen, **WORDS)
    assert after.plan_hash == before.plan_hash
    assert after.memory != before.memory


def test_less_than_expected_lowers_no_ceiling() -> None:
    before = plan(ONE_GPU, **WORDS)
    assert plan(ONE_GPU, observed(before, {"host": 10}), **WORDS).limits == before.limits
    more = observed(before, {"host": memory(before, "host").total_mib + 2000})
    assert (plan(ONE_GPU, more, **WORDS).limits.memory_mib or 0) == (before.limits.memory_mib or 0) + 2000


def test_far_more_than_the_formulas_say_is_a_warning() -> None:
    before = plan(ONE_GPU, **WORDS)
    after = plan(ONE_GPU, observed(before, {GPU: memory(before, GPU).total_mib * 3 // 2}), **WORDS)
    assert any("took more of" in warning for warning in after.warnings)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "vllm"},
        {"accelerator": "cpu"},
        {"architecture": "llama"},
        {"quantization": "Q8_0"},
        {"parameters": 70_000_000_000},
        {"parameters": None},
        {"formulas": "0.0.1"},
    ],
)
def test_only_the_same_engine_image_and_class_of_models_counts(change: dict[str, Any]) -> None:
    before = plan(ONE_GPU, **WORDS)
    seen = observed(before, {GPU: memory(before, GPU).total_mib + 500}, **change)
    assert plan(ONE_GPU, seen, **WORDS).memory == before.memory


def test_another_image_of_the_engine_stands_in_until_its_own_is_measured() -> None:
    before = plan(ONE_GPU, **WORDS)
    total = memory(before, GPU).total_mib
    other = observed(before, {GPU: total + 500}, 1, image="some-other")
    assert memory(plan(ONE_GPU, other, **WORDS), GPU).total_mib == total + 500
    own = observed(before, {GPU: total + 10}, 2)
    assert memory(plan(ONE_GPU, other, own, **WORDS), GPU).total_mib == total + 10


def test_a_gpu_that_was_not_measured_follows_its_neighbour() -> None:
    two = host(*(gpu(index, "NVIDIA GeForce RTX 3090", "8.6", 24576) for index in range(2)))
    first = plan(two, gpus=(0,), **WORDS)
    seen = observed(first, {GPU: memory(first, GPU).total_mib + 500})
    other = plan(two, seen, gpus=(1,), **WORDS).memory.devices[0]
    assert other.device != GPU
    assert other.total_mib == memory(first, GPU).total_mib + 500


def test_the_margin_shrinks_with_agreement_and_grows_with_spread() -> None:
    before = plan(ONE_GPU, **WORDS)
    total, margin = memory(before, GPU).total_mib, memory(before, GPU).margin_mib

    def margin_after(*used: int) -> int:
        seen = [observed(before, {GPU: size}, serial) for serial, size in enumerate(used, 1)]
        return memory(plan(ONE_GPU, *seen, **WORDS), GPU).margin_mib

    assert margin_after(total) == margin
    assert margin_after(total, total) == -(-margin * 3 // 4)
    assert margin_after(total, total, total) == -(-margin // 2)
    assert margin_after(total, total + 100) == -(-margin * 3 // 4) + 100
    assert margin_after(total, total + 9000) == 2 * margin


def test_the_log_scales_the_compute_buffer() -> None:
    before = plan(ONE_GPU, **WORDS)
    was = memory(before, GPU)
    told = MeasuredMemory(
        device=GPU,
        used_mib=was.total_mib,
        how="nvml-process",
        parts={"compute": round(was.compute_mib * 1.5), "output": 0},
    )
    now = memory(plan(ONE_GPU, observed(before, {}, measured=(told,)), **WORDS), GPU)
    assert now.compute_mib == pytest.approx(was.compute_mib * 1.5, abs=1)
    assert now.total_mib >= was.total_mib


def test_what_measured_did_not_fit_is_not_planned_again() -> None:
    """A card on which the formulas just fit, and the server took more than the card has free."""
    words = {**WORDS, "image": "server-cuda", "context": 2048, "kv_type": "f16"}
    roomy = memory(plan(ONE_GPU, **words), GPU)
    free = roomy.total_mib + roomy.margin_mib + 64
    tight = host(gpu(0, "NVIDIA GeForce RTX 3090", "8.6", 24576, memory_free_mib=free))
    before = plan(tight, **words)
    assert before.settings.gpu_layers == plan(ONE_GPU, **words).settings.gpu_layers
    after = plan(tight, observed(before, {GPU: free + 1}), **words)
    assert after.memory.fits
    assert after.settings.gpu_layers < before.settings.gpu_layers
    assert memory(after, GPU).available_mib == memory(before, GPU).available_mib


def test_what_fits_only_by_the_corrected_estimate_is_planned() -> None:
    words = {**WORDS, "image": "server-cuda", "context": 2048, "kv_type": "f16"}
    roomy = memory(plan(ONE_GPU, **words), GPU)
    free = roomy.total_mib + roomy.margin_mib - 50
    tight = host(gpu(0, "NVIDIA GeForce RTX 3090", "8.6", 24576, memory_free_mib=free))
    seen = [observed(plan(ONE_GPU, **words), {GPU: roomy.total_mib}, serial) for serial in (1, 2, 3)]
    full = plan(ONE_GPU, **words).settings.gpu_layers
    assert plan(tight, **words).settings.gpu_layers < full
    assert plan(tight, *seen, **words).settings.gpu_layers == full


def test_a_refusal_names_the_corrected_numbers() -> None:
    small = host(ram_mib=9000)
    words = {**WORDS, "context": 2048}
    before = plan(small, **words)
    with pytest.raises(NoFitError) as refused:
        plan(small, observed(before, {"host": 12000}), **words)
    was = memory(before, "host")
    rejected = msgspec.convert(refused.value.details["rejected"], list[Rejection])
    said = [item.reason for item in rejected if item.rule == "memory"]
    assert said
    assert all(f"overhead {was.overhead_mib + 12000 - was.total_mib})" in reason for reason in said)


def test_an_engine_with_a_pool_is_never_given_memory_that_is_not_free() -> None:
    words = {"engine": "vllm"}
    before = plan(ONE_GPU, **words)
    after = plan(ONE_GPU, observed(before, {GPU: 1, "host": 1}), **words)
    assert after.settings.gpu_memory_fraction == before.settings.gpu_memory_fraction
    assert memory(after, GPU).available_mib == memory(before, GPU).available_mib
    more = plan(ONE_GPU, observed(before, {GPU: memory(before, GPU).total_mib + 1000}), **words)
    assert (more.settings.gpu_memory_fraction or 0) < (before.settings.gpu_memory_fraction or 0)
    assert more.memory.fits


def subject(made: Plan) -> Subject:
    return Subject(
        engine=made.engine,
        image=made.image.profile,
        accelerator=made.image.accelerator,
        architecture=made.model.architecture or "",
        quantization=made.model.quantization,
        parameters=made.model.parameters or 0,
    )


sizes = st.integers(min_value=1, max_value=60_000)


@given(used=st.lists(sizes, min_size=1, max_size=6), told=st.lists(sizes, max_size=6))
def test_a_corrected_estimate_is_never_below_what_was_measured(used: list[int], told: list[int]) -> None:
    device = DeviceMemory(
        device="host",
        weights_mib=4000,
        kv_cache_mib=500,
        compute_mib=300,
        overhead_mib=60,
        total_mib=4860,
        margin_mib=256,
        available_mib=16000,
    )
    made = plan(ONE_GPU, **WORDS)
    seen = [
        observed(
            made,
            {},
            serial,
            predicted=(device,),
            measured=(
                MeasuredMemory(
                    device="host",
                    used_mib=size,
                    how="resident",
                    parts={"compute": told[serial]} if serial < len(told) else {},
                ),
            ),
        )
        for serial, size in enumerate(used)
    ]
    learned = correction.learn(seen, subject(made))
    corrected = correction.apply(MemoryPlan(devices=(device,)), learned).devices[0]
    assert corrected.total_mib >= max(used)
    assert corrected.overhead_mib >= device.overhead_mib / 2
    assert device.compute_mib / 2 <= corrected.compute_mib <= 2 * device.compute_mib
    assert 0 < corrected.margin_mib <= 2 * device.margin_mib
    again = correction.apply(MemoryPlan(devices=(corrected,)), learned).devices[0]
    assert again == corrected


def speed(decode: float, factor: float = 1.0) -> SpeedEstimate:
    return SpeedEstimate(
        prompt_tokens_per_s=decode * 10,
        decode_tokens_per_s=decode,
        total_tokens_per_s=decode,
        basis="rough",
        factor=factor,
        prompt_factor=factor,
    )


@pytest.mark.parametrize(("measured", "factor"), [(80.0, 0.8), (120.0, 1.2), (3.0, 0.5), (900.0, 2.0)])
def test_speed_follows_what_was_measured_within_bounds(measured: float, factor: float) -> None:
    made = plan(ONE_GPU, **WORDS)
    seen = observed(made, {}, speed=speed(100.0), decode_tokens_per_s=measured)
    found, how = correction.speed_factor([seen], subject(made))
    assert found == pytest.approx(factor)
    assert how == f"corrected by 1 measurement here: x{factor:g}"


def test_a_corrected_speed_is_not_corrected_twice() -> None:
    made = plan(ONE_GPU, **WORDS)
    first = observed(made, {}, speed=speed(100.0), decode_tokens_per_s=80.0, prompt_tokens_per_s=500.0)
    second = observed(made, {}, 2, speed=speed(80.0, 0.8), decode_tokens_per_s=80.0, prompt_tokens_per_s=500.0)
    assert correction.speed_factor([first, second], subject(made))[0] == pytest.approx(0.8)
    assert correction.speed_factor([first], subject(made), of="prompt")[0] == pytest.approx(0.5)


def test_other_models_of_the_engine_tell_the_speed_where_nothing_better_does() -> None:
    made = plan(ONE_GPU, **WORDS)
    other = observed(made, {}, quantization="Q8_0", speed=speed(100.0), decode_tokens_per_s=70.0)
    factor, how = correction.speed_factor([other], subject(made))
    assert factor == pytest.approx(0.7)
    assert how is not None
    assert "of other models" in how
    assert correction.speed_factor([msgspec.structs.replace(other, accelerator="cpu")], subject(made)) == (1.0, None)


def test_the_plan_says_the_corrected_speed() -> None:
    before = plan(ONE_GPU, **WORDS)
    predicted = before.speed.decode_tokens_per_s or 0
    after = plan(ONE_GPU, observed(before, {}, decode_tokens_per_s=predicted * 0.8), **WORDS)
    assert after.speed.decode_tokens_per_s == pytest.approx(predicted * 0.8, rel=0.01)
    assert after.speed.factor == pytest.approx(0.8, rel=0.01)
    assert "corrected by 1 measurement here" in after.speed.basis
    assert after.plan_hash == before.plan_hash


def test_one_slow_hour_refuses_nothing() -> None:
    small = host(ram_mib=9000)
    before = plan(small, **WORDS)
    assert plan(small, observed(before, {}, decode_tokens_per_s=0.001), **WORDS).memory.fits


def test_equal_observations_give_equal_plans() -> None:
    before = plan(ONE_GPU, **WORDS)
    seen = observed(before, {GPU: 9000, "host": 900}, decode_tokens_per_s=40.0)
    again = msgspec.convert(msgspec.to_builtins(seen), type=Observation)
    assert plan(ONE_GPU, seen, **WORDS) == plan(ONE_GPU, again, **WORDS)
