"""Speed: rooflines worked out by hand, what holds on every machine, and what others measured."""

import math
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.decide import estimate_llama, estimate_paged
from deployer.decide.candidates import Candidate, Device
from deployer.decide.correction import LEAST
from deployer.decide.rates import ALLOWANCE, KNOWN, MEASURED, Rate
from deployer.decide.settings import Shortage
from deployer.decide.speed import about, estimate, prompt_seconds, step_seconds
from deployer.decide.steps import Place
from deployer.decide.weights import weights_of
from deployer.types import Architecture, EngineProfile, GpuModel, HostFacts, ModelSpec, Plan, Request, SpeedEstimate
from tests.unit.decide.hosts import gpu, host, knowledge, model, plan, sample
from tests.unit.decide.test_correction import observed
from tests.unit.decide.test_correction import plan as planned
from tests.unit.decide.test_rule_table import BF16, only

replace = msgspec.structs.replace
LLAMA_7B = Architecture(
    name="llama", layers=32, embedding=4096, feed_forward=11008, heads=32, kv_heads=32, head_dim=128, vocabulary=32000,
    context_max=4096,
)  # fmt: skip
LLAMA_8B = replace(LLAMA_7B, feed_forward=14336, kv_heads=8, vocabulary=128256, context_max=8192)


def spec(name: str) -> ModelSpec:
    """A model of the catalog; `7b` and `8b` are the Llama 2 and 3 that everybody measures."""
    made = {"7b": (LLAMA_7B, 6_738_415_616), "8b": (LLAMA_8B, 8_030_261_248)}.get(name)
    if made is None:
        return model(name)
    architecture, parameters = made
    base = model("llama-3.1-8b-instruct")
    kinds = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q8_0", "F16")
    variants = tuple(replace(base.variants[0], quantization=kind, size_bytes=None) for kind in kinds)
    return replace(base, architecture=architecture, parameters=parameters, variants=variants)


def known_engine(name: str) -> EngineProfile:
    return next(item for item in knowledge().engines if item.engine == name)


class Anchor(NamedTuple):
    """What somebody measured: one user's tokens a second, and those of a prompt where it was told."""

    source: str
    card: tuple[str, str | None, int]
    model: str
    quantization: str
    decode: float | None
    prompt: float | None = None
    cards: int = 1


BENCH = "XiongjieDai/GPU-Benchmarks-on-LLM-Inference"
ANCHORS = (
    Anchor("llama.cpp#4766", ("Tesla P40", "6.1", 23040), "7b", "Q4_0", 56.8, 912),
    Anchor("llama.cpp#5619", ("Quadro P6000", "6.1", 24576), "7b", "Q5_K_M", 40, None, 8),
    Anchor(BENCH, ("GeForce RTX 3070", "8.6", 8192), "8b", "Q4_K_M", 72.8, 2403),
    Anchor(BENCH, ("GeForce RTX 3080", "8.6", 10240), "8b", "Q4_K_M", 109.6, 3729),
    Anchor(BENCH, ("GeForce RTX 3090", "8.6", 24576), "8b", "Q4_K_M", 115.4, 4030),
    Anchor(BENCH, ("GeForce RTX 3090", "8.6", 24576), "8b", "F16", 47.4, 4445),
    Anchor("llama.cpp#15802", ("GeForce RTX 3090", "8.6", 24576), "8b", "Q4_0", 156.6, 4300),
    Anchor(BENCH, ("GeForce RTX 4070 Ti", "8.9", 12282), "8b", "Q4_K_M", 83.5, 3936),
    Anchor(BENCH, ("GeForce RTX 4080", "8.9", 16376), "8b", "Q4_K_M", 108.2, 5390),
    Anchor(BENCH, ("GeForce RTX 4090", "8.9", 24564), "8b", "Q4_K_M", 130.6, 7139),
    Anchor(BENCH, ("GeForce RTX 4090", "8.9", 24564), "8b", "F16", 54.8, 9382),
    Anchor("llama.cpp#7676", ("GeForce RTX 4090", "8.9", 24564), "8b", "Q4_0", None, 10358),
    Anchor(BENCH, ("A100 PCIe 80 GB", "8.0", 81920), "7b", "Q4_0", 136.2, 3444),
    Anchor(BENCH, ("A100 PCIe 80 GB", "8.0", 81920), "7b", "F16", 73.8, 5106),
    Anchor("llama.cpp#6017", ("A100 PCIe 80 GB", "8.0", 81920), "7b", "F16", 74.8, 8668),
    Anchor(BENCH, ("H100 PCIe 80 GB", "9.0", 81559), "7b", "Q4_0", 133.8, 4869),
    Anchor(BENCH, ("H100 PCIe 80 GB", "9.0", 81559), "7b", "F16", 83.3, 7367),
    Anchor("llama.cpp#26284", ("Radeon RX 7900 XTX", None, 24576), "8b", "Q4_K_M", 105.7, 3227),
    Anchor("llama.cpp#20934", ("Radeon RX 7900 XTX", None, 24576), "7b", "Q4_0", 136, 4200),
    Anchor("ipex-llm#12991", ("Arc B580", None, 12216), "qwen2.5-7b-instruct", "Q4_K_M", 66.5, 2336),
)


def machine(card: tuple[str, str | None, int], count: int) -> HostFacts:
    name, capability, total = card
    vendor = "amd" if "Radeon" in name else "intel" if "Arc" in name else "nvidia"
    gfx = "gfx1100" if vendor == "amd" else None
    cards = [gpu(index, name, capability, total, vendor=vendor, gfx=gfx, driver=None) for index in range(count)]
    where = host(*cards, ram_mib=128000)
    return where if vendor == "nvidia" else replace(where, nvidia=None)


ACCELERATORS = {"amd": "rocm", "intel": "sycl", "nvidia": "cuda"}


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda item: f"{item.card[0]} {item.model} {item.quantization}")
def test_what_others_measured_is_in_the_range(anchor: Anchor) -> None:
    where = machine(anchor.card, anchor.cards)
    found = plan(
        *(where, spec(anchor.model)),
        asked={
            "engine": "llama.cpp", "quantization": anchor.quantization, "context": 1024,
            "gpus": tuple(range(anchor.cards)), "accelerator": ACCELERATORS[where.gpus[0].vendor or ""],
        },
    )  # fmt: skip
    assert len(found.devices) == anchor.cards
    assert within(found.speed, decode=anchor.decode, prompt=anchor.prompt), found.speed


def within(
    speed: SpeedEstimate, *, decode: float | None = None, prompt: float | None = None, total: float | None = None
) -> bool:
    ranges = (
        (speed.decode_low, decode, speed.decode_high),
        (speed.prompt_low, prompt, speed.prompt_high),
        (speed.total_low, total, speed.total_high),
    )
    return all(value is None or (low or math.inf) <= value <= (high or 0) for low, value, high in ranges)


@pytest.mark.parametrize(("users", "total"), [(1, 156.6), (2, 279.9), (4, 470.5), (8, 583.8)])
def test_further_users_cost_what_was_measured(users: int, total: float) -> None:
    # llama.cpp#15802: RTX 3090, Llama 8B Q4_0, batches of so many tokens
    where = machine(("GeForce RTX 3090", "8.6", 24576), 1)
    found = plan(where, spec("8b"), users=users, engine="llama.cpp", quantization="Q4_0", context=512)
    assert found.settings.slots == users
    assert within(found.speed, total=total), found.speed


def cpu(cores: int, *flags: str, nodes: int = 1) -> HostFacts:
    where = host(cores=cores)
    return replace(where, cpu=replace(where.cpu, flags=("avx", "avx2", *flags), numa_nodes=nodes))


@pytest.mark.parametrize(
    ("where", "name", "quantization", "decode", "prompt"),
    [
        (cpu(4), "7b", "Q4_0", 3.94, 13.8),  # llama.cpp#34: i5-6500
        (cpu(4, "avx512_vnni"), "8b", "Q4_0", 11.25, None),  # ik_llama.cpp#54: Ryzen 7950X, 4 threads
        (cpu(16, "avx512_vnni"), "8b", "Q4_0", None, 123),  # the same, 16 threads
        (cpu(8), "8b", "Q4_0", 11.9, None),  # ik_llama.cpp#54: Ryzen 5975WX, 8 threads
        (cpu(32), "8b", "Q4_0", None, 139),  # the same, 32 threads
        (cpu(32, nodes=2), "7b", "Q4_0", 8.5, None),  # llama.cpp#1556: two E5-2698 v3
    ],
)
def test_processors_that_others_measured_are_in_the_range(
    where: HostFacts, name: str, quantization: str, decode: float | None, prompt: float | None
) -> None:
    found = plan(where, spec(name), engine="llama.cpp", quantization=quantization, context=512)
    assert within(found.speed, decode=decode, prompt=prompt), found.speed


SMALL = model("smollm2-135m-instruct")
Q4_1 = replace(SMALL, variants=(replace(SMALL.variants[0], quantization="Q4_1", size_bytes=98_362_432),))


def test_a_small_model_on_two_cores_is_as_fast_as_measured() -> None:
    # llama-server b11434: SmolLM2-135M Q4_1 on 2 cores with AVX-512, 150 to 158 tokens/s alone, 258 for eight
    crowd = plan(cpu(2, "avx512_vnni"), Q4_1, users=8, context=2048)
    assert crowd.settings.slots == 8
    assert crowd.speed.decode_tokens_per_s == pytest.approx(154, rel=0.2)
    assert crowd.speed.total_tokens_per_s == pytest.approx(258, rel=0.2)


def test_an_engine_on_pytorch_is_as_fast_on_two_cores_as_measured() -> None:
    # SGLang 0.5.23, SmolLM2-135M in 16 bits on the same cores: 34 tokens/s alone, 177 for eight
    where, engine = cpu(2, "avx512f", "avx512_vnni", "avx512_bf16"), known_engine("sglang")
    candidate = Candidate(engine, replace(engine.images[0], accelerator="cpu"), BF16)
    weights = weights_of(BF16, SMALL.architecture, SMALL.parameters, 16.0)
    request = Request(model=SMALL.name, users=8, context=2048)
    sized = estimate_paged.size(candidate, where, SMALL, request, weights)
    assert not isinstance(sized, Shortage)
    found = estimate(candidate, where, sized[0], SMALL)
    assert found.decode_tokens_per_s == pytest.approx(34, rel=0.3)
    assert found.total_tokens_per_s == pytest.approx(177, rel=0.3)


def test_two_linked_cards_share_a_large_model_as_measured() -> None:
    # tenstorrent/tt-inference-server#143: Qwen2.5 72B, vLLM, two H100, 32.4 tokens/s
    cards = [gpu(index, "NVIDIA H100 80GB HBM3", "9.0", 81559) for index in range(2)]
    where = host(*cards, ram_mib=512000)
    found = plan(where, only(BF16, of=model("qwen2.5-72b-instruct")), engine="vllm", gpus=(0, 1), context=2048)
    assert found.settings.tensor_parallel == 2
    assert within(found.speed, decode=32.4), found.speed


def place(**words: float) -> Place:
    """1 ms to read the dense part, 8 ms all experts, 0.1 ms a conversation; 0.2 ms of arithmetic; 0.5 ms to begin."""
    rate = Rate(1e12, 1e13, KNOWN, KNOWN, "a card")
    seconds = {"dense_s": 1e-3, "experts_s": 0.0, "cache_s": 1e-4, "arithmetic_s": 2e-4, "exchange_s": 0.0}
    return Place(rate, **{**seconds, "begin_s": 5e-4, **words})


def test_a_step_is_what_the_hand_works_out() -> None:
    # 0.5 to begin, max(1 + 0.1, 0.2) to read
    assert step_seconds([place()], 1, 0.0, each=2.5) == pytest.approx(1.6e-3)
    # 0.5 + max(1 + 0.4, 0.2) + 0.2 * 2.5 * 3
    assert step_seconds([place()], 4, 0.0, each=2.5) == pytest.approx(3.4e-3)
    # arithmetic that takes longer than reading: 0.5 + max(1.1, 2 * 2)
    assert step_seconds([place(arithmetic_s=2e-3)], 1, 0.0, each=2.0) == pytest.approx(4.5e-3)
    # two places are one after the other, and two users exchange 0.3 each
    shared = [place(), place(exchange_s=3e-4)]
    assert step_seconds(shared, 2, 0.0, each=1.0) == pytest.approx(2 * (0.5e-3 + 1.2e-3 + 0.2e-3) + 6e-4)


def test_users_touch_more_experts_together() -> None:
    # 8 experts, 2 used: one user reads a quarter of 8 ms, two 1 - 0.75 ** 2 = 0.4375, many all of them
    mixture = place(experts_s=8e-3)
    assert step_seconds([mixture], 1, 0.25, each=1.0) == pytest.approx(0.5e-3 + 1e-3 + 2e-3 + 1e-4)
    assert step_seconds([mixture], 2, 0.25, each=1.0) == pytest.approx(0.5e-3 + 1e-3 + 3.5e-3 + 2e-4 + 2e-4)
    assert step_seconds([mixture], 100, 0.25, each=1.0) == pytest.approx(0.5e-3 + 9e-3 + 1e-2 + 99 * 2e-4)


def test_a_prompt_is_arithmetic_and_a_reading_a_piece() -> None:
    # 0.2 ms a token, behind which 1 ms is read for each 512, and 0.5 ms to begin each
    assert prompt_seconds([place()]) == pytest.approx(2e-4 + 0.5e-3 / 512)
    # 512 ms to read for each 512 tokens are more than their arithmetic
    assert prompt_seconds([place(dense_s=0.512)]) == pytest.approx(1e-3 + 0.5e-3 / 512)
    # layers in main memory, 50 times slower there: brought to the card in 0.5 s a piece, that is 1 ms a token
    there = Rate(1e10, 2e11, ALLOWANCE, ALLOWANCE, "memory")
    slow = msgspec.structs.replace(place(arithmetic_s=1e-2), rate=there, upload_s=0.512)
    assert prompt_seconds([place(), slow]) == pytest.approx(2e-4 + 0.5e-3 / 512 + 1e-3 + 2e-4)


MANY = settings(max_examples=100, deadline=None)
LLAMA, VLLM = known_engine("llama.cpp"), known_engine("vllm")
KINDS = ("pascal", "ampere", "ada", "hopper", "rdna3", "nobody's")


def timed(bandwidth: int, users: int, kind: str, *, paged: bool, slots: int = 64) -> tuple[float, float, float]:
    """Tokens a second for one, for `users` together and of a prompt, of an 8B model on a card of 80 GB."""
    known = GpuModel(name="x", vendor="nvidia", architecture=kind, memory_mib=81920, bandwidth_gb_s=bandwidth)
    what, engine = spec("8b"), VLLM if paged else LLAMA
    variant = BF16 if paged else what.variants[0]
    image = next(item for item in engine.images if item.accelerator == "cuda")
    candidate = Candidate(engine, image, variant, (Device(gpu(0, "x", "8.6", 81920), known),))
    weights = weights_of(variant, what.architecture, what.parameters, 16.0 if paged else 4.5)
    request = Request(model=what.name, users=slots, slots=users, context=512)
    sized = (estimate_paged.size if paged else estimate_llama.size)(candidate, host(), what, request, weights)
    assert not isinstance(sized, Shortage)
    found = estimate(candidate, host(), sized[0], what)
    return found.decode_tokens_per_s or 0, found.total_tokens_per_s or 0, found.prompt_tokens_per_s or 0


@MANY
@given(st.integers(100, 4000), st.integers(1, 4000), st.integers(1, 64), st.sampled_from(KINDS), st.booleans())
def test_more_bandwidth_is_never_slower(bandwidth: int, more: int, users: int, kind: str, paged: bool) -> None:
    slow = timed(bandwidth, users, kind, paged=paged)
    fast = timed(bandwidth + more, users, kind, paged=paged)
    assert all(second >= first > 0 for first, second in zip(slow, fast, strict=True))


@MANY
@given(st.integers(100, 4000), st.integers(1, 63), st.sampled_from(KINDS), st.booleans())
def test_more_users_share_more_and_each_has_less(bandwidth: int, users: int, kind: str, paged: bool) -> None:
    now, more = (timed(bandwidth, count, kind, paged=paged)[1] for count in (users, users + 1))
    assert more / (users + 1) <= now / users + 0.1
    assert more >= now * 0.99


@pytest.mark.parametrize(
    ("number", "text"), [(1534, "about 1500"), (45.4, "about 45"), (4.56, "about 4.6"), (0.123, "about 0.12")]
)
def test_numbers_have_no_false_digits(number: float, text: str) -> None:
    assert about(number) == text


def test_the_range_says_how_well_it_is_known() -> None:
    known = plan(sample("p40x2-580"), quantization="Q4_0").speed
    assert (known.decode_high or 0) / (known.decode_low or 1) == pytest.approx(KNOWN**2, rel=0.02)
    guessed = plan(host(cores=8)).speed
    assert (guessed.decode_high or 0) / (guessed.decode_low or 1) == pytest.approx(ALLOWANCE**2, rel=0.1)
    assert guessed.evidence != known.evidence
    unknown = plan(host(gpu(0, "Card of tomorrow", "8.9", 24576))).speed
    assert (unknown.decode_low, unknown.decode_high, unknown.evidence) == (None, None, "")


CARD = host(gpu(0, "NVIDIA GeForce RTX 3090", "8.6", 24576))
Q4 = {"engine": "llama.cpp", "quantization": "Q4_K_M"}


def test_what_was_measured_here_narrows_the_range() -> None:
    before = planned(CARD, **Q4)
    formula = before.speed.decode_tokens_per_s or 0
    now = planned(CARD, observed(before, {}, decode_tokens_per_s=formula * 0.8), **Q4).speed
    assert now.decode_low == pytest.approx(formula * 0.8 / MEASURED, rel=0.01)
    assert now.decode_high == pytest.approx(formula * 0.8 * MEASURED, rel=0.01)
    assert now.evidence == "measured here"
    assert (now.total_high or 0) / (now.total_low or 1) == pytest.approx(KNOWN**2, rel=0.01)  # one user was measured
    assert (now.prompt_low, now.prompt_high) == (before.speed.prompt_low, before.speed.prompt_high)


def test_another_model_that_was_measured_narrows_it_less() -> None:
    before = planned(host(cores=8), **Q4)
    other = observed(before, {}, decode_tokens_per_s=before.speed.decode_tokens_per_s, quantization="other")
    now = planned(host(cores=8), other, **Q4).speed
    assert (before.speed.decode_high or 0) / (before.speed.decode_low or 1) == pytest.approx(ALLOWANCE**2, rel=0.05)
    assert (now.decode_high or 0) / (now.decode_low or 1) == pytest.approx(KNOWN**2, rel=0.05)


def test_a_speed_that_no_correction_explains_keeps_the_wide_range() -> None:
    before = planned(host(cores=8), **Q4)
    crawl = observed(before, {}, decode_tokens_per_s=0.01)
    now = planned(host(cores=8), crawl, **Q4).speed
    assert now.factor == LEAST
    assert (now.decode_high or 0) / (now.decode_low or 1) == pytest.approx(ALLOWANCE**2, rel=0.1)


def score_of(made: Plan, part: str) -> float:
    return next(item.value for item in made.score if item.part == part)


def test_under_load_every_answer_has_its_prompt_read() -> None:
    made = planned(CARD, users=4, **Q4)
    speed = made.speed
    assert speed.total_tokens_per_s is not None
    assert speed.prompt_tokens_per_s is not None
    each = 1 / (4 / speed.total_tokens_per_s + 4 * 2 / speed.prompt_tokens_per_s)
    assert each < speed.total_tokens_per_s / 4
    assert score_of(made, "speed") == pytest.approx(30 + math.log2(each / 15), abs=0.01)


def test_waiting_for_the_first_token_costs_points_where_prompts_are_slow() -> None:
    fast, slow = planned(CARD, **Q4), planned(host(cores=8), **Q4)
    assert score_of(fast, "first-token") == 0
    seconds = 500 / (slow.speed.prompt_tokens_per_s or 1)
    assert score_of(slow, "first-token") == pytest.approx(max(-3 * math.log2(seconds / 2), -15), abs=0.01)
    agents = planned(host(cores=8), workload="agents", **Q4)
    assert score_of(agents, "first-token") < score_of(slow, "first-token") - 1


def test_embeddings_are_as_fast_as_their_prompts() -> None:
    made = plan(host(cores=8), "bge-m3", workload="embedding", users=2)
    said = next(item.why for item in made.score if item.part == "speed")
    assert f"{about((made.speed.prompt_tokens_per_s or 0) / 2)} tokens/s each with 2 users busy, of a prompt" in said


def test_a_measurement_of_the_prompt_alone_does_not_say_that_nobody_measured() -> None:
    before = planned(host(cores=8), **Q4)
    assert "nobody measured" in before.speed.evidence
    prompt = (before.speed.prompt_tokens_per_s or 0) * 0.8
    now = planned(host(cores=8), observed(before, {}, prompt_tokens_per_s=prompt), **Q4).speed
    assert now.prompt_factor == pytest.approx(0.8, rel=0.02)
    assert "nobody measured" not in now.evidence
    assert (now.decode_low, now.decode_high) == (before.speed.decode_low, before.speed.decode_high)
