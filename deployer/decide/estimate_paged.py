"""The estimator `paged_kv`: weights and a pool of KV pages on like GPUs, or all of it in main memory.

It is that of vLLM, SGLang, TGI and TensorRT-LLM. The engine takes a part of the GPU's total memory and gives what the
weights and the work leave to the pool (vLLM 0.33
v1/worker/gpu_worker.py: KV = total * fraction - weights - activation peak - non-torch - CUDA graphs). So the plan sets
that part from the memory that is free, and promises only what the pool holds: every slot with its whole context.
"""

import math

import msgspec

from deployer.decide.candidates import Candidate, Device
from deployer.decide.kv_cache import PADDING, layer_bytes
from deployer.decide.memory import MIB, margin_mib
from deployer.decide.rules_quantization import weakest
from deployer.decide.settings import (
    Offer,
    Shortage,
    Sizing,
    host_available_mib,
    offers,
    threads,
    wanted_contexts,
    wanted_slots,
    worst,
)
from deployer.decide.version import capability
from deployer.decide.weights import Weights
from deployer.types import Architecture, DeviceMemory, HostFacts, MemoryPlan, ModelSpec, Request, Settings

MAX_SLOTS = 256
"""Sequences that one server works on at once: vLLM's own default on cards below 70 GiB."""

BATCH_TOKENS = ((140_000, 8192), (60_000, 8192), (35_000, 4096), (0, 2048))
"""Tokens computed at once by a GPU's total MiB: vLLM's and SGLang's defaults (engines.md of both: 2048 to 8192)."""

FRACTION_MOST, FRACTION_STEP = 0.92, 0.02
"""No engine is given more of a card than this (vLLM's default since 0.20); below it in whole steps, so that a few MiB
change no plan."""

FRACTION_OF = {"sglang": "weights and pool", "tensorrt-llm": "pool, of what weights leave"}
"""What an engine's fraction is of; the others mean everything they take of the GPU's total memory. SGLang 0.5.23
srt/arg_groups/memory_hook.py; TensorRT-LLM `--kv_cache_free_gpu_memory_fraction`."""

CONTEXT_MIB = 500
"""CUDA context, kernels and workspaces of one process on one GPU: vLLM's "non-torch" memory; our allowance."""

GRAPHS_MIB, GRAPHS_LAYER_MIB = 300, 10
"""Captured CUDA graphs: 0.1 to 2.1 GiB were seen (vLLM's own log lines), more with more layers; our allowance."""

NCCL_MIB = 400
"""Buffers for talking to the other GPUs, on each; our allowance."""

PROCESS_MIB, RANK_MIB = 3072, 1536
"""Main memory of the server and of each further GPU's process: 2.5 to 2.7 GiB seen with SGLang 0.5.23 and PyTorch."""

_BF16 = (8, 0)
_ACTIVATIONS, _LOGITS = 3, 2.5


class Rank(msgspec.Struct, frozen=True):
    """What one GPU (or the processor) needs beside the pool, in MiB, and what a conversation takes of the pool.

    `batch` are the tokens computed at once, `kv_bytes` what a full conversation keeps in each layer.
    """

    batch: int
    weights_mib: int
    compute_mib: int
    overhead_mib: int
    conversation_mib: int
    kv_bytes: tuple[int, ...]

    def pool_mib(self, slots: int) -> int:
        """The pool for so many full conversations."""
        return self.conversation_mib * slots


class Fit(msgspec.Struct, frozen=True):
    """An offer that fits, and its memory."""

    offer: Offer
    weights: Weights
    need: Rank
    memory: MemoryPlan


def size(
    candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request, weights: Weights
) -> tuple[Sizing, ...] | Shortage:
    """The first offer whose conversations all fit into the pool; a Shortage for one conversation otherwise."""
    slots = wanted_slots(candidate, host, request, most=MAX_SLOTS)
    every = offers(slots, wanted_contexts(model.architecture, request), ("auto",))
    batches = batch_tokens(candidate)
    for offer in every:
        for batch in batches:
            need = _need(candidate, model, weights, offer, batch)
            memory = _memory(candidate, host, weights, offer, need)
            if memory.fits:
                return (_sizing(candidate, host, model, Fit(offer, weights, need, memory)),)
    smallest = _need(candidate, model, weights, every[-1], batches[-1])
    return Shortage(worst(_memory(candidate, host, weights, every[-1], smallest).devices), every[-1])


def rank(architecture: Architecture, weights: Weights, offer: Offer, *, ranks: int, batch: int, on_gpu: bool) -> Rank:
    """Needs of one of `ranks` like GPUs. Weights are shared evenly, the vocabulary included.

    Compute: `tokens * 3 * widest * 2` bytes of activations and 2.5 float32 logits of every slot, our heuristic.
    """
    wide = max(architecture.feed_forward, architecture.experts_used * architecture.expert_feed_forward)
    activations = batch * _ACTIVATIONS * (wide // ranks + architecture.embedding) * 2
    logits = int(offer.slots * architecture.vocabulary * 4 * _LOGITS)
    cells = math.ceil(offer.context / PADDING) * PADDING
    kept = layer_bytes(architecture, cells=cells, batch=batch, element_bytes=2.0, ranks=ranks)
    graphs = GRAPHS_MIB + GRAPHS_LAYER_MIB * architecture.layers if on_gpu else 0
    beside = CONTEXT_MIB + (NCCL_MIB if ranks > 1 else 0) if on_gpu else PROCESS_MIB
    return Rank(
        batch=batch,
        weights_mib=math.ceil(weights.layout.total_bytes / ranks / MIB),
        compute_mib=math.ceil((activations + logits) / MIB),
        overhead_mib=graphs + beside,
        conversation_mib=math.ceil(sum(kept) / MIB),
        kv_bytes=kept,
    )


def batch_tokens(candidate: Candidate) -> tuple[int, ...]:
    """Tokens computed at once, the best number for the smallest GPU first, and smaller ones."""
    totals = [device.gpu.memory_total_mib for device in candidate.devices]
    smallest = min((total for total in totals if total is not None), default=0)
    return tuple(dict.fromkeys(tokens for floor, tokens in BATCH_TOKENS if smallest >= floor))


def fraction(candidate: Candidate, weights: Weights) -> float | None:
    """Part of each GPU's total memory that may be taken: `(free - margin) / total` of the fullest card, in steps.

    None where a card's memory is unknown.
    """
    parts = []
    for device in candidate.devices:
        free, total = device.gpu.memory_free_mib, device.gpu.memory_total_mib
        if free is None or not total:
            return None
        parts.append((free - margin_mib(free, weights.basis)) / total)
    steps = math.floor(max(min([*parts, FRACTION_MOST]), 0) / FRACTION_STEP + 1e-9)
    return round(steps * FRACTION_STEP, 2)


def dtype(candidate: Candidate) -> str:
    """Arithmetic of 16-bit weights: `float16` where a GPU has no bfloat16 (below 8.0), else what the model was made in.

    Source: vLLM 0.33 platforms/cuda.py "Bfloat16 is only supported on GPUs with compute capability of at least 8.0".
    """
    device = weakest(candidate.devices)
    if device is None or candidate.image.accelerator != "cuda":
        return "auto"
    return "float16" if capability(device.gpu.compute_capability or "") < _BF16 else "auto"


def _need(candidate: Candidate, model: ModelSpec, weights: Weights, offer: Offer, batch: int) -> Rank:
    ranks, on_gpu = max(len(candidate.devices), 1), bool(candidate.devices)
    return rank(model.architecture, weights, offer, ranks=ranks, batch=batch, on_gpu=on_gpu)


def _memory(candidate: Candidate, host: HostFacts, weights: Weights, offer: Offer, need: Rank) -> MemoryPlan:
    available = host_available_mib(host)
    if not candidate.devices:
        return MemoryPlan(devices=(_device("host", need, need.pool_mib(offer.slots), weights, available),))
    part = fraction(candidate, weights)
    gpus = [_on_gpu(device, need, offer, part, weights) for device in candidate.devices]
    pairs = zip(gpus, candidate.devices, strict=True)
    shared = sum(gpu.total_mib + gpu.margin_mib for gpu, device in pairs if device.gpu.unified_memory)
    main = Rank(0, 0, 0, PROCESS_MIB + RANK_MIB * (len(gpus) - 1), 0, ())
    left = None if available is None else max(available - shared, 0)
    return MemoryPlan(devices=(*gpus, _device("host", main, 0, weights, left)))


def _on_gpu(device: Device, need: Rank, offer: Offer, part: float | None, weights: Weights) -> DeviceMemory:
    """The pool is all that the fraction leaves, and at least what the offer promises, which then may not fit."""
    name, free = device.gpu.uuid or f"gpu{device.gpu.index}", device.gpu.memory_free_mib
    beside = need.weights_mib + need.compute_mib + need.overhead_mib
    if part is None:
        return _device(name, need, need.pool_mib(offer.slots), weights, free)
    given = int((device.gpu.memory_total_mib or 0) * part)
    pool = max(given - beside, need.pool_mib(offer.slots))
    made = _device(name, need, pool, weights, free)
    most = min(free or 0, given + margin_mib(given, weights.basis))
    return made if made.total_mib <= given else msgspec.structs.replace(made, available_mib=most)


def _device(name: str, need: Rank, pool: int, weights: Weights, available: int | None) -> DeviceMemory:
    total = need.weights_mib + pool + need.compute_mib + need.overhead_mib
    return DeviceMemory(
        device=name,
        weights_mib=need.weights_mib,
        kv_cache_mib=pool,
        compute_mib=need.compute_mib,
        overhead_mib=need.overhead_mib,
        total_mib=total,
        margin_mib=margin_mib(total, weights.basis),
        available_mib=available,
    )


def _settings(candidate: Candidate, host: HostFacts, model: ModelSpec, fit: Fit) -> Settings:
    offer, tight, on_gpu = fit.offer, fit.memory.devices[0], bool(candidate.devices)
    return Settings(
        context=offer.context,
        slots=offer.slots,
        gpu_layers=len(fit.weights.layout.layer_bytes) + 1 if on_gpu else 0,
        tensor_parallel=max(len(candidate.devices), 1),
        kv_cache_type=offer.kv_type,
        threads=threads(host),
        batch=fit.need.batch,
        micro_batch=fit.need.batch,
        gpu_memory_fraction=_own_fraction(candidate, fit),
        kv_cache_mib=tight.kv_cache_mib,
        dtype=dtype(candidate),
        tool_parser=model.tool_parsers.get(candidate.engine.engine),
    )


def _sizing(candidate: Candidate, host: HostFacts, model: ModelSpec, fit: Fit) -> Sizing:
    layers = len(fit.weights.layout.layer_bytes) + 1
    return Sizing(
        settings=_settings(candidate, host, model, fit),
        offer=fit.offer,
        weights=fit.weights,
        memory=fit.memory,
        counts=(layers,) * len(candidate.devices),
        kv_bytes=fit.need.kv_bytes,
        context_total=fit.offer.context * fit.offer.slots,
    )


def _own_fraction(candidate: Candidate, fit: Fit) -> float | None:
    """The fraction as this engine means it, in steps of 0.01; None on a processor and where memory is unknown."""
    whole, need, tight = fraction(candidate, fit.weights), fit.need, fit.memory.devices[0]
    totals = [device.gpu.memory_total_mib or 0 for device in candidate.devices]
    if whole is None or not totals or tight.available_mib is None:
        return None
    match FRACTION_OF.get(candidate.engine.engine, "everything"):
        case "weights and pool":
            exact = (need.weights_mib + tight.kv_cache_mib) / min(totals)
        case "pool, of what weights leave":
            exact = tight.kv_cache_mib / max(tight.available_mib - need.weights_mib - need.overhead_mib, 1)
        case _:
            return whole
    return math.floor(min(exact, FRACTION_MOST) * 100) / 100
