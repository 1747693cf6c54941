"""Memory of one rank that is neither weights nor pool: activations, CUDA graphs, and what PyTorch does not count.

The engines measure it when they start; nothing in a model's files says it. The numbers are upper bounds of what logs
show, and their sources stand with them.
"""

import math

import msgspec

from deployer.decide.candidates import Device
from deployer.decide.version import capability
from deployer.types import Architecture

MIB = 1024 * 1024

LOGITS = 7
"""Copies of float32 logits that sampling holds at once: the logits, sorted values and their 64-bit places,
probabilities, their running sum and noise (vLLM 0.32 v1/sample, run once with every slot in the profile run)."""

EAGER = 2
"""SGLang's prefill is not compiled, so that more of its intermediate results are alive at once; our allowance."""

PICTURES_MIB, PICTURES_RANKS_MIB = 1200, 880
"""What reading the largest picture takes at its peak, whatever the batch: the second part is divided by the ranks. vLLM
reads one in its profile run; Qwen3.8-27B with batches of 2048 on one GPU 2.01 GiB (syv-ai/qwen38-27b-rtx3090#107), on
each of two 1.59 (noonghunna/club-3090#1087)."""

PICTURES_CACHE_MIB = 100
"""SGLang keeps so much for what it has read of pictures (0.5.23 srt/environ.py `SGLANG_VLM_CACHE_SIZE_MB`)."""

CONTEXT_MIB = 500
"""Kernels, workspaces and library handles of one process on one GPU. vLLM's "non_torch_memory" on one GPU: 0.01 to
0.26 GiB seen in ten logs of 0.6 to 0.8; the CUDA context comes beside it."""

COMMUNICATION_MIB, COMMUNICATION_FAST_MIB = 512, 2560
"""Buffers for talking to the other GPUs, on each. Consumer cards: 0.20 to 0.25 GiB of "non_torch_memory" seen (2 x RTX
4090, 4 x 20 GB, 16 x RTX 3090); A100 and H100, with NVLink: 2.10 GiB on 8, 1.8 GiB more on 2 than on 1
(vllm-project/vllm#10511)."""

_FAST = ((8, 0), (9, 0), (10, 0), (10, 3))

GRAPHS_MIB, GRAPHS_LAYER_MIB = 350, 16
"""Captured CUDA graphs at vLLM's full list of sizes: 0.63 GiB for 32 layers, 0.70 to 1.06 for 48, 1.18 for 64 seen, and
0.74 with 28 small ones; models with windows and drafts reached 2.1."""

GRAPH_SIZES, GRAPH_MOST = 51, 512
"""Sizes of batches up to 512 that vLLM captures (1, 2, 4, steps of 8 to 256, steps of 16): config/vllm.py."""

PROCESS_MIB, PROCESS_DEFAULT_MIB, RANK_MIB = {"vllm": 2688, "sglang": 2560}, 3072, 1536
"""Main memory of the server, and of each further GPU's process. With SmolLM2-135M (257 MiB of weights) on a CPU: SGLang
0.5.23 had 2.5 to 2.7 GiB with 180 MiB of KV cache, vLLM 0.32 2.9 GiB with up to 1 GiB."""


class Work(msgspec.Struct, frozen=True):
    """MiB of one rank: activations at their peak, CUDA graphs, and what is beside PyTorch's own memory.

    `floor_mib`: what the engine's own rule would keep for activations and graphs.
    """

    compute_mib: int
    graphs_mib: int = 0
    beside_mib: int = 0
    floor_mib: int = 0

    @property
    def overhead_mib(self) -> int:
        """Graphs and what is beside."""
        return self.graphs_mib + self.beside_mib


def work(
    architecture: Architecture, engine: str, *, batch: int, slots: int, ranks: int, layers: int, pictures: bool = False
) -> Work:
    """What a rank's `layers` need beside weights and pool, where `batch` tokens are computed and `slots` sampled.

    `beside_mib` is that of a rank alone; see `communication_mib`. SGLang's rule for its `--mem-fraction-static` (0.5.23
    srt/arg_groups/memory_hook.py): 512 + 1.5 * chunk + 2 * graphs' batch + 1024 / 8 * ranks, in MiB. `pictures`: the
    model has a part that reads them.
    """
    activations = batch * _widths(architecture, ranks) * 2 * (EAGER if engine == "sglang" else 1)
    logits = slots * architecture.vocabulary * 4 * LOGITS
    sizes = graph_sizes(slots)
    graphs = GRAPHS_MIB + math.ceil(GRAPHS_LAYER_MIB * layers * sizes / GRAPH_SIZES)
    kept = math.ceil(512 + 1.5 * max(batch, 2048) + 2 * slots + ranks * 1024 / 8) if engine == "sglang" else 0
    seen = math.ceil(PICTURES_MIB + PICTURES_RANKS_MIB / ranks) if pictures else 0
    beside = CONTEXT_MIB + (PICTURES_CACHE_MIB if pictures and engine == "sglang" else 0)
    return Work(max(math.ceil((activations + logits) / MIB), seen), graphs, beside, kept)


def on_processor(architecture: Architecture, engine: str, *, batch: int, slots: int) -> Work:
    """What a server on the processor needs beside weights and pool."""
    work_mib = work(architecture, engine, batch=batch, slots=slots, ranks=1, layers=architecture.layers).compute_mib
    return Work(work_mib, 0, process_mib(engine))


def communication_mib(devices: tuple[Device, ...]) -> int:
    """Buffers on each of GPUs that work on one model together; 0 for one."""
    if not devices[1:]:
        return 0
    fast = any(capability(device.gpu.compute_capability or "") in _FAST for device in devices)
    return COMMUNICATION_FAST_MIB if fast else COMMUNICATION_MIB


def process_mib(engine: str) -> int:
    """Main memory of the server's own processes."""
    return PROCESS_MIB.get(engine, PROCESS_DEFAULT_MIB)


def graph_sizes(slots: int) -> int:
    """Batch sizes that vLLM captures graphs for: up to twice the slots, and 512 at most."""
    most = min(2 * slots, GRAPH_MOST)
    small = sum(size <= most for size in (1, 2, 4))
    return small + len(range(8, min(most + 1, 256), 8)) + len(range(256, most + 1, 16))


def _widths(architecture: Architecture, ranks: int) -> int:
    """Elements alive at once for one token: residual, attention, and the widest feed-forward part.

    Experts: what comes in or goes out of each used one, and between its two matrices (vLLM 0.32 fused_moe: a cache of
    `max(2 * width, embedding)` and one of `width` for each used expert).
    """
    embedding, used = architecture.embedding, architecture.experts_used
    dense = 3 * architecture.feed_forward // ranks
    width = (architecture.expert_feed_forward or architecture.feed_forward) // ranks
    experts = used * (max(2 * width, embedding) + width) if architecture.experts else 0
    return 4 * embedding + max(dense, experts)
