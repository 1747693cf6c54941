"""Bytes of weights on one rank of an engine that shares every matrix: what is divided, and what each rank has whole.

Sources: vLLM 0.33 model_executor/layers (linear.py: QKVParallelLinear repeats KV heads where there are fewer than
ranks; vocab_parallel_embedding.py: rows padded to 64; fused_moe: the router is whole on each rank), and
model_executor/models/deepseek_v2.py (down-projections of latent attention are whole, its up-projection is kept once
more in 16 bits, divided). Experts in MXFP4 are padded to tiles of their kernels: see `expert_tile`.
"""

import functools
import math

from deployer.decide.candidates import Candidate
from deployer.decide.rules_quantization import weakest
from deployer.decide.version import capability
from deployer.decide.weights import EXPERTS_ONLY, Weights, value_dim
from deployer.types import Architecture

ROWS = 64
"""The vocabulary is padded to a multiple of this."""

POSITIONS_MOST = 1 << 20
LARGE, ROUND, EXACT = 10 << 20, 2 << 20, 0.01

_HALF = 2
_HOPPER, _BLACKWELL = (9, 0), (10, 0)


def stage_layers(layers: int, stages: int) -> tuple[int, ...]:
    """Layers of each pipeline stage; what is left over goes to the stages before the last.

    Source: vLLM 0.32 distributed/utils.py `get_pp_indices` (32 layers in 3 stages: 11, 11, 10).
    """
    counts, left = [layers // stages] * stages, layers % stages
    for place in range(2, left + 2):
        counts[-place] += 1
    return tuple(counts)


def expert_tile(candidate: Candidate) -> tuple[int, int]:
    """Elements that embedding and width of one rank's experts are padded to: 1 where they stay as they are.

    vLLM 0.32 fused_moe/oracle/mxfp4.py: 256 and 128 for Marlin (Ampere, Ada, consumer Blackwell) and TensorRT-LLM's
    kernels, 256 and 256 on AMD GPUs; Triton on Hopper: 256 and 64, as 64.38 GiB of gpt-oss-120b say (vllm#33155).
    SGLang 0.5.23 layers/quantization/mxfp4.py: 256 and 128 on Blackwell, else 64 for the width.
    """
    if candidate.variant.quantization not in EXPERTS_ONLY or not candidate.devices:
        return 1, 1
    device, vllm = weakest(candidate.devices), candidate.engine.engine == "vllm"
    if candidate.image.accelerator != "cuda":
        return 256, 256
    own = capability(device.gpu.compute_capability or "") if device else (0, 0)
    if vllm:
        return 256, 64 if _HOPPER <= own < _BLACKWELL else 128
    return (256, 128) if own >= _BLACKWELL else (1, 64)


@functools.lru_cache(maxsize=256)
def rank_bytes(
    architecture: Architecture,
    weights: Weights,
    *,
    ranks: int = 1,
    stages: int = 1,
    stage: int = 0,
    tile: tuple[int, int] = (1, 1),
) -> int:
    """Bytes of weights on each of `ranks` GPUs of one pipeline stage (counted from 0), as vLLM logs it.

    The input embedding is on the first stage, the output on the last; a tied one on both. Counted are also the table of
    rotary positions, what PyTorch's allocator rounds up, and what pads experts to a `tile`.
    """
    layout = weights.layout
    counts = stage_layers(len(layout.layer_bytes), stages)
    start = sum(counts[:stage])
    layers = layout.layer_bytes[start : start + counts[stage]]
    divided = max(sum(layers) - _whole(architecture, weights) * len(layers), 0)
    rows = _rows(architecture, weights, first=stage == 0, last=stage == stages - 1)
    parts = divided + _absorbed(architecture) * len(layers) + sum(rows)
    each = _whole(architecture, weights) + _repeated(architecture, weights, ranks)
    tables = sum(_rounding(row // ranks) for row in rows) + _positions(architecture)
    experts = sum(layout.expert_bytes[start : start + counts[stage]]) // ranks
    tables += int(experts * _padding(architecture, ranks, tile))
    return parts // ranks + (each + _rounded(architecture, weights, ranks)) * len(layers) + tables


def _padding(architecture: Architecture, ranks: int, tile: tuple[int, int]) -> float:
    """Part that experts of one rank grow by when embedding and width are padded to multiples of `tile`."""
    width = (architecture.expert_feed_forward or architecture.feed_forward) // ranks
    pairs = zip((architecture.embedding, width), tile, strict=True)
    return math.prod(-(-size // step) * step / size for size, step in pairs if size) - 1


def _rows(architecture: Architecture, weights: Weights, *, first: bool, last: bool) -> tuple[int, ...]:
    """Bytes of the embedding and of the output of a stage, on all ranks together, padded."""
    layout, padding = weights.layout, -architecture.vocabulary % ROWS * architecture.embedding * _HALF
    found = [layout.input_bytes + padding] if first else []
    if last and not weights.tied:
        found.append(layout.output_bytes + padding)
    elif last:
        found.append(layout.output_bytes + (0 if first else layout.input_bytes + padding))
    return tuple(found)


def _positions(architecture: Architecture) -> int:
    """Cosines and sines of every position, in 16 bits, for all layers together (rotary_embedding/base.py)."""
    positions = min(architecture.context_max, POSITIONS_MOST)
    return positions * (architecture.rope_head_dim or architecture.head_dim) * _HALF


def _whole(architecture: Architecture, weights: Weights) -> int:
    """Bytes of a layer that every rank has whole: norms, router, down-projections of latent attention.

    The mean of all layers where the tensors' names tell it.
    """
    if weights.layout.replicated_bytes:
        return weights.layout.replicated_bytes // max(len(weights.layout.layer_bytes), 1)
    embedding = architecture.embedding
    small = (2 + architecture.experts) * embedding * _HALF
    if not architecture.kv_lora_rank:
        return small
    down = architecture.q_lora_rank + architecture.kv_lora_rank + architecture.rope_head_dim
    return small + int(down * embedding * _element_bytes(architecture, weights))


def _absorbed(architecture: Architecture) -> int:
    """Bytes of the second copy of latent attention's up-projection in a layer, on all ranks together."""
    plain = architecture.head_dim - architecture.rope_head_dim
    return architecture.kv_lora_rank * architecture.heads * (plain + value_dim(architecture)) * _HALF


def _repeated(architecture: Architecture, weights: Weights, ranks: int) -> int:
    """Bytes of a layer's key and value matrices that a rank has beyond its even part, as KV heads are not divided."""
    missing = 1 - architecture.kv_heads / ranks
    if architecture.kv_lora_rank or missing <= 0:
        return 0
    head = (architecture.head_dim + value_dim(architecture)) * architecture.embedding
    return int(head * missing * _element_bytes(architecture, weights))


def _rounded(architecture: Architecture, weights: Weights, ranks: int) -> int:
    """Bytes that the allocator adds to a layer's matrices on one rank: the mean of all layers."""
    size, total = _element_bytes(architecture, weights), 0
    for experts, count in _kinds(architecture):
        lost = sum(_rounding(int(matrix * size) // ranks) for matrix in _matrices(architecture, experts=experts))
        total += lost * count
    return total // max(architecture.layers, 1)


def _rounding(size: int) -> int:
    """Bytes up to the next 2 MiB, for tensors of 10 MiB and more (PyTorch CachingAllocator.h `kRoundLarge`).

    Sizes are known to 1 % only, so that a little above a multiple counts as the multiple.
    """
    over = size % ROUND
    return ROUND - over if size >= LARGE and over > size * EXACT else 0


def _element_bytes(architecture: Architecture, weights: Weights) -> float:
    """Average bytes of one weight in the layers, between 4 and 32 bits."""
    elements = sum(sum(_matrices(architecture, experts=kind)) * count for kind, count in _kinds(architecture))
    return min(max(sum(weights.layout.layer_bytes) / elements, 0.5), 4.0) if elements else float(_HALF)


def _kinds(architecture: Architecture) -> tuple[tuple[bool, int], ...]:
    """Whether layers have experts, and how many are such."""
    dense = min(architecture.dense_layers, architecture.layers) if architecture.experts else architecture.layers
    return (False, dense), (True, architecture.layers - dense)


def _matrices(architecture: Architecture, *, experts: bool) -> tuple[int, ...]:
    """Elements of the tensors of one layer as they are kept: queries with keys and values, output, gate with up, down.

    The experts of a layer are one tensor.
    """
    embedding, query = architecture.embedding, architecture.heads * architecture.head_dim
    keys = architecture.kv_lora_rank or architecture.kv_heads * (architecture.head_dim + value_dim(architecture))
    attention = (embedding * (query + keys), embedding * architecture.heads * value_dim(architecture))
    wide, shared = architecture.feed_forward, 0
    if experts:
        expert = architecture.expert_feed_forward or wide
        wide = architecture.experts * expert
        shared = architecture.shared_experts * (architecture.shared_expert_feed_forward or expert)
    parts = (2 * embedding * wide, embedding * wide, 2 * embedding * shared, embedding * shared)
    return (*attention, *parts)
