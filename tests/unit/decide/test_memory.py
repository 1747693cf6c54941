"""The estimate against buffers that llama-server printed (addresses of the logs beside the numbers)."""

import msgspec
import pytest

from deployer.decide.candidates import Device
from deployer.decide.llama import DeviceBuffers, LlamaSettings, buffers
from deployer.decide.llama.settings import Where
from deployer.decide.memory import MIB, Load, make_load, memory_of
from deployer.decide.placement import all_on_gpus, on_host, partly_on_gpus
from deployer.decide.weights import Weights, compute_layout
from deployer.types import Architecture
from tests.unit.decide.hosts import gpu, model, plan
from tests.unit.decide.hosts import host as host_facts
from tests.unit.decide.test_weights import LLAMA_8B, LLAMA_70B, MIXTRAL, NEMO_12B, QWEN_7B, SMOLLM2

QWEN_32B = Architecture(
    name="qwen2", layers=64, embedding=5120, feed_forward=27648, heads=40, kv_heads=8, head_dim=128, vocabulary=152064,
    context_max=32768, attention_bias=True,
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


def told(case: Load, *gpu_layers: int, **changes: object) -> LlamaSettings:
    where = {"gpu_layers": gpu_layers, "accelerator": "cuda" if gpu_layers else "cpu"}
    return msgspec.structs.replace(case.settings, **where | changes)


def host(case: Load, *gpu_layers: int, **changes: object) -> DeviceBuffers:
    return buffers(case.architecture, case.weights.layout, told(case, *gpu_layers, **changes)).host


def on_gpu(case: Load, *gpu_layers: int, **changes: object) -> tuple[DeviceBuffers, ...]:
    return buffers(case.architecture, case.weights.layout, told(case, *gpu_layers, **changes)).gpus


def test_each_slot_has_its_own_cells_padded_to_256() -> None:
    assert load(SMOLLM2, 1000).settings.cells == 1024
    assert load(SMOLLM2, 1000, slots=3).kept_bytes[0] == 3 * load(SMOLLM2, 1024).kept_bytes[0]


def test_the_compute_buffer_of_a_cpu_build_is_exact() -> None:
    # llama-server, SmolLM2-135M: build 11434 with four unified slots; build 11669 with one
    case = load(SMOLLM2, 4096)
    assert host(case, slots=4, unified=True).compute / MIB == pytest.approx(18.64, abs=0.01)
    assert host(load(SMOLLM2, 32768)).compute / MIB == pytest.approx(46.64, abs=0.01)
    assert host(load(SMOLLM2, 4096), embedding=True).compute / MIB == pytest.approx(106.77, abs=0.01)


def test_the_compute_buffer_of_a_gpu_build_is_exact() -> None:
    # Codestral-22B, 4096 tokens, micro-batch 512, Ollama 0.30.10: 136.01 MiB, and 28.01 in main memory
    case = load(CODESTRAL_22B, 4096)
    assert on_gpu(case, 57, build=9600)[0].compute / MIB == pytest.approx(136.01, abs=0.01)
    assert host(case, 57, build=9600).compute / MIB == pytest.approx(28.01, abs=0.01)


def test_older_builds_compute_the_logits_of_a_whole_micro_batch() -> None:
    case = load(LLAMA_8B, 4096)
    new, old = (on_gpu(case, 33, build=build)[0].compute for build in (9600, 8133))
    assert old == (128256 + 4096) * 512 * 4
    assert new < old


def test_the_output_buffer_is_exact() -> None:
    # logs: 0.75 MiB for four slots, 0.58 for one, 2.0 for four
    assert host(load(SMOLLM2, 1024, slots=4)).output / MIB == pytest.approx(0.75, abs=0.005)
    assert host(load(QWEN_7B, 32768)).output / MIB == pytest.approx(0.58, abs=0.005)
    assert host(load(NEMO_12B, 2048, slots=4)).output / MIB == pytest.approx(2.0, abs=0.005)


def test_a_small_context_needs_no_full_micro_batch() -> None:
    assert host(load(SMOLLM2, 256)).compute < host(load(SMOLLM2, 512)).compute


def test_a_pipeline_keeps_more_inputs() -> None:
    case = load(LLAMA_8B, 8192)
    alone, pair = on_gpu(case, 33)[0].compute, on_gpu(case, 16, 17)
    assert all(part.compute > alone for part in pair)
    assert host(case, 16, 17).compute > 2 * host(case, 33).compute
    assert host(case, 15, 16).compute == host(case, 31).compute  # two layers in main memory: no pipeline


def test_layers_in_main_memory_are_copied_to_the_gpu() -> None:
    # Qwen2.5-Coder-32B, 48 of 65 layers, Ollama 0.30.10: 225.96 MiB; all layers would need 196
    case = load(QWEN_32B, 4096)
    assert on_gpu(case, 48, build=9600)[0].compute / MIB == pytest.approx(225.96, rel=0.02)
    assert on_gpu(case, 65, build=9600)[0].compute / MIB == pytest.approx(196, rel=0.02)


def test_the_host_holds_what_the_gpus_do_not() -> None:
    case = load(LLAMA_8B, 4096)
    layout = case.weights.layout
    assert host(case).weights == layout.total_bytes
    assert host(case, 33).weights == layout.input_bytes
    assert (host(case, 33).kv, host(case, 11).kv) == (0, 22 * case.kept_bytes[0])
    assert host(case, 33).overhead > host(case).overhead


def test_experts_in_main_memory_leave_room_on_the_gpu_but_are_copied_there() -> None:
    case = load(MIXTRAL, 4096)
    some, none = on_gpu(case, 33, cpu_moe_layers=8)[0], on_gpu(case, 33)[0]
    moved = none.weights - some.weights
    assert 0.9 * sum(case.weights.layout.layer_bytes[:8]) < moved < sum(case.weights.layout.layer_bytes[:8])
    assert host(case, 33, cpu_moe_layers=8).weights - host(case, 33).weights == moved
    assert some.compute > none.compute


def test_a_tied_embedding_is_there_twice_where_a_cpu_lays_it_out_anew() -> None:
    case = load(SMOLLM2, 4096, quantization="Q4_0")
    layout = msgspec.structs.replace(case.weights.layout, token_embedding_bytes=49152 * 576 * 18 // 32)
    one, two = (
        buffers(SMOLLM2, layout, LlamaSettings(context_total=4096, repack=repack)).host.weights
        for repack in (False, True)
    )
    assert two - one == 49152 * 576 * 18 // 32


def test_parts_are_whole_mebibytes_with_a_margin() -> None:
    case = load(LLAMA_8B, 4096)
    gpu_part, main = memory_of(case, Where((33,), 0, "cuda"), [("gpu0", 24000), ("host", None)])
    assert gpu_part.total_mib == (
        gpu_part.weights_mib + gpu_part.kv_cache_mib + gpu_part.compute_mib + gpu_part.overhead_mib
    )
    assert gpu_part.margin_mib == 160 + -(-gpu_part.total_mib * 3 // 100)
    assert (gpu_part.available_mib, main.available_mib, main.device) == (24000, None, "host")


def device(total: int | None, index: int = 0, **rest: object) -> Device:
    return Device(gpu(index, "Tesla P40", "6.1", total, **rest))


def test_layers_are_shared_in_proportion_to_free_memory() -> None:
    big, small = device(24576), device(12288, 1)
    placed = next(all_on_gpus(load(LLAMA_8B, 8192), [big, small], accelerator="cuda", host_mib=32000))
    assert placed.offloaded == 33
    assert placed.counts[0] > 1.7 * placed.counts[1]
    assert placed.memory.fits


def test_two_p40_hold_a_70b_model() -> None:
    both = [device(24576), device(24576, 1)]
    placed = tuple(all_on_gpus(load(LLAMA_70B, 4096), both, accelerator="cuda", host_mib=64000))
    assert placed[0].memory.fits
    assert abs(placed[0].counts[0] - placed[0].counts[1]) <= 3


def test_what_does_not_fit_stays_on_the_host() -> None:
    case = load(LLAMA_8B, 8192)
    assert not next(all_on_gpus(case, [device(4096)], accelerator="cuda", host_mib=32000)).memory.fits
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
    placed = next(all_on_gpus(case, [orin], accelerator="cuda", host_mib=30000))
    gpu_part, host_part = placed.memory.devices
    assert host_part.available_mib == 30000 - gpu_part.total_mib - gpu_part.margin_mib


def test_main_memory_alone() -> None:
    assert on_host(load(LLAMA_8B, 8192), available_mib=8000).memory.fits
    assert not on_host(load(LLAMA_8B, 8192), available_mib=5000).memory.fits


def beside(case: Load, *gpu_layers: int, **changes: object) -> list[int]:
    """Bytes of each GPU beside weights and cache."""
    return [made.compute + made.overhead for made in on_gpu(case, *gpu_layers, **changes)]


DEEPSEEK = Architecture(
    name="deepseek2", layers=61, embedding=7168, feed_forward=18432, heads=128, kv_heads=128, head_dim=192,
    value_head_dim=128, q_lora_rank=1536, kv_lora_rank=512, rope_head_dim=64, vocabulary=129280, context_max=163840,
    experts=256, experts_used=8, expert_feed_forward=2048, shared_experts=1, dense_layers=3,
)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "context", "kv_type", "mib"),
    [
        (LLAMA_8B, 131072, "q8_0", 512),  # one layer's 2 x 8 heads x 128 elements x 131072 tokens of 16 bits
        (LLAMA_8B, 32768, "q4_0", 128),
        (LLAMA_8B, 131072, "f16", 0),
        (DEEPSEEK, 131072, "q4_0", 144),  # one row of 512 + 64 elements, which is key and value
    ],
)
def test_attention_on_a_gpu_copies_a_quantized_cache_to_16_bits(
    shape: Architecture, context: int, kv_type: str, mib: int
) -> None:
    # Copies of one layer (llama.cpp b11434 ggml-cuda/fattn-common.cuh): in the compute buffer, or in a pool beside it
    case, every = load(shape, context, kv_type=kv_type), shape.layers + 1
    assert on_gpu(case, every, build=9440)[0].overhead == (300 + mib) * MIB
    cuda, vulkan = (on_gpu(case, every, accelerator=kind)[0] for kind in ("cuda", "vulkan"))
    assert cuda.compute >= max(vulkan.compute, mib * MIB)
    assert (cuda.compute > vulkan.compute) == (mib > 0)


def test_a_quantized_cache_never_needs_less_work_than_one_of_16_bits() -> None:
    for shape in (LLAMA_8B, MIXTRAL, NEMO_12B, QWEN_7B, DEEPSEEK):
        for context in (4096, 32768, 131072):
            (plain,) = beside(load(shape, context), shape.layers + 1)
            (packed,) = beside(load(shape, context, kv_type="q8_0"), shape.layers + 1)
            assert packed >= plain, (shape.name, context)


def test_each_gpu_has_copies_of_its_own() -> None:
    case = load(LLAMA_8B, 131072, kv_type="q8_0")
    for build in (9440, 11434):
        packed = beside(case, 16, 17, build=build)
        plain = beside(load(LLAMA_8B, 131072), 16, 17, build=build)
        assert all(more - less > 256 * MIB for more, less in zip(packed, plain, strict=True))


def test_an_engine_may_count_more_of_each_gpu_as_taken() -> None:
    case = load(LLAMA_8B, 8192)
    assert on_gpu(case, 33, gpu_reserve_mib=457)[0].overhead == 457 * MIB
    assert on_gpu(case, 33)[0].overhead == on_gpu(case, 33, gpu_reserve_mib=100)[0].overhead == 300 * MIB


def test_ollama_is_planned_with_what_it_does_by_itself() -> None:
    where = host_facts(gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 24564))
    asked = {"quantization": "Q4_K_M", "users": 4}
    mine, theirs = (
        plan(where, model("qwen2.5-7b-instruct"), asked={**asked, "engine": engine})
        for engine in ("llama.cpp", "ollama")
    )
    assert (mine.settings.batch, theirs.settings.batch, theirs.settings.micro_batch) == (2048, 512, 512)
    assert [made.memory.devices[0].overhead_mib for made in (mine, theirs)] == [300, 457]
    assert mine.memory.devices[0].kv_cache_mib == theirs.memory.devices[0].kv_cache_mib
    told = theirs.environment
    assert (told["OLLAMA_FLASH_ATTENTION"], told["LLAMA_ARG_FIT_TARGET"]) == ("1", "128")
    assert told["LLAMA_ARG_CACHE_RAM"] == str(theirs.settings.prompt_cache_mib)
