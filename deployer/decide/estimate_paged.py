"""The estimator `paged_kv`: weights and a pool of KV pages on like GPUs, or all of it in main memory.

It is that of vLLM, SGLang, TGI and TensorRT-LLM. The engine takes a part of each GPU and gives what weights and work
leave to the pool. So the plan sets that part from the memory that is free, and promises only what the pool holds:
every slot with its whole context. The rules are in `paged_weights`, `paged_layers`, `paged_pool`, `paged_work` and
`paged_share`.
"""

import math
from collections.abc import Iterator

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.memory import MIB, margin_mib
from deployer.decide.paged_layers import kv_types, layers_of
from deployer.decide.paged_pool import Pool, pool
from deployer.decide.paged_share import Share, card, share
from deployer.decide.paged_weights import rank_bytes, stage_layers
from deployer.decide.paged_work import RANK_MIB, Work, communication_mib, on_processor, process_mib, work
from deployer.decide.rules_quantization import weakest
from deployer.decide.settings import Offer, Shortage, Sizing, host_available_mib, threads, wanted_offers, worst
from deployer.decide.version import capability
from deployer.decide.weights import Weights
from deployer.types import Architecture, DeviceMemory, HostFacts, MemoryPlan, ModelSpec, Request, Settings

BATCH_TOKENS = ((140_000, 8192), (60_000, 8192), (35_000, 4096), (0, 2048))
"""Tokens computed at once by a GPU's total MiB: vLLM's and SGLang's defaults (engines.md of both: 2048 to 8192)."""

GIB_MIB = 1024
_BF16 = (8, 0)


class Server(msgspec.Struct, frozen=True):
    """One engine on its devices. By pipeline stage: layers (from, to), and MiB of weights on each rank."""

    candidate: Candidate
    architecture: Architecture
    weights: Weights
    ranges: tuple[tuple[int, int], ...]
    weights_mib: tuple[int, ...]

    @property
    def engine(self) -> str:
        """The engine's name, by which its rules differ."""
        return self.candidate.engine.engine

    def slots(self, offer: Offer) -> int:
        """Slots of one copy of the model."""
        return math.ceil(offer.slots / self.candidate.data_parallel)

    def stage(self, place: int) -> int:
        """Pipeline stage of a device: copy by copy, and in each stage by stage."""
        return place // self.candidate.tensor_parallel % self.candidate.pipeline_parallel


class Fit(msgspec.Struct, frozen=True):
    """An offer and its memory; `fraction` is None on a processor, and where a GPU's memory is unknown."""

    offer: Offer
    batch: int
    memory: MemoryPlan
    fraction: float | None


def size(
    candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request, weights: Weights
) -> tuple[Sizing, ...] | Shortage:
    """The first offer whose conversations all fit into the pool; a Shortage for the smallest one otherwise."""
    architecture = model.architecture
    server = make_server(candidate, architecture, weights)
    every = wanted_offers(candidate, host, architecture, request, kv_types(candidate, architecture))
    batches = batch_tokens(candidate)
    smallest = _fit(server, host, every[-1], batches[-1], _share(server, every[-1], batches[-1]))
    if not smallest.memory.fits:
        return Shortage(worst(smallest.memory.devices), every[-1])
    found = next(_fitting(server, host, every, batches), smallest)
    return (_sizing(server, host, model, found),)


def make_server(candidate: Candidate, architecture: Architecture, weights: Weights) -> Server:
    """Divide layers and weights by stage and rank."""
    stages, ranks = candidate.pipeline_parallel, candidate.tensor_parallel
    counts = stage_layers(architecture.layers, stages)
    ranges = tuple((sum(counts[:stage]), sum(counts[: stage + 1])) for stage in range(stages))
    sizes = (rank_bytes(architecture, weights, ranks=ranks, stages=stages, stage=stage) for stage in range(stages))
    return Server(candidate, architecture, weights, ranges, tuple(math.ceil(item / MIB) for item in sizes))


def batch_tokens(candidate: Candidate) -> tuple[int, ...]:
    """Tokens computed at once, the best number for the smallest GPU first, and smaller ones."""
    totals = [device.gpu.memory_total_mib for device in candidate.devices]
    smallest = min((total for total in totals if total is not None), default=0)
    return tuple(dict.fromkeys(tokens for floor, tokens in BATCH_TOKENS if smallest >= floor))


def dtype(candidate: Candidate) -> str:
    """Arithmetic of 16-bit weights: `float16` where a GPU has no bfloat16 (below 8.0), else what the model was made in.

    Source: vLLM 0.33 platforms/cuda.py "Bfloat16 is only supported on GPUs with compute capability of at least 8.0".
    """
    device = weakest(candidate.devices)
    if device is None or candidate.image.accelerator != "cuda":
        return "auto"
    return "float16" if capability(device.gpu.compute_capability or "") < _BF16 else "auto"


def _fitting(server: Server, host: HostFacts, every: tuple[Offer, ...], batches: tuple[int, ...]) -> Iterator[Fit]:
    """Offers that fit, the best first. What a card leaves for the pool follows from slots and batch alone."""
    shares: dict[tuple[int, int], Share | None] = {}
    for offer in every:
        for batch in batches:
            key = (offer.slots, batch)
            if key not in shares:
                shares[key] = _share(server, offer, batch)
            given = shares[key]
            if given is None or _holds(server, offer, batch, given):
                fit = _fit(server, host, offer, batch, given)
                if fit.memory.fits:
                    yield fit


def _holds(server: Server, offer: Offer, batch: int, given: Share) -> bool:
    return all(
        _pool(server, server.stage(place), offer, batch).needed(server.slots(offer)) <= room * MIB
        for place, room in enumerate(given.pools)
    )


def _pool(server: Server, stage: int, offer: Offer, batch: int) -> Pool:
    candidate, (start, end) = server.candidate, server.ranges[stage]
    kept = layers_of(server.architecture, server.engine, ranks=candidate.tensor_parallel, kv_type=offer.kv_type)
    stages = candidate.pipeline_parallel
    return pool(server.engine, kept[start:end], context=offer.context, batch=batch, stages=stages)


def _work(server: Server, stage: int, offer: Offer, batch: int) -> Work:
    """What a rank needs beside weights and pool. Copies of the model do not talk to each other."""
    candidate, slots = server.candidate, server.slots(offer)
    if not candidate.devices:
        return on_processor(server.architecture, server.engine, batch=batch, slots=slots)
    start, end = server.ranges[stage]
    ranks, layers = candidate.tensor_parallel, end - start
    alone = work(server.architecture, server.engine, batch=batch, slots=slots, ranks=ranks, layers=layers)
    together = candidate.devices[: len(candidate.devices) // candidate.data_parallel]
    return msgspec.structs.replace(alone, beside_mib=alone.beside_mib + communication_mib(together))


def _share(server: Server, offer: Offer, batch: int) -> Share | None:
    """The engine's part of the GPUs; None without GPUs, and where the memory of one is unknown."""
    works = [_work(server, stage, offer, batch) for stage in range(len(server.ranges))]
    cards = []
    for place, device in enumerate(server.candidate.devices):
        stage = server.stage(place)
        found = card(device, server.weights_mib[stage], works[stage], server.weights.basis)
        if found is None:
            return None
        cards.append(found)
    return share(server.engine, cards) if cards else None


def _fit(server: Server, host: HostFacts, offer: Offer, batch: int, given: Share | None) -> Fit:
    available = host_available_mib(host)
    if not server.candidate.devices:
        return Fit(offer, batch, _on_host(server, offer, batch, available), None)
    places = range(len(server.candidate.devices))
    gpus = [_on_gpu(server, place, offer, batch, None if given is None else given.pools[place]) for place in places]
    pairs = zip(gpus, server.candidate.devices, strict=True)
    shared = sum(gpu.total_mib + gpu.margin_mib for gpu, device in pairs if device.gpu.unified_memory)
    process = Work(0, 0, process_mib(server.engine) + RANK_MIB * (len(gpus) - 1))
    left = None if available is None else max(available - shared, 0)
    main = _device("host", server, (0, 0), process, left)
    held = [(_pool(server, server.stage(place), offer, batch), gpus[place].kv_cache_mib) for place in places]
    memory = _told(MemoryPlan(devices=(*gpus, main)), held)
    return Fit(offer, batch, memory, None if given is None else given.fraction)


def _on_host(server: Server, offer: Offer, batch: int, available: int | None) -> MemoryPlan:
    """Everything in main memory. vLLM is told its pool in whole GiB (`VLLM_CPU_KVCACHE_SPACE`), SGLang in tokens."""
    kept = _pool(server, 0, offer, batch)
    mib = math.ceil(kept.needed(offer.slots) / MIB)
    mib = math.ceil(mib / GIB_MIB) * GIB_MIB if server.engine == "vllm" else mib
    made = _device("host", server, (server.weights_mib[0], mib), _work(server, 0, offer, batch), available)
    plan = _told(MemoryPlan(devices=(made,)), [(kept, mib)])
    if server.engine != "sglang":
        return plan
    return msgspec.structs.replace(
        plan, kv_cache_tokens=offer.context * offer.slots, max_concurrency=float(offer.slots)
    )


def _on_gpu(server: Server, place: int, offer: Offer, batch: int, room: int | None) -> DeviceMemory:
    """The pool is all that the engine's part leaves, and at least what the offer promises, which then may not fit."""
    device, stage = server.candidate.devices[place], server.stage(place)
    needs, kept = _work(server, stage, offer, batch), _pool(server, stage, offer, batch)
    name, free = device.gpu.uuid or f"gpu{device.gpu.index}", device.gpu.memory_free_mib
    wanted = math.ceil(kept.needed(server.slots(offer)) / MIB)
    weights = server.weights_mib[stage]
    made = _device(name, server, (weights, wanted if room is None else max(wanted, room)), needs, free)
    if room is None or room >= wanted:
        return made
    given = weights + room + needs.compute_mib + needs.overhead_mib
    most = min(free or 0, given + margin_mib(given, server.weights.basis))
    return msgspec.structs.replace(made, available_mib=max(most, 0))


def _device(name: str, server: Server, parts: tuple[int, int], needs: Work, available: int | None) -> DeviceMemory:
    """One device; `parts` are the MiB of weights and pool."""
    total = sum(parts) + needs.compute_mib + needs.overhead_mib
    return DeviceMemory(
        device=name,
        weights_mib=parts[0],
        kv_cache_mib=parts[1],
        compute_mib=needs.compute_mib,
        overhead_mib=needs.overhead_mib,
        total_mib=total,
        margin_mib=margin_mib(total, server.weights.basis),
        available_mib=available,
    )


def _told(plan: MemoryPlan, held: list[tuple[Pool, int]]) -> MemoryPlan:
    """The plan with what the smallest pool of one copy holds, as the engine's log will say it."""
    tokens = min(kept.tokens(mib * MIB) for kept, mib in held)
    most = min(kept.concurrency(mib * MIB) for kept, mib in held)
    if not math.isfinite(most):
        return plan
    return msgspec.structs.replace(plan, kv_cache_tokens=tokens, max_concurrency=round(most, 2))


def _settings(server: Server, host: HostFacts, model: ModelSpec, fit: Fit) -> Settings:
    candidate, offer, on_gpu = server.candidate, fit.offer, bool(server.candidate.devices)
    pools = [device.kv_cache_mib for device in fit.memory.devices[: max(len(candidate.devices), 1)]]
    return Settings(
        context=offer.context,
        slots=offer.slots,
        gpu_layers=len(server.weights.layout.layer_bytes) + 1 if on_gpu else 0,
        tensor_parallel=candidate.tensor_parallel,
        data_parallel=candidate.data_parallel,
        pipeline_parallel=candidate.pipeline_parallel,
        kv_cache_type=offer.kv_type,
        threads=threads(host),
        batch=fit.batch,
        micro_batch=fit.batch,
        gpu_memory_fraction=fit.fraction,
        kv_cache_mib=min(pools),
        dtype=dtype(candidate),
        tool_parser=model.tool_parsers.get(candidate.engine.engine),
    )


def _sizing(server: Server, host: HostFacts, model: ModelSpec, fit: Fit) -> Sizing:
    offer = fit.offer
    return Sizing(
        settings=_settings(server, host, model, fit),
        offer=offer,
        weights=server.weights,
        memory=fit.memory,
        counts=_counts(server),
        kv_bytes=_conversation(server, offer, fit.batch),
        context_total=offer.context * server.slots(offer),
    )


def _counts(server: Server) -> tuple[int, ...]:
    """Layers of each GPU: all of them, or those of its stage; the output is one more, on the last stage."""
    last = len(server.ranges) - 1
    of_stage = [end - start + (stage == last) for stage, (start, end) in enumerate(server.ranges)]
    return tuple(of_stage[server.stage(place)] for place in range(len(server.candidate.devices)))


def _conversation(server: Server, offer: Offer, batch: int) -> tuple[int, ...]:
    """Bytes that one full conversation keeps in each layer, on one rank."""
    ranks = server.candidate.tensor_parallel
    return tuple(
        layer.state_bytes
        + layer.token_bytes * (min(offer.context, layer.window + batch) if layer.window else offer.context)
        for layer in layers_of(server.architecture, server.engine, ranks=ranks, kv_type=offer.kv_type)
    )
