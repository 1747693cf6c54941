"""Pools of KV pages: examples worked by hand from engines' logs, and what holds for every pool."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.decide.paged_layers import element_bytes, layers_of
from deployer.decide.paged_pool import Layer, Pool, flat, grouped, pool, split
from deployer.types import Architecture

GIB = 1024**3
KIB = 1024

QWEN_32B = Architecture(
    name="qwen3", layers=64, embedding=5120, feed_forward=25600, heads=64, kv_heads=8, head_dim=128, vocabulary=151936,
    context_max=40960,
)  # fmt: skip
GPT_OSS = Architecture(
    name="gpt-oss", layers=24, embedding=2880, feed_forward=2880, heads=64, kv_heads=8, head_dim=64, vocabulary=201088,
    context_max=131072, experts=32, experts_used=4, expert_feed_forward=2880, sliding_window=128, sliding_pattern=2,
)  # fmt: skip
DEEPSEEK = Architecture(
    name="deepseek2", layers=61, embedding=7168, feed_forward=18432, heads=128, kv_heads=128, head_dim=192,
    vocabulary=129280, context_max=163840, experts=256, experts_used=8, expert_feed_forward=2048, shared_experts=1,
    dense_layers=3, value_head_dim=128, q_lora_rank=1536, kv_lora_rank=512, rope_head_dim=64,
)  # fmt: skip
QWEN35_35B = Architecture(
    name="qwen35moe", layers=40, embedding=2048, feed_forward=0, heads=16, kv_heads=2, head_dim=256, vocabulary=248320,
    context_max=262144, experts=256, experts_used=8, expert_feed_forward=512, full_attention_interval=4,
    ssm_inner_size=4096, ssm_state_size=128, ssm_conv_kernel=4, ssm_groups=16, ssm_heads=32,
)  # fmt: skip


def test_gemma_4_26b_as_vllm_logged_it() -> None:
    """5 full layers of 2 heads of 512, 25 with a window of 1024 and 8 heads of 256; 16 tokens a page.

    Pages: 16 x 8 x (256 + 256) x 2 = 131,072 B; full ones 16 x 2 x 1024 x 2 = 65,536, so those take 32 tokens.
    A group has 5 layers. A request of 262,144 tokens: 262,144 / 32 = 8,192 pages, and in each of 25 / 5 = 5 groups
    ceil((1023 + 2496) / 16) + 1 = 221: together 9,297. Of 83.89 GiB: 137,445 blocks of 5 x 131,072 B; / 9,297 = 14.78.
    """
    full, window = Layer(token_bytes=2 * 1024 * 2), Layer(token_bytes=8 * 512 * 2, window=1024)
    made = grouped(([window] * 5 + [full]) * 5, context=262_144, in_flight=2496)
    assert (made.unit_bytes, made.units) == (5 * 131_072, 8192 + 5 * 221)
    available = int(83.89 * GIB)
    assert available // made.unit_bytes == 137_445
    assert made.concurrency(available) == pytest.approx(14.784, abs=0.0005)
    assert made.tokens(available) == pytest.approx(3_875_400, rel=0.0005)
    assert made.concurrency(int(84.68 * GIB)) == pytest.approx(14.923, abs=0.0005)


def test_qwen_3_6_35b_with_its_draft_as_vllm_logged_it() -> None:
    """10 full layers and the draft's one, 30 with a state that keeps 3 more tokens of its convolution for the draft.

    State: 8192 x (3 + 3) x 2 + 4096 x 128 x 4 = 2,195,456 B = 67 pages of 16 x 2048 B: blocks of 1072 tokens. Groups of
    11: one full, 3 of states (3 layers of padding). A request: ceil(262,144 / 1072) + 3 x (1 + 3) = 245 + 12 = 257.
    """
    state = Layer(state_bytes=8192 * 6 * 2 + 4096 * 128 * 4, states=4)
    layers = [Layer(token_bytes=2 * 512 * 2)] * 11 + [state] * 30
    made = grouped(layers, context=262_144, in_flight=0)
    assert (made.unit_bytes, made.units) == (11 * 1072 * 2048, 257)
    available = 3300 * made.unit_bytes
    assert available / GIB == pytest.approx(74.22, abs=0.005)
    assert made.concurrency(available) == pytest.approx(12.8405, abs=0.00005)
    assert made.tokens(available) == 3_366_051


def test_qwen_3_6_35b_from_its_architecture() -> None:
    """Without a draft: a state of 8192 x 3 x 2 + 4096 x 128 x 4 = 2,146,304 B, 66 pages of 32,768 B: 1056 tokens.

    10 full layers and 3 groups of 10 states, of which prefix caching keeps 2: ceil(262,144 / 1056) + 3 x 2 = 255.
    """
    layers = layers_of(QWEN35_35B, "vllm", ranks=1, kv_type="auto")
    assert [layer.state_bytes for layer in layers[:4]] == [2_146_304, 2_146_304, 2_146_304, 0]
    made = pool("vllm", layers, context=262_144, batch=8192)
    assert (made.unit_bytes, made.units) == (10 * 1056 * 2048, 249 + 3 * 2)


def test_layers_of_many_kinds() -> None:
    """Gemma 4 26B: 25 layers of 8 heads of 256 with a window, 5 of 2 heads of 512; shared ones are empty."""
    of = Architecture(
        name="gemma4", layers=30, embedding=2816, feed_forward=2112, heads=16, kv_heads=8, head_dim=512,
        vocabulary=262144, context_max=262144, sliding_window=1024, sliding_pattern=6, head_dim_swa=256,
        kv_heads_by_layer=(8, 8, 8, 8, 8, 2) * 5,
    )  # fmt: skip
    made = grouped(layers_of(of, "vllm", ranks=1, kv_type="auto"), context=262_144, in_flight=2496)
    assert (made.unit_bytes, made.units) == (5 * 131_072, 9297)
    shared = msgspec.structs.replace(of, shared_kv_layers=6, nextn_layers=1)
    rows = [layer.token_bytes for layer in layers_of(shared, "vllm", ranks=1, kv_type="auto")]
    assert rows[-7:] == [0] * 7
    assert rows[:23] == [8192, 8192, 8192, 8192, 8192, 4096] * 3 + [8192] * 5


def test_a_state_beside_attention_and_an_indexer() -> None:
    """Falcon-H1: keys and three states in every layer; DSA: 576 elements of 16 bits, 128 of 8 and a scale of 32."""
    both = msgspec.structs.replace(
        QWEN_32B, name="falcon-h1", state_beside_attention=True, ssm_inner_size=64, ssm_state_size=16, ssm_conv_kernel=4
    )
    layers = layers_of(both, "vllm", ranks=1, kv_type="auto")
    assert (layers[0].token_bytes, layers[0].state_bytes) == (4096, 3 * 64 * 2 + 64 * 16 * 2)
    made = grouped(layers, context=1600, in_flight=0)
    assert (made.unit_bytes, made.units) == (64 * 65_536, 100 + 3)
    sparse = msgspec.structs.replace(DEEPSEEK, indexer_head_dim=128)
    assert layers_of(sparse, "vllm", ranks=8, kv_type="auto")[0].token_bytes == 576 * 2 + 132
    assert layers_of(sparse, "vllm", ranks=8, kv_type="fp8")[0].token_bytes == 656 + 132


def test_states_of_other_kinds() -> None:
    """LFM2: 2 columns of the embedding; Kimi: 3 x 3 x 32 x 128 in 16 bits and 32 x 128 x 128 in 32."""
    lfm = msgspec.structs.replace(QWEN_32B, recurrent_layers=(True,) * 64, short_conv_cache=3)
    assert layers_of(lfm, "vllm", ranks=1, kv_type="auto")[0] == Layer(state_bytes=2 * 5120 * 2)
    kimi = msgspec.structs.replace(
        QWEN_32B, heads=32, recurrent_layers=(True,) * 64, delta_head_dim=128, ssm_conv_kernel=4
    )
    found = layers_of(kimi, "vllm", ranks=2, kv_type="auto")[0]
    assert found.state_bytes == (9 * 32 * 128 * 2 + 32 * 128 * 128 * 4) // 2


def test_a_uniform_model_is_tokens_times_layers() -> None:
    """64 layers x 2 of 8 heads x (128 + 128) x 2 B = 65,536 B a token on each of 4 GPUs; 52.11 GiB in pages of 16."""
    made = pool("vllm", layers_of(QWEN_32B, "vllm", ranks=4, kv_type="auto"), context=131_072, batch=8192)
    assert made.unit_bytes == 16 * 65_536
    assert made.tokens(int(52.11 * GIB)) == int(52.11 * GIB) // (16 * 65_536) * 16
    assert made.needed(6) == (6 * 8192 + 1) * 16 * 65_536


def test_heads_are_repeated_and_a_latent_row_is_whole() -> None:
    """One of 8 heads on each of 16 GPUs; a row of 512 + 64 elements and no values, whatever the GPUs; 8 bits: half."""
    assert layers_of(QWEN_32B, "vllm", ranks=16, kv_type="auto")[0].token_bytes == 1 * 256 * 2
    assert {layers_of(DEEPSEEK, "vllm", ranks=ranks, kv_type="auto")[0].token_bytes for ranks in (1, 8)} == {576 * 2}
    assert layers_of(DEEPSEEK, "vllm", ranks=8, kv_type="fp8")[0].token_bytes == 576
    assert [element_bytes(name) for name in ("auto", "bf16", "fp8_e5m2", "nvfp4")] == [2.0, 2.0, 1.0, 0.5625]


def test_windows_of_gpt_oss() -> None:
    """12 full layers and 12 with a window of 128: two groups of 12, pages of 16 x 8 x 128 x 2 = 32,768 B.

    A request of 32,768 tokens while 2 x 2048 are computed: 2048 pages, and ceil((127 + 4096) / 16) + 1 = 265.
    """
    layers = layers_of(GPT_OSS, "vllm", ranks=1, kv_type="auto")
    made = pool("vllm", layers, context=32_768, batch=2048)
    assert (made.unit_bytes, made.units) == (12 * 32_768, 2048 + 265)


def test_kinds_that_hardly_differ_in_number_are_padded_to_the_larger() -> None:
    """12 and 13 layers (a draft's one is full): groups of 13 (vLLM: "gpt-oss-20b + eagle"); 8 and 13: groups of 8."""
    full, window = Layer(token_bytes=2048), Layer(token_bytes=2048, window=128)
    padded = grouped([window] * 12 + [full] * 13, context=4096, in_flight=2048)
    assert padded.unit_bytes == 13 * 2048 * 16
    divided = grouped([window] * 13 + [full] * 8, context=4096, in_flight=2048)
    assert divided.unit_bytes == 8 * 2048 * 16
    assert divided.units == 256 + 2 * (math.ceil(2175 / 16) + 1)


def test_a_page_that_does_not_divide_the_largest_is_padded() -> None:
    """3072 does not divide 4096 (times 16): the smaller page keeps 16 tokens in 65,536 B."""
    made = grouped([Layer(token_bytes=4096), Layer(token_bytes=3072, window=64)], context=1600, in_flight=16)
    assert (made.unit_bytes, made.units) == (65_536, 100 + math.ceil(79 / 16) + 1)


def test_layers_of_unlike_size_that_keep_everything_are_one_group() -> None:
    made = grouped([Layer(token_bytes=4096), Layer(token_bytes=3072)], context=1600, in_flight=16)
    assert (made.unit_bytes, made.units, made.unit_tokens) == (16 * 7168, 100, 16)


def test_only_states_or_nothing_at_all() -> None:
    states = grouped([Layer(state_bytes=1000)] * 4, context=4096, in_flight=2048)
    assert (states.unit_bytes, states.units) == (4000, 2)
    nothing = grouped([Layer()] * 4, context=4096, in_flight=2048)
    assert nothing.tokens(10**9) == 0
    assert math.isinf(nothing.concurrency(10**9))
    assert split([Layer(state_bytes=1000)] * 2, context=4096, batch=2048).needed(5) == (5 * 5 + 1) * 2000


def test_sglang_shares_states_and_keys_nine_to_ten() -> None:
    """A state is counted five times a request, and one is for padding; of the memory 0.9 / 1.9 are for states."""
    made = split([Layer(token_bytes=1000), Layer(state_bytes=9000)], context=1000, batch=512)
    assert (made.state_bytes, made.spare_bytes) == (45_000, 9000)
    assert made.needed(1) == max(math.ceil(1_001_000 * 1.9), math.ceil(54_000 * 1.9 / 0.9))
    assert made.concurrency(19_000_000) == pytest.approx(10, abs=0.01)
    assert made.tokens(19_000_000) == 10_000


def test_what_sglang_counts_of_a_hybrid_model() -> None:
    """Qwen 3.5 35B with states of 30 x 2,146,304 B: 28 of them are 5 requests, and its log counts tokens of keys."""
    layers = layers_of(QWEN35_35B, "sglang", ranks=1, kv_type="auto")
    made = pool("sglang", layers, context=4096, batch=2048)
    assert made.spare_bytes == 30 * 2_146_304
    available = math.ceil(29 * made.spare_bytes * 1.9 / 0.9)
    assert int(made.concurrency(available)) == 5
    assert made.tokens(available) == int(available / 1.9) // (10 * 2048)


def test_tensorrt_counts_32_tokens_a_page_and_tgi_single_ones() -> None:
    layers = layers_of(QWEN_32B, "tensorrt-llm", ranks=1, kv_type="auto")
    assert pool("tensorrt-llm", layers, context=100, batch=2048).units == 4
    assert pool("tgi", layers, context=100, batch=2048).units == 100
    assert flat([Layer(token_bytes=10), Layer(state_bytes=640)], context=64, block=32).units == 2 + 2


LAYERS = st.lists(
    st.one_of(
        st.builds(Layer, token_bytes=st.sampled_from([512, 1024, 3072, 4096])),
        st.builds(Layer, token_bytes=st.sampled_from([512, 2048]), window=st.sampled_from([128, 1024])),
        st.builds(Layer, state_bytes=st.integers(10_000, 3_000_000)),
    ),
    min_size=1,
    max_size=12,
)
POOLS = st.builds(
    lambda engine, layers, context, batch: pool(engine, tuple(layers), context=context, batch=batch),
    st.sampled_from(["vllm", "sglang", "tgi", "tensorrt-llm"]),
    LAYERS,
    st.integers(1, 300_000),
    st.sampled_from([512, 2048, 8192]),
)


@given(POOLS, st.integers(1, 300))
def test_what_is_needed_for_so_many_holds_so_many(made: Pool, conversations: int) -> None:
    assert made.concurrency(made.needed(conversations)) >= conversations * (1 - 1e-9)


@given(POOLS, st.integers(0, 10**12), st.integers(0, 10**11))
def test_more_memory_never_holds_less(made: Pool, available: int, more: int) -> None:
    assert made.tokens(available + more) >= made.tokens(available)
    assert made.concurrency(available + more) >= made.concurrency(available)


@given(st.sampled_from([QWEN_32B, GPT_OSS, DEEPSEEK, QWEN35_35B]), st.sampled_from(["vllm", "sglang"]))
def test_more_gpus_never_keep_more_of_a_token_each(architecture: Architecture, engine: str) -> None:
    found = [
        pool(engine, layers_of(architecture, engine, ranks=ranks, kv_type="auto"), context=8192, batch=2048)
        for ranks in (1, 2, 4, 8)
    ]
    assert all(after.tokens(8 * GIB) >= before.tokens(8 * GIB) for before, after in itertools.pairwise(found))
