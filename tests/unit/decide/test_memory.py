"""The estimate against buffers that llama-server printed (addresses of the logs beside the numbers)."""

import pytest

from deployer.decide.candidates import Device
from deployer.decide.memory import (
    MIB,
    Load,
    compute_bytes,
    gpu_compute_bytes,
    host_memory,
    make_load,
    output_buffer_bytes,
)
from deployer.decide.placement import all_on_gpus, on_host, partly_on_gpus
from deployer.decide.weights import Weights, compute_layout
from deployer.types import Architecture
from tests.unit.decide.hosts import gpu
from tests.unit.decide.test_weights import LLAMA_8B, LLAMA_70B, NEMO_12B, QWEN_7B, SMOLLM2

QWEN3_8B = Architecture(
    name="qwen3", layers=36, embedding=4096, feed_forward=12288, heads=32, kv_heads=8, head_dim=128, vocabulary=151936,
    context_max=40960,
)  # fmt: skip
PHI3_MINI = Architecture(
    name="phi3", layers=32, embedding=3072, feed_forward=8192, heads=32, kv_heads=32, head_dim=96, vocabulary=32064,
    context_max=4096,
)  # fmt: skip
CODESTRAL_22B = Architecture(
    name="llama", layers=56, embedding=6144, feed_forward=16384, heads=48, kv_heads=8, head_dim=128, vocabulary=32768,
    context_max=32768,
)  # fmt: skip


def load(
    architecture: Architecture,
    context: int,
    *,
    slots: int = 1,
    kv_type: str = "f16",
    quantization: str = "Q4_K_M",
    micro_batch: int = 512,
) -> Load:
    weights = Weights(compute_layout(architecture, quantization), "computed", 1.0, architecture.tied_embeddings)
    return make_load(architecture, weights, context=context, slots=slots, kv_type=kv_type, micro_batch=micro_batch)


@pytest.mark.parametrize(
    ("case", "layers", "printed_mib"),
    [
        (load(SMOLLM2, 4096), 30, 90.0),  # llama-server b11434, 4096 tokens
        # https://github.com/Kelsidavis/rusteze/blob/a73b0defa2725e67ddf9c4d19059bbe17008423d/llama.log#L20
        (load(QWEN_7B, 32768), 28, 1792.0),
        # https://github.com/Dahaka52/Nira-AI/blob/f8d8d7acec72a7b1e5051e9c2fa95ce0c9ae0613/logs/llama_server.log#L23
        (load(NEMO_12B, 8192, kv_type="q8_0"), 40, 680.0),
        (load(NEMO_12B, 8192, kv_type="q8_0"), 39, 663.0),  # the part on the GPU
        # https://github.com/Dahaka52/Nira-AI/blob/55e9bb993199a68dd91223f40288a157b6264beb/logs/llama_server.log#L23
        (load(NEMO_12B, 4096, kv_type="q8_0"), 40, 340.0),
        # https://github.com/Yudeg1128/Alpy/blob/c68d2be75d731b6b4626a9e7bae3d94840e335b9/llama_server.log#L15
        (load(QWEN3_8B, 4096), 36, 576.0),
        # public logs of llama.cpp, Phi-3-mini-4k-instruct
        (load(PHI3_MINI, 2048), 32, 768.0),
        (load(PHI3_MINI, 4096), 32, 1536.0),
    ],
)
def test_the_kv_cache_is_exact(case: Load, layers: int, printed_mib: float) -> None:
    assert case.kv_layer_bytes * layers / MIB == pytest.approx(printed_mib, abs=0.01)


def test_each_slot_has_its_own_cells_padded_to_256() -> None:
    assert load(SMOLLM2, 1000).cells == 1024
    assert load(SMOLLM2, 1000, slots=3).kv_layer_bytes == 3 * load(SMOLLM2, 1024).kv_layer_bytes


def test_the_compute_buffer_of_a_cpu_build_is_exact() -> None:
    # llama-server b11434, SmolLM2-135M, 4096 tokens: 18.64 MiB
    assert compute_bytes(load(SMOLLM2, 4096), on_gpu=False) / MIB == pytest.approx(18.64, abs=0.05)


def test_the_compute_buffer_of_a_gpu_build_is_exact() -> None:
    # Codestral-22B, 4096 tokens, micro-batch 512, a build of June 2026: 136.01 MiB
    assert compute_bytes(load(CODESTRAL_22B, 4096), on_gpu=True) / MIB == pytest.approx(136.01, abs=0.05)


def test_the_host_part_of_a_gpu_build_is_exact() -> None:
    # the logs above: CUDA_Host compute buffers
    assert load(QWEN_7B, 32768).host_compute_bytes / MIB == pytest.approx(71.01 - 32.0, abs=0.05)
    assert load(QWEN_7B, 32768).mask_bytes / MIB == 32.0


def test_the_output_buffer_is_exact() -> None:
    # the logs above: 0.75 MiB for four slots, 0.58 for one, 2.0 for four
    assert output_buffer_bytes(load(SMOLLM2, 1024, slots=4)) / MIB == pytest.approx(0.75, abs=0.005)
    assert output_buffer_bytes(load(QWEN_7B, 32768)) / MIB == pytest.approx(0.58, abs=0.005)
    assert output_buffer_bytes(load(NEMO_12B, 2048, slots=4)) / MIB == pytest.approx(2.0, abs=0.005)


def test_a_small_context_needs_no_full_micro_batch() -> None:
    assert compute_bytes(load(SMOLLM2, 256), on_gpu=False) < compute_bytes(load(SMOLLM2, 512), on_gpu=False)


def test_embeddings_count_the_output_of_a_whole_micro_batch() -> None:
    case = load(SMOLLM2, 4096)
    embedding = make_load(case.architecture, case.weights, context=4096, slots=1, embedding=True)
    assert compute_bytes(embedding, on_gpu=True) == (49152 + 576) * 512 * 4


def test_a_pipeline_keeps_more_inputs() -> None:
    case = load(LLAMA_8B, 8192)
    alone, pair = (gpu_compute_bytes(case, gpus=count, offloaded=33) for count in (1, 2))
    assert pair - alone == 3 * case.host_compute_bytes


def test_the_host_holds_what_the_gpus_do_not() -> None:
    case = load(LLAMA_8B, 4096)
    layout = case.weights.layout
    whole = host_memory(case, offloaded=0, available_mib=None)
    none = host_memory(case, offloaded=33, available_mib=None)
    some = host_memory(case, offloaded=11, available_mib=None)
    assert whole.weights_mib == -(-layout.total_bytes // MIB)
    assert none.weights_mib == -(-layout.input_bytes // MIB)
    assert none.kv_cache_mib == 0
    assert some.kv_cache_mib == 22 * case.kv_layer_bytes // MIB


def device(total: int | None, index: int = 0, **rest: object) -> Device:
    return Device(gpu(index, "Tesla P40", "6.1", total, **rest))


def test_layers_are_shared_in_proportion_to_free_memory() -> None:
    big, small = device(24576), device(12288, 1)
    placed = all_on_gpus(load(LLAMA_8B, 8192), [big, small], accelerator="cuda", host_mib=32000)[0]
    assert placed.offloaded == 33
    assert placed.counts[0] > 1.7 * placed.counts[1]
    assert placed.memory.fits


def test_two_p40_hold_a_70b_model() -> None:
    placed = all_on_gpus(load(LLAMA_70B, 4096), [device(24576), device(24576, 1)], accelerator="cuda", host_mib=64000)
    assert placed[0].memory.fits
    assert abs(placed[0].counts[0] - placed[0].counts[1]) <= 3


def test_what_does_not_fit_stays_on_the_host() -> None:
    case = load(LLAMA_8B, 8192)
    assert not all_on_gpus(case, [device(4096)], accelerator="cuda", host_mib=32000)[0].memory.fits
    placed = partly_on_gpus(case, [device(4096)], accelerator="cuda", host_mib=32000)
    assert placed is not None
    assert placed.memory.fits
    assert 5 < placed.offloaded < 33
    room = placed.memory.devices[0]
    assert room.available_mib is not None
    assert room.available_mib - room.total_mib - room.margin_mib < 250  # not one layer more would fit


def test_a_tiny_card_holds_not_one_layer() -> None:
    assert partly_on_gpus(load(LLAMA_70B, 8192), [device(1024)], accelerator="cuda", host_mib=64000) is None


def test_unified_memory_is_counted_once() -> None:
    orin = device(30000, unified_memory=True)
    case = load(LLAMA_8B, 8192)
    placed = all_on_gpus(case, [orin], accelerator="cuda", host_mib=30000)[0]
    gpu_part, host_part = placed.memory.devices
    assert host_part.available_mib == 30000 - gpu_part.total_mib - gpu_part.margin_mib


def test_main_memory_alone() -> None:
    assert on_host(load(LLAMA_8B, 8192), available_mib=8000).memory.fits
    assert not on_host(load(LLAMA_8B, 8192), available_mib=5000).memory.fits
