"""The estimator `paged_kv`: weights and a pool of KV pages on like GPUs, or all of it in main memory.

It is that of vLLM, SGLang, TGI and TensorRT-LLM. The engine takes a part of each GPU and gives what weights and work
leave to the pool. So the plan sets that part from the memory that is free, and promises only what the pool holds:
every slot with its whole context. The rules are in `paged_server`, `paged_weights`, `paged_layers`, `paged_pool`,
`paged_work` and `paged_share`.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from deployer.decide.candidates import Candidate, Device
from deployer.decide.memory import MIB, margin_mib
from deployer.decide.paged_layers import conversation_bytes, kv_types, stage_pool
from deployer.decide.paged_pool import Pool
from deployer.decide.paged_server import Server, make_server
from deployer.decide.paged_share import Share, card, share
from deployer.decide.paged_work import RANK_MIB, Work, communication_mib, on_processor, process_mib, work
from deployer.decide.rules_quantization import weakest
from deployer.decide.settings import Offer, Shortage, Sizing, host_available_mib, threads, wanted_offers, worst
from deployer.decide.version import capability
from deployer.decide.weights import Weights
from deployer.types import DeviceMemory, HostFacts, MemoryPlan, ModelSpec, Request, Settings

BATCH_TOKENS = ((140_000, 8192), (60_000, 8192), (35_000, 4096), (0, 2048))
"""Tokens computed at once by a GPU's total MiB: vLLM's and SGLang's defaults (engines.md of both: 2048 to 8192)."""

GIB_MIB = 1024
_BF16 = (8, 0)


class Need(NamedTuple):
    """What follows from slots and batch alone: by pipeline stage what a rank needs to work, and the engine's part.

    `share` is None without GPUs, and where the memory of one is unknown.
    """

    works: tuple[Work, ...]
    share: Share | None


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
    batches = _whole(batch_tokens(candidate), every) if request.whole_texts else batch_tokens(candidate)
    tried = _tried(server, host, every, batches)
    found = next(tried)
    if found is None:
        smallest = _fit(server, host, every[-1], batches[-1], _need(server, every[-1], batches[-1]))
        if not smallest.memory.fits:
            return Shortage(worst(smallest.memory.devices), every[-1])
        found = next((fit for fit in tried if fit is not None), smallest)
    return (_sizing(server, host, model, found),)


def batch_tokens(candidate: Candidate) -> tuple[int, ...]:
    """Tokens computed at once, the best number for the smallest GPU first, and smaller ones."""
    totals = [device.gpu.memory_total_mib for device in candidate.devices]
    smallest = min((total for total in totals if total is not None), default=0)
    return tuple(dict.fromkeys(tokens for floor, tokens in BATCH_TOKENS if smallest >= floor))


def _whole(batches: Sequence[int], every: Sequence[Offer]) -> tuple[int, ...]:
    """Batches that hold the longest text, which vLLM asks for ("smaller than max_model_len": config/scheduler.py)."""
    longest = max(offer.context for offer in every)
    return tuple(dict.fromkeys(max(batch, longest) for batch in batches))


def dtype(candidate: Candidate) -> str:
    """Arithmetic of 16-bit weights: `float16` where a GPU has no bfloat16 (below 8.0), else what the model was made in.

    Source: vLLM 0.33 platforms/cuda.py "Bfloat16 is only supported on GPUs with compute capability of at least 8.0".
    """
    device = weakest(candidate.devices)
    if device is None or candidate.image.accelerator != "cuda":
        return "auto"
    return "float16" if capability(device.gpu.compute_capability or "") < _BF16 else "auto"


def _tried(server: Server, host: HostFacts, every: Sequence[Offer], batches: Sequence[int]) -> Iterator[Fit | None]:
    """Each offer, the best first, with the best batch that fits: None where none does.

    A smaller batch leaves more to the pool, so that what does not hold with the smallest one holds with none.
    """
    needs: dict[tuple[int, int], Need] = {}

    def holds(offer: Offer, batch: int) -> bool:
        key = (offer.slots, batch)
        if key not in needs:
            needs[key] = _need(server, offer, batch)
        given = needs[key].share
        return given is None or _holds(server, offer, batch, given)

    for offer in every:
        held = (batch for batch in batches if holds(offer, batch)) if holds(offer, batches[-1]) else ()
        fits = (_fit(server, host, offer, batch, needs[offer.slots, batch]) for batch in held)
        yield next((fit for fit in fits if fit.memory.fits), None)


def _holds(server: Server, offer: Offer, batch: int, given: Share) -> bool:
    needed = [pool.needed(server.slots(offer)) for pool in _pools(server, offer, batch)]
    return all(needed[stage] <= room * MIB for stage, room in zip(server.stages, given.pools, strict=True))


def _pools(server: Server, offer: Offer, batch: int) -> tuple[Pool, ...]:
    """By pipeline stage, the pool of each rank."""
    shape, asked = (server.candidate.tensor_parallel, len(server.ranges)), (offer.kv_type, offer.context, batch)
    return tuple(stage_pool(server.architecture, server.engine, layers, shape, asked) for layers in server.ranges)


def _work(server: Server, layers: int, offer: Offer, batch: int) -> Work:
    """What a rank with so many layers needs beside weights and pool. Copies of the model do not talk to each other."""
    candidate, slots = server.candidate, server.slots(offer)
    if not candidate.devices:
        return on_processor(server.architecture, server.engine, batch=batch, slots=slots)
    ranks = candidate.tensor_parallel
    alone = work(
        *(server.architecture, server.engine),
        batch=batch,
        slots=slots,
        ranks=ranks,
        layers=layers,
        pictures=server.weights.layout.tower_bytes > 0,
    )
    together = candidate.devices[: len(candidate.devices) // candidate.data_parallel]
    return msgspec.structs.replace(alone, beside_mib=alone.beside_mib + communication_mib(together))


def _need(server: Server, offer: Offer, batch: int) -> Need:
    works = tuple(_work(server, end - start, offer, batch) for start, end in server.ranges)
    cards = [
        card(device, server.weights_mib[stage], works[stage], server.weights.basis, _beside_mib(server, device))
        for stage, device in zip(server.stages, server.candidate.devices, strict=True)
    ]
    known = [item for item in cards if item is not None]
    return Need(works, share(server.engine, known) if known and len(known) == len(cards) else None)


def _main(server: Server, available: int | None) -> DeviceMemory:
    """What the server's own processes need of main memory."""
    process = Work(0, 0, process_mib(server.engine) + RANK_MIB * (len(server.candidate.devices) - 1))
    return _device("host", server, (0, 0), process, available)


def _beside_mib(server: Server, device: Device) -> int:
    """The same with its margin, where GPU and processor share a memory: the engine's part has to leave so much."""
    if not device.gpu.unified_memory:
        return 0
    main = _main(server, None)
    return main.total_mib + main.margin_mib


def _fit(server: Server, host: HostFacts, offer: Offer, batch: int, need: Need) -> Fit:
    available, pools = host_available_mib(host), _pools(server, offer, batch)
    if not server.candidate.devices:
        return Fit(offer, batch, _on_host(server, offer, pools[0], need.works[0], available), None)
    wanted = [math.ceil(pool.needed(server.slots(offer)) / MIB) for pool in pools]
    rooms = [None] * len(server.stages) if need.share is None else need.share.pools
    gpus = [
        _on_gpu(server, device, stage, (need.works[stage], wanted[stage]), room)
        for device, stage, room in zip(server.candidate.devices, server.stages, rooms, strict=True)
    ]
    pairs = zip(gpus, server.candidate.devices, strict=True)
    shared = sum(gpu.total_mib + gpu.margin_mib for gpu, device in pairs if device.gpu.unified_memory)
    main = _main(server, None if available is None else max(available - shared, 0))
    held = {(pools[stage], gpu.kv_cache_mib) for stage, gpu in zip(server.stages, gpus, strict=True)}
    memory = _told(MemoryPlan(devices=(*gpus, main)), held)
    return Fit(offer, batch, memory, None if need.share is None else need.share.fraction)


def _on_host(server: Server, offer: Offer, pool: Pool, needs: Work, available: int | None) -> MemoryPlan:
    """Everything in main memory. vLLM is told its pool in whole GiB (`VLLM_CPU_KVCACHE_SPACE`), SGLang in tokens."""
    mib = math.ceil(pool.needed(offer.slots) / MIB)
    mib = math.ceil(mib / GIB_MIB) * GIB_MIB if server.engine == "vllm" else mib
    made = _device("host", server, (server.weights_mib[0], mib), needs, available)
    plan = _told(MemoryPlan(devices=(made,)), {(pool, mib)})
    if server.engine != "sglang":
        return plan
    return msgspec.structs.replace(
        plan, kv_cache_tokens=offer.context * offer.slots, max_concurrency=float(offer.slots)
    )


def _on_gpu(server: Server, device: Device, stage: int, needed: tuple[Work, int], room: int | None) -> DeviceMemory:
    """The pool is all that the engine's part leaves, and at least what the offer promises, which then may not fit.

    `needed`: to work, and MiB of the pool that the offer promises.
    """
    (needs, wanted), weights = needed, server.weights_mib[stage]
    name, free = device.gpu.uuid or f"gpu{device.gpu.index}", device.gpu.memory_free_mib
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


def _told(plan: MemoryPlan, held: Collection[tuple[Pool, int]]) -> MemoryPlan:
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
        kv_bytes=conversation_bytes(
            *(server.architecture, server.engine),
            ranks=server.candidate.tensor_parallel,
            kv_type=offer.kv_type,
            context=offer.context,
            batch=fit.batch,
        ),
        context_total=offer.context * server.slots(offer),
    )


def _counts(server: Server) -> tuple[int, ...]:
    """Layers of each GPU: all of them, or those of its stage; the output is one more, on the last stage."""
    last = len(server.ranges) - 1
    of_stage = [end - start + (stage == last) for stage, (start, end) in enumerate(server.ranges)]
    return tuple(of_stage[stage] for stage in server.stages)
