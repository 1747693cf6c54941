"""What llama.cpp needs on each device, from metadata alone. Formulas follow llama.cpp b11434; sizes are in bytes.

The estimate is the sum of planned buffers and a fixed overhead; the margin is kept apart and says how well the
weights are known.
"""

import math
from collections.abc import Sequence

import msgspec

from deployer.decide.kv_cache import layer_bytes
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
    """What is to be served, with the sizes that do not depend on where a layer goes; made by `make_load`.

    `cells` are KV cells of one slot, `tokens` what is computed at once, the rest are bytes.
    """

    architecture: Architecture
    weights: Weights
    slots: int
    cells: int
    tokens: int
    embedding: bool
    kv_bytes: tuple[int, ...]
    mask_bytes: int
    host_compute_bytes: int

    @property
    def kv_layer_bytes(self) -> int:
        """Bytes of the cache of the layer that keeps the most, for all slots together."""
        return max(self.kv_bytes, default=0)


def make_load(
    architecture: Architecture,
    weights: Weights,
    *,
    context: int,
    slots: int,
    kv_type: str = "f16",
    micro_batch: int = 512,
    embedding: bool = False,
) -> Load:
    """Sizes of serving `slots` conversations of `context` tokens.

    An explicit number of slots gives each its own stream of cells, padded to 256 (llama.cpp src/llama-context.cpp,
    `n_ctx_seq`). KV: see kv_cache.py. Mask: one stream, half
    precision (src/llama-graph.cpp). A GPU build keeps the mask and the input embeddings in pinned host memory.
    """
    cells = math.ceil(context / CELL_PADDING) * CELL_PADDING
    tokens = min(micro_batch, cells * slots)
    kept = layer_bytes(architecture, cells=cells, batch=micro_batch, element_bytes=KV_BYTES[kv_type], slots=slots)
    mask = cells * tokens * 2
    return Load(
        architecture=architecture,
        weights=weights,
        slots=slots,
        cells=cells,
        tokens=tokens,
        embedding=embedding,
        kv_bytes=kept,
        mask_bytes=mask,
        host_compute_bytes=mask + architecture.embedding * tokens * 4,
    )


def output_buffer_bytes(load: Load) -> int:
    """Logits of one token of every slot, on the host (llama.cpp src/llama-context.cpp, `output_reserve`)."""
    return load.architecture.vocabulary * load.slots * 4


def compute_bytes(load: Load, *, on_gpu: bool) -> int:
    """Compute buffer with flash attention: the larger of the feed-forward peak and the logits.

    `n_ubatch * 4 * (3 * n_ff + 3 * n_embd) + mask`, with 5 instead of 3 for `n_embd` on a CPU; exact for dense llama
    models, an upper bound elsewhere. Logits count one token a slot, and a whole micro-batch for embeddings.
    """
    architecture, tokens = load.architecture, load.tokens
    wide, embedding = architecture.feed_forward, architecture.embedding
    columns = 3 * wide + (3 if on_gpu else 5) * embedding
    if architecture.experts:
        used = architecture.experts_used or 1
        wide = used * (architecture.expert_feed_forward or wide)
        columns = 3 * wide + (3 if on_gpu else 5) * embedding + 2 * used * embedding
    outputs = tokens if load.embedding else min(load.slots, tokens)
    logits = (architecture.vocabulary + embedding) * outputs * 4
    return max(tokens * 4 * columns + load.mask_bytes, logits)


def gpu_compute_bytes(load: Load, *, gpus: int, offloaded: int) -> int:
    """Compute buffer of one GPU of `gpus`, when `offloaded` of the layers and the output are on them.

    Several GPUs with all layers work as a pipeline, which keeps four copies of its inputs (`GGML_SCHED_MAX_COPIES`).
    With layers left on the host, the largest host layer is copied in for long prompts.
    """
    layers = len(load.weights.layout.layer_bytes)
    base = compute_bytes(load, on_gpu=True)
    if offloaded <= layers:
        return base + max(load.weights.layout.layer_bytes[: layers + 1 - offloaded], default=0)
    return base + (load.host_compute_bytes * (PIPELINE_COPIES - 1) if gpus > 1 else 0)


def gpu_overhead_mib(accelerator: Accelerator, architecture: Architecture) -> int:
    """Memory of one GPU that no buffer accounts for, in MiB."""
    extra = VULKAN_MOE_MIB if accelerator == "vulkan" and architecture.experts else 0
    return GPU_OVERHEAD_MIB[accelerator] + extra


def margin_mib(total_mib: int, basis: Basis) -> int:
    """What is kept free beside the estimate, in MiB."""
    fixed, part = MARGIN[basis]
    return fixed + math.ceil(total_mib * part)


def gpu_memory(
    load: Load, *, name: str, weights: int, kv: int, compute: int, overhead_mib: int, available_mib: int | None
) -> DeviceMemory:
    """Estimate for one GPU that holds `weights` bytes of weights and `kv` bytes of KV cache.

    `compute` and `overhead_mib` are those of `gpu_compute_bytes` and `gpu_overhead_mib`.
    """
    return device_memory(
        name,
        weights=weights,
        kv=kv,
        compute=compute,
        overhead_mib=overhead_mib,
        basis=load.weights.basis,
        available_mib=available_mib,
    )


def host_memory(load: Load, *, offloaded: int, available_mib: int | None) -> DeviceMemory:
    """Estimate for main memory: the input embedding always, and every layer that is not on a GPU.

    Weights are mapped from the file and counted once: the tied output is the embedding itself here.
    """
    layout, layers = load.weights.layout, len(load.weights.layout.layer_bytes)
    kept = layers if not offloaded else layers + 1 - offloaded
    compute = load.host_compute_bytes if offloaded else compute_bytes(load, on_gpu=False)
    return device_memory(
        "host",
        weights=layout.input_bytes + sum(layout.layer_bytes[:kept]) + (0 if offloaded else layout.output_bytes),
        kv=sum(load.kv_bytes[:kept]),
        compute=compute + output_buffer_bytes(load),
        overhead_mib=HOST_OVERHEAD_MIB + (HOST_GPU_OVERHEAD_MIB if offloaded else 0),
        basis=load.weights.basis,
        available_mib=available_mib,
    )


def device_memory(
    name: str, *, weights: int, kv: int, compute: int, overhead_mib: int, basis: Basis, available_mib: int | None
) -> DeviceMemory:
    """The parts in whole MiB, rounded up, their sum and its margin."""
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
