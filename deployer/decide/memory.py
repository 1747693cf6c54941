"""What llama.cpp needs on each device, from metadata alone. Formulas follow llama.cpp b11434; sizes are in bytes.

The estimate is the sum of planned buffers and a fixed overhead; the margin is kept apart and says how well the
weights are known.
"""

import math
from collections.abc import Sequence

import msgspec

from deployer.decide.weights import Basis, Weights
from deployer.types import Accelerator, Architecture, DeviceMemory

MIB = 1024 * 1024
CELL_PADDING = 256

KV_BYTES: dict[str, float] = {"f16": 2.0, "q8_0": 34 / 32}
"""Bytes of one element of the KV cache (ggml block sizes)."""

GPU_OVERHEAD_MIB: dict[Accelerator, int] = {"cuda": 300, "rocm": 460, "vulkan": 150, "sycl": 300}
"""Context and kernels of one process on one GPU, in no buffer of the log. CUDA: 252 to 255 MiB seen on RTX 3080, 164 on
RTX 4060 Ti; Vulkan: 71 to 239 seen; ROCm: Ollama's floor for a GPU (ml/device.go)."""

VULKAN_MOE_MIB = 2048
"""Grown at run time by a mixture of experts under Vulkan: 1901 MiB seen with gemma4-26B."""

HOST_OVERHEAD_MIB = 60
HOST_GPU_OVERHEAD_MIB = 400
"""The server process itself, and the GPU library's share of main memory (an allowance, not measured)."""

MARGIN: dict[Basis, tuple[int, float]] = {"exact": (128, 0.02), "computed": (160, 0.03), "approximate": (256, 0.08)}
"""Fixed MiB and part of the total, by how the weights are known."""

PIPELINE_COPIES = 4


class Load(msgspec.Struct, frozen=True):
    """What is to be served: sizes that do not depend on where a layer goes. `context` is tokens per slot."""

    architecture: Architecture
    weights: Weights
    context: int
    slots: int
    kv_type: str
    micro_batch: int
    embedding: bool = False

    @property
    def cells(self) -> int:
        """KV cells of one slot: an explicit number of slots gives each its own stream, padded to 256.

        Source: llama.cpp src/llama-context.cpp, `n_ctx_seq`.
        """
        return math.ceil(self.context / CELL_PADDING) * CELL_PADDING


def kv_layer_bytes(load: Load) -> int:
    """KV cache of one layer for all slots: K and V rows of `kv_heads * head_dim` elements.

    Source: llama.cpp src/llama-kv-cache.cpp, `n_embd_k_gqa` and `n_embd_v_gqa`.
    """
    architecture = load.architecture
    row = architecture.kv_heads * architecture.head_dim * KV_BYTES[load.kv_type]
    return int(2 * row * load.cells * load.slots)


def output_buffer_bytes(load: Load) -> int:
    """Logits of one token of every slot, on the host (llama.cpp src/llama-context.cpp, `output_reserve`)."""
    return load.architecture.vocabulary * load.slots * 4


def compute_bytes(load: Load, *, on_gpu: bool) -> int:
    """Compute buffer with flash attention: the larger of the feed-forward peak and the logits.

    `n_ubatch * 4 * (3 * n_ff + 3 * n_embd) + mask`, with 5 instead of 3 for `n_embd` on a CPU; exact for dense llama
    models, an upper bound elsewhere. Logits count one token a slot, and a whole micro-batch for embeddings.
    """
    architecture, tokens = load.architecture, micro_batch(load)
    wide, embedding = architecture.feed_forward, architecture.embedding
    columns = 3 * wide + (3 if on_gpu else 5) * embedding
    if architecture.experts:
        used = architecture.experts_used or 1
        wide = used * (architecture.expert_feed_forward or wide)
        columns = 3 * wide + (3 if on_gpu else 5) * embedding + 2 * used * embedding
    outputs = tokens if load.embedding else min(load.slots, tokens)
    logits = (architecture.vocabulary + embedding) * outputs * 4
    return max(tokens * 4 * columns + mask_bytes(load), logits)


def mask_bytes(load: Load) -> int:
    """Attention mask of one stream, half precision (llama.cpp src/llama-graph.cpp)."""
    return load.cells * micro_batch(load) * 2


def host_compute_bytes(load: Load) -> int:
    """What a GPU build keeps in pinned host memory: the mask and the input embeddings of a micro-batch."""
    return mask_bytes(load) + load.architecture.embedding * micro_batch(load) * 4


def micro_batch(load: Load) -> int:
    """Tokens computed at once: never more than the whole context."""
    return min(load.micro_batch, load.cells * load.slots)


def gpu_compute_bytes(load: Load, *, gpus: int, offloaded: int) -> int:
    """Compute buffer of one GPU of `gpus`, when `offloaded` of the layers and the output are on them.

    Several GPUs with all layers work as a pipeline, which keeps four copies of its inputs (`GGML_SCHED_MAX_COPIES`).
    With layers left on the host, the largest host layer is copied in for long prompts.
    """
    layers = len(load.weights.layout.layer_bytes)
    base = compute_bytes(load, on_gpu=True)
    if offloaded <= layers:
        return base + max(load.weights.layout.layer_bytes[: layers + 1 - offloaded], default=0)
    return base + (host_compute_bytes(load) * (PIPELINE_COPIES - 1) if gpus > 1 else 0)


def gpu_overhead_mib(accelerator: Accelerator, architecture: Architecture) -> int:
    """Memory of one GPU that no buffer accounts for, in MiB."""
    extra = VULKAN_MOE_MIB if accelerator == "vulkan" and architecture.experts else 0
    return GPU_OVERHEAD_MIB[accelerator] + extra


def margin_mib(total_mib: int, basis: Basis) -> int:
    """What is kept free beside the estimate, in MiB."""
    fixed, part = MARGIN[basis]
    return fixed + math.ceil(total_mib * part)


def gpu_memory(
    load: Load, *, name: str, weights: int, layers: int, gpus: int, offloaded: int, accelerator: Accelerator,
    available_mib: int | None,
) -> DeviceMemory:  # fmt: skip
    """Estimate for one GPU that holds `weights` bytes and the KV cache of `layers` layers."""
    return _device(
        name,
        weights=weights,
        kv=kv_layer_bytes(load) * layers,
        compute=gpu_compute_bytes(load, gpus=gpus, offloaded=offloaded),
        overhead_mib=gpu_overhead_mib(accelerator, load.architecture),
        basis=load.weights.basis,
        available_mib=available_mib,
    )


def host_memory(load: Load, *, offloaded: int, available_mib: int | None) -> DeviceMemory:
    """Estimate for main memory: the input embedding always, and every layer that is not on a GPU.

    Weights are mapped from the file and counted once: the tied output is the embedding itself here.
    """
    layout, layers = load.weights.layout, len(load.weights.layout.layer_bytes)
    kept = layers if not offloaded else layers + 1 - offloaded
    compute = host_compute_bytes(load) if offloaded else compute_bytes(load, on_gpu=False)
    return _device(
        "host",
        weights=layout.input_bytes + sum(layout.layer_bytes[:kept]) + (0 if offloaded else layout.output_bytes),
        kv=kv_layer_bytes(load) * kept,
        compute=compute + output_buffer_bytes(load),
        overhead_mib=HOST_OVERHEAD_MIB + (HOST_GPU_OVERHEAD_MIB if offloaded else 0),
        basis=load.weights.basis,
        available_mib=available_mib,
    )


def _device(
    name: str, *, weights: int, kv: int, compute: int, overhead_mib: int, basis: Basis, available_mib: int | None
) -> DeviceMemory:
    parts: Sequence[int] = [math.ceil(size / MIB) for size in (weights, kv, compute)]
    total = sum(parts) + overhead_mib
    return DeviceMemory(
        device=name,
        weights_mib=parts[0],
        kv_cache_mib=parts[1],
        compute_mib=parts[2],
        overhead_mib=overhead_mib,
        total_mib=total,
        margin_mib=margin_mib(total, basis),
        available_mib=available_mib,
    )
