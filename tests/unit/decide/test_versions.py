"""Versions of engines, vulnerabilities by version, and which GPUs go together."""

import pytest

from deployer.decide.candidates import Device
from deployer.decide.capability import cuda_of, driver_of
from deployer.decide.device_sets import device_sets, divides
from deployer.decide.rules_image import affects, cpu_level
from deployer.decide.version import older, release
from deployer.decide.weights import packed_layout
from deployer.types import Advisory, Architecture, HostFacts, NvidiaFacts
from tests.unit.decide.hosts import gpu
from tests.unit.decide.test_memory import load
from tests.unit.decide.test_rule_table import LLAMA, VLLM, replace
from tests.unit.decide.test_weights import LLAMA_8B, LLAMA_70B, QWEN_7B

GIB = 1024**3


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ("b11434", "b11393", False),
        ("b3561", "b11393", True),
        ("0.7.0-b11669", "b11393", False),
        ("2026.10-b11549", "b11865", True),
        ("v0.5.19-cu129", "0.5.21", True),
        ("0.33.0", "v0.33", False),
        ("0.9.2", "0.10.1.1", True),
        ("0.10.1", "0.10.1.1", True),
        ("1.3.0rc13", "1.3.0", True),
        ("0.33.0-rc2", "0.33.0", True),
        ("3.3.7", "3.3.7", False),
        ("host", "b11393", None),
        ("preview", "1.0", None),
        ("0.7.0", "b11393", None),
    ],
)
def test_versions_of_engines_are_compared(first: str, second: str, answer: bool | None) -> None:
    assert older(first, second) is answer


def test_a_version_that_says_nothing() -> None:
    assert release("latest") is None
    assert release("0.5.19") == (0, 5, 19, 0, 1)


@pytest.mark.parametrize(
    ("introduced", "fixed", "version", "affected"),
    [
        (None, "b11393", "b11000", True),
        (None, "b11393", "b11393", False),
        ("b11100", "b11393", "b11000", False),
        ("b11100", "b11393", "b11100", True),
        ("b11100", None, "b99999", True),
        (None, None, "b1", True),
        (None, "b11393", "host", False),
    ],
)
def test_a_vulnerability_is_in_versions_from_introduced_up_to_fixed(
    introduced: str | None, fixed: str | None, version: str, affected: bool
) -> None:
    found = Advisory(id="x", engine="llama.cpp", summary="s", source="s", introduced=introduced, fixed=fixed)
    assert affects(found, version) is affected


def test_a_driver_and_the_cuda_it_reports() -> None:
    assert driver_of(HostFacts(nvidia=NvidiaFacts(cuda="12.2"))) == "535"
    assert driver_of(HostFacts(nvidia=NvidiaFacts(driver="550.54", cuda="12.2"))) == "550.54"
    assert driver_of(HostFacts()) is None
    assert cuda_of("535.183.01") == "12.2"
    assert cuda_of("470.256.02") == "11.4"
    assert cuda_of("390.1") is None


@pytest.mark.parametrize(
    ("flags", "level"),
    [(("sse2",), "no AVX"), (("avx",), "AVX"), (("avx", "avx2"), "AVX2"), (("avx512f", "avx2"), "AVX-512"),
     (("amx_tile", "avx512f"), "AMX")],
)  # fmt: skip
def test_levels_of_a_processor(flags: tuple[str, ...], level: str) -> None:
    assert cpu_level(flags) == level


def devices(*kinds: tuple[str, str, int]) -> list[Device]:
    return [Device(gpu(index, *kind)) for index, kind in enumerate(kinds)]


RTX, P40 = ("GeForce RTX 3090", "8.6", 24576), ("Tesla P40", "6.1", 24576)


def test_heads_divide() -> None:
    assert [count for count in range(1, 9) if divides(LLAMA_70B, count)] == [1, 2, 4, 8]
    assert [count for count in range(1, 9) if divides(QWEN_7B, count)] == [1, 2, 4]


TENSOR_ONLY = replace(VLLM, splits=("tensor",))


def test_tensor_parallel_sets_are_alike_and_divide_and_layer_splits_take_all() -> None:
    cards = devices(RTX, RTX, RTX, P40)
    tensor = [[item.gpu.index for item in found.devices] for found in device_sets(cards, TENSOR_ONLY, LLAMA_70B)]
    assert tensor == [[0], [3], [0, 1]]
    layers = [[item.gpu.index for item in found.devices] for found in device_sets(cards, LLAMA, LLAMA_70B)]
    assert [0, 1, 2] in layers
    assert [0, 1, 2, 3] in layers


DEEPSEEK = Architecture(
    name="deepseek2", layers=61, embedding=7168, feed_forward=18432, heads=128, kv_heads=128, head_dim=192,
    vocabulary=129280, context_max=163840, experts=256, experts_used=8, expert_feed_forward=2048, shared_experts=1,
    dense_layers=3, value_head_dim=128, q_lora_rank=1536, kv_lora_rank=512, rope_head_dim=64,
)  # fmt: skip
QWEN_NEXT = Architecture(
    name="qwen35", layers=64, embedding=5120, feed_forward=17408, heads=24, kv_heads=4, head_dim=256, vocabulary=248320,
    context_max=262144, full_attention_interval=4, ssm_inner_size=6144, ssm_state_size=128, ssm_conv_kernel=4,
    ssm_groups=16, ssm_heads=48,
)  # fmt: skip
GEMMA = Architecture(
    name="gemma3", layers=48, embedding=3840, feed_forward=15360, heads=16, kv_heads=8, head_dim=256, vocabulary=262208,
    context_max=131072, sliding_window=1024, sliding_pattern=6,
)  # fmt: skip


def test_16_bit_weights_are_what_vllm_loads() -> None:
    # "Model loading took 14.99 GiB" for Llama-3.1-8B in bfloat16; DeepSeek-V3 has 671 billion parameters
    assert packed_layout(LLAMA_8B, 16).total_bytes / GIB == pytest.approx(14.97, abs=0.03)
    assert packed_layout(DEEPSEEK, 16).total_bytes / 2e9 == pytest.approx(671, rel=0.01)


def test_packed_weights_keep_their_embeddings_in_16_bits() -> None:
    whole, small = packed_layout(QWEN_7B, 16), packed_layout(QWEN_7B, 4.156)
    assert small.input_bytes == whole.input_bytes
    assert small.layer_bytes[0] < whole.layer_bytes[0] / 3.8


def test_a_mixture_of_experts_is_mostly_experts() -> None:
    from deployer.decide.weights import weights_of
    from tests.unit.decide.test_weights import variant

    found = weights_of(variant(format="safetensors", quantization="BF16"), DEEPSEEK, 671_000_000_000, 16)
    assert found.expert_share > 0.95
    assert 0.03 < found.active_layer_share < 0.06
    assert load(LLAMA_8B, 4096).weights.expert_share == 0.0
