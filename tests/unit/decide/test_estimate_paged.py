"""What engines with a pool are given of GPUs and main memory, and what they promise for it."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.decide.candidates import Candidate, Device
from deployer.decide.estimate_paged import size
from deployer.decide.paged_layers import kv_types
from deployer.decide.paged_share import Card, share
from deployer.decide.paged_work import Work
from deployer.decide.settings import Shortage, Sizing
from deployer.decide.weights import Weights, weights_of
from deployer.types import Gpu, HostFacts, ModelSpec, ModelVariant, Request
from tests.unit.decide.hosts import gpu, host, knowledge, model

RTX = ("GeForce RTX 4090", "8.9", 24564)
AMPERE = ("GeForce RTX 3090", "8.6", 24576)
HOPPER = ("NVIDIA H100 80GB HBM3", "9.0", 81559)
BF16 = ModelVariant(format="safetensors", quantization="BF16", source="/x", files=("x",), path="/x")
ENGINES = ("vllm", "sglang", "tensorrt-llm", "tgi")


def weights(spec: ModelSpec) -> Weights:
    return weights_of(BF16, spec.architecture, spec.parameters, 16.0)


def candidate(engine: str, *gpus: Gpu, image: str = "", data_parallel: int = 1, stages: int = 1) -> Candidate:
    profile = next(item for item in knowledge().engines if item.engine == engine)
    accelerator = "cuda" if gpus else "cpu"
    found = next(item for item in profile.images if (item.id == image if image else item.accelerator == accelerator))
    devices = tuple(Device(item) for item in gpus)
    return Candidate(profile, found, BF16, devices, data_parallel=data_parallel, pipeline_parallel=stages)


def sized(made: Candidate, what: str, where: HostFacts | None = None, **asked: object) -> Sizing | Shortage:
    spec, request = model(what), msgspec.convert({"model": what, **asked}, Request)
    found = size(made, where or host(ram_mib=200_000), spec, request, weights(spec))
    return found if isinstance(found, Shortage) else found[0]


def fits(made: Candidate, what: str, where: HostFacts | None = None, **asked: object) -> Sizing:
    found = sized(made, what, where, **asked)
    assert isinstance(found, Sizing)
    assert found.memory.fits
    return found


def cards(kind: tuple[str, str, int], count: int = 1, **facts: object) -> tuple[Gpu, ...]:
    return tuple(msgspec.structs.replace(gpu(index, *kind), **facts) for index in range(count))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_promise_is_in_the_pool_and_the_parts_are_the_sum(engine: str) -> None:
    found = fits(candidate(engine, *cards(HOPPER)), "qwen2.5-7b-instruct", users=16)
    card = found.memory.devices[0]
    assert card.total_mib == card.weights_mib + card.kv_cache_mib + card.compute_mib + card.overhead_mib
    tokens, most = found.memory.kv_cache_tokens, found.memory.max_concurrency
    assert tokens is not None
    assert most is not None
    assert tokens >= found.offer.slots * found.offer.context
    assert most >= found.offer.slots
    assert tokens == pytest.approx(card.kv_cache_mib * 1024**2 / (28 * 2 * 4 * 128 * 2), rel=0.001)


def test_vllm_gets_a_part_of_the_whole_that_is_free() -> None:
    """13,000 of 24,564 MiB are free: less the margin, in steps of 2 %."""
    found = fits(candidate("vllm", *cards(RTX, memory_free_mib=13_000)), "qwen2.5-3b-instruct")
    part = found.settings.gpu_memory_fraction
    assert part is not None
    assert math.ceil(24_564 * part) <= 13_000
    assert part == pytest.approx(0.5, abs=0.011)
    assert found.memory.devices[0].total_mib <= 24_564 * part


def test_sglang_gets_a_part_of_what_is_free() -> None:
    """The same fraction on a card half of which is taken means half as much: it is of the memory at the start."""
    whole = fits(candidate("sglang", *cards(HOPPER)), "qwen2.5-7b-instruct")
    half = fits(candidate("sglang", *cards(HOPPER, memory_free_mib=40_000)), "qwen2.5-7b-instruct")
    for found, free in ((whole, gpu(0, *HOPPER).memory_free_mib), (half, 40_000)):
        card, part = found.memory.devices[0], found.settings.gpu_memory_fraction
        assert part is not None
        assert free is not None
        assert card.weights_mib + card.kv_cache_mib == pytest.approx((free - 500) * part, abs=1)


def test_tensorrt_gets_a_part_of_what_the_weights_leave() -> None:
    found = fits(candidate("tensorrt-llm", *cards(HOPPER)), "qwen2.5-7b-instruct")
    card, part = found.memory.devices[0], found.settings.gpu_memory_fraction
    assert part is not None
    assert part <= 0.9
    assert card.kv_cache_mib == pytest.approx(part * (81_559 - card.weights_mib - card.compute_mib - 500), rel=0.02)


def test_unknown_memory_takes_the_best_offer_and_no_fraction() -> None:
    found = fits(candidate("vllm", *cards(RTX, memory_free_mib=None)), "qwen2.5-7b-instruct", users=4)
    assert (found.offer.slots, found.offer.given_up, found.settings.gpu_memory_fraction) == (4, (), None)


def test_keys_in_eight_bits_before_fewer_users() -> None:
    found = fits(candidate("vllm", *cards(RTX, memory_free_mib=19_200)), "qwen2.5-7b-instruct", users=8, context=8192)
    assert (found.settings.kv_cache_type, found.offer.slots) == ("fp8", 8)
    assert any("fp8 instead of auto" in text for text in found.offer.given_up)
    plain = fits(candidate("vllm", *cards(RTX, memory_free_mib=19_200)), "qwen2.5-7b-instruct", users=8, context=8192,
                 kv_type="auto")  # fmt: skip
    assert plain.offer.slots < 8


@pytest.mark.parametrize(
    ("engine", "card", "what", "expected"),
    [
        ("vllm", RTX, "qwen2.5-7b-instruct", "fp8"),
        ("vllm", AMPERE, "qwen2.5-7b-instruct", "fp8"),
        ("vllm", AMPERE, "gemma-2-9b-it", None),
        ("vllm", RTX, "gemma-2-9b-it", "fp8"),
        ("vllm", ("Tesla T4", "7.5", 15360), "qwen2.5-7b-instruct", None),
        ("vllm", AMPERE, "deepseek-r1-0528", None),
        ("vllm", HOPPER, "deepseek-r1-0528", "fp8"),
        ("sglang", AMPERE, "qwen2.5-7b-instruct", "fp8_e5m2"),
        ("sglang", HOPPER, "qwen2.5-7b-instruct", "fp8_e4m3"),
        ("tensorrt-llm", AMPERE, "qwen2.5-7b-instruct", "fp8"),
        ("tgi", HOPPER, "qwen2.5-7b-instruct", None),
    ],
)
def test_where_keys_fit_in_eight_bits(engine: str, card: tuple[str, str, int], what: str, expected: str | None) -> None:
    found = kv_types(candidate(engine, *cards(card)), model(what).architecture)
    assert found == (("auto",) if expected is None else ("auto", expected))


def test_no_gpu_no_eight_bits_and_amd_by_target() -> None:
    of = model("qwen2.5-7b-instruct").architecture
    assert kv_types(candidate("vllm"), of) == ("auto",)
    for gfx, expected in (("gfx942", ("auto", "fp8")), ("gfx1100", ("auto",))):
        made = candidate("vllm", Gpu(index=0, vendor="amd", gfx=gfx), image="rocm")
        assert kv_types(made, of) == expected


def test_two_cards_divide_and_two_copies_do_not() -> None:
    one = fits(candidate("vllm", *cards(HOPPER)), "qwen2.5-14b-instruct", users=8)
    shared = fits(candidate("vllm", *cards(HOPPER, 2)), "qwen2.5-14b-instruct", users=8)
    copies = fits(candidate("vllm", *cards(HOPPER, 2), data_parallel=2), "qwen2.5-14b-instruct", users=8)
    first = one.memory.devices[0]
    assert shared.memory.devices[0].weights_mib == pytest.approx(first.weights_mib / 2, rel=0.01)
    assert copies.memory.devices[0].weights_mib == first.weights_mib
    assert copies.memory.devices[0].overhead_mib <= first.overhead_mib < shared.memory.devices[0].overhead_mib
    assert shared.memory.kv_cache_tokens is not None
    assert one.memory.kv_cache_tokens is not None
    assert shared.memory.kv_cache_tokens > 2 * one.memory.kv_cache_tokens
    assert copies.memory.kv_cache_tokens == pytest.approx(one.memory.kv_cache_tokens, rel=0.01)
    assert (copies.settings.slots, copies.context_total) == (8, 4 * copies.offer.context)
    assert copies.counts == (49, 49)


def test_stages_have_their_layers_and_the_fullest_decides() -> None:
    found = fits(candidate("vllm", *cards(HOPPER, 3), stages=3), "qwen2.5-14b-instruct", users=8)
    assert found.counts == (16, 16, 17)
    assert (found.settings.tensor_parallel, found.settings.pipeline_parallel) == (1, 3)
    sizes = [device.weights_mib for device in found.memory.devices[:3]]
    assert sizes[0] > sizes[1] < sizes[2]
    assert found.settings.kv_cache_mib == min(device.kv_cache_mib for device in found.memory.devices[:3])
    assert found.offloaded == found.layers


def test_vllm_on_a_processor_counts_whole_gib_and_sglang_tokens() -> None:
    """With SmolLM2-135M in bfloat16 vLLM 0.32 had 2.9 GiB with a pool of 1 GiB, SGLang 0.5.23 2.5 to 2.7 with 8192
    tokens (2 cores; resident memory): the estimates are not below, and less than 1.5 GiB above.
    """
    where = host(ram_mib=20_000)
    vllm = fits(candidate("vllm"), "smollm2-135m-instruct", where, users=2, context=2048)
    assert vllm.settings.kv_cache_mib == 1024
    assert 2.9 * 1024 <= vllm.memory.devices[0].total_mib <= 4.4 * 1024
    sglang = fits(candidate("sglang"), "smollm2-135m-instruct", where, users=2, context=4096)
    assert sglang.settings.kv_cache_mib == math.ceil((2 * 4096 + 1) * 30 * 3 * 64 * 2 * 2 / 1024**2)
    assert (sglang.memory.kv_cache_tokens, sglang.memory.max_concurrency) == (8192, 2.0)
    assert 2.7 * 1024 <= sglang.memory.devices[0].total_mib <= 4.2 * 1024


def test_a_shortage_is_of_the_smallest_offer_and_says_how_much() -> None:
    found = sized(candidate("vllm", *cards(RTX, memory_free_mib=12_000)), "qwen2.5-7b-instruct", users=8)
    assert isinstance(found, Shortage)
    assert found.offer.slots == 1
    enough = cards(RTX, memory_free_mib=12_000 + round(found.missing_mib * 1.05) + 500)
    assert isinstance(sized(candidate("vllm", *enough), "qwen2.5-7b-instruct", users=1, context=2048), Sizing)


def test_a_driver_keeps_memory_that_the_engine_does_not_see() -> None:
    known = fits(candidate("vllm", *cards(RTX, memory_reserved_mib=480)), "qwen2.5-7b-instruct")
    none = fits(candidate("vllm", *cards(RTX, memory_reserved_mib=0)), "qwen2.5-7b-instruct")
    assert none.memory.devices[0].kv_cache_mib - known.memory.devices[0].kv_cache_mib == pytest.approx(442, abs=2)


CARD = st.builds(
    Card,
    total_mib=st.just(24_000),
    free_mib=st.integers(2_000, 23_000),
    reserved_mib=st.just(400),
    margin_mib=st.integers(100, 900),
    weights_mib=st.integers(100, 20_000),
    work=st.builds(Work, st.integers(0, 3000), st.integers(0, 1500), st.integers(400, 3000)),
)


@given(st.sampled_from(ENGINES), CARD, st.integers(0, 900))
def test_more_free_memory_never_leaves_a_smaller_pool(engine: str, card: Card, more: int) -> None:
    larger = msgspec.structs.replace(card, free_mib=card.free_mib + more)
    assert share(engine, [larger]).pools[0] >= share(engine, [card]).pools[0]


@given(st.sampled_from(ENGINES), st.lists(CARD, min_size=1, max_size=4))
def test_the_share_is_never_more_than_is_free(engine: str, found: list[Card]) -> None:
    """Pools, weights and work of every card, with the margin; a card that is too full has no pool at all."""
    for card, pool in zip(found, share(engine, found).pools, strict=True):
        if pool > 0:
            assert pool + card.beside_mib + card.margin_mib <= card.free_mib + 1


@given(
    st.sampled_from(ENGINES), st.integers(16_000, 80_000), st.integers(0, 40_000), st.sampled_from([1, 4, 16]),
    st.sampled_from(["qwen2.5-7b-instruct", "gemma-2-9b-it", "qwen3-30b-a3b"]),
)  # fmt: skip
def test_more_memory_never_makes_it_fail(engine: str, total: int, more: int, users: int, what: str) -> None:
    small, large = (
        sized(candidate(engine, *cards(("NVIDIA H100 80GB HBM3", "9.0", size))), what, users=users)
        for size in (total, total + more)
    )
    assert isinstance(small, Shortage) or isinstance(large, Sizing)
