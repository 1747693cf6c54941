"""Where the time of a token goes: bytes, arithmetic and exchange of every place that holds layers."""

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.host import short_name
from deployer.decide.rates import Rate, cpu_rate, gpu_rate
from deployer.decide.settings import Sizing
from deployer.decide.weights import Weights
from deployer.types import HostFacts, ModelSpec

LAYER_S = {("slots", "gpu"): 35e-6, ("slots", "cpu"): 0.0, ("paged_kv", "gpu"): 60e-6, ("paged_kv", "cpu"): 380e-6}
"""Seconds that a layer costs however small it is. llama.cpp: RTX 3090, 8B Q4_0, 6.4 ms a token of which 5.3 read
(llama.cpp#15802). vLLM: RTX 4090, 36 layers, 7.2 ms of which 4.9 to 5.4 read (club-3090#697). SGLang 0.5.23 on 2
cores: 29 ms a token of SmolLM2-135M (30 layers), of which 18 read."""

EXCHANGE_S, LINKED_EXCHANGE_S = 60e-6, 20e-6
EXCHANGE_BYTES_S, LINKED_EXCHANGE_BYTES_S = 8e9, 200e9
"""Two sums a layer over all GPUs that share it: seconds to begin, and bytes a second, over PCIe and over a link of
their own (NVLink); our allowance. Two H100 need 30.9 ms a token of a 72B model (tt-inference-server#143)."""

UPLOAD_BYTES_S = 10e9
"""Weights in main memory are brought to a GPU to read prompts (llama.cpp, from 32 tokens on): PCIe 3.0 x16."""


HOP_S = 0.2e-3
"""From one place to the next: RTX 3090, 8B Q4_K_M, 115 tokens/s on one and 104 on six (XiongjieDai/GPU-Benchmarks)."""

CONVERSATION = 512
"""Tokens of a conversation that are read again for every further token, or half the context where that is less."""


class Load(msgspec.Struct, frozen=True):
    """Bytes and operations of some layers: weights that every token reads, all experts, a conversation, arithmetic."""

    dense: float
    experts: float
    cache: float
    operations: float
    layers: int

    def __sub__(self, other: "Load") -> "Load":
        return self.plus(other, -1)

    def plus(self, other: "Load", sign: int = 1) -> "Load":
        """The sum of two, or their difference with `sign` -1."""
        return Load(
            self.dense + sign * other.dense,
            self.experts + sign * other.experts,
            self.cache + sign * other.cache,
            self.operations + sign * other.operations,
            self.layers + sign * other.layers,
        )


class Place(msgspec.Struct, frozen=True):
    """What one device (or several that share its layers) does for one token, in seconds.

    `experts_s`: to read all experts. `cache_s`: to read a conversation of usual length.
    `exchange_s`: to exchange what one user computes. `begin_s`: however little there is to do. `upload_s`: to bring
    these weights to a GPU first; 0 where they stay.
    """

    rate: Rate
    dense_s: float
    experts_s: float
    cache_s: float
    arithmetic_s: float
    exchange_s: float
    begin_s: float
    upload_s: float = 0.0


class _Layers(msgspec.Struct, frozen=True):
    """What the load of some layers follows from, wherever they are.

    `read`: part of a full conversation that is read again for a token. `operations`: of one layer, and of the output.
    """

    weights: Weights
    kv_bytes: tuple[int, ...]
    read: float
    operations: float
    output_operations: float

    def load(self, start: int, end: int) -> Load:
        """Of items `start` to `end`: layers, then the output."""
        weights, share = self.weights, self.weights.expert_share
        held = weights.layout.layer_bytes[start:end]
        size, count, cache = sum(held), len(held), sum(self.kv_bytes[start:end]) * self.read
        dense, operations = size * (1 - share), self.operations * count
        if end - start > count and (output := weights.output_bytes):
            dense, operations = dense + output, operations + self.output_operations
        return Load(dense, size * share, cache, operations, count)

    def experts(self, start: int, end: int) -> Load:
        """The experts alone of layers `start` to `end`."""
        held, share, active = (
            self.weights.layout.layer_bytes[start:end],
            self.weights.expert_share,
            self.weights.active_layer_share,
        )
        used = max(active - (1 - share), 0.0) / active
        return Load(0.0, sum(held) * share, 0.0, self.operations * used * len(held), 0)


def _layers(sizing: Sizing, model: ModelSpec) -> _Layers:
    """Of a layer, a token needs two operations for each weight that it uses; the embedding is looked up."""
    table = model.architecture.vocabulary * model.architecture.embedding
    rest = max(model.parameters - table * (1 if sizing.weights.tied else 2), 0)
    return _Layers(
        sizing.weights,
        sizing.kv_bytes,
        read=min(CONVERSATION / sizing.settings.context, 0.5),
        operations=2.0 * rest * sizing.weights.active_layer_share / max(len(sizing.weights.layout.layer_bytes), 1),
        output_operations=2.0 * table,
    )


def places(candidate: Candidate, host: HostFacts, sizing: Sizing, model: ModelSpec) -> tuple[Place, ...] | str:
    """Every place of the first copy of the model, in the order of its layers; in words what is unknown of one."""
    ranks, copy = sizing.settings.tensor_parallel, len(candidate.devices) // sizing.settings.data_parallel
    layers, start, away = _layers(sizing, model), sizing.layers - sizing.offloaded, sizing.settings.cpu_moe_layers
    begin_s, sent, bytes_s = _exchange(candidate, model, ranks)
    found: list[Place] = []
    main = layers.load(0, start)
    for device, count in zip(candidate.devices[:copy:ranks], sizing.counts[:copy:ranks], strict=True):
        rate, held, end = gpu_rate(candidate, device), layers.load(start, start + count), start + count
        if rate is None:
            return f"memory bandwidth of {short_name(device.gpu)} unknown"
        if start < away:
            experts = layers.experts(start, min(end, away))
            held, main = held - experts, main.plus(experts)
        hop_s, exchange_s = HOP_S if found else 0.0, held.layers * sent / bytes_s
        found.append(_on_gpu(held, rate, ranks, begin_s=held.layers * begin_s + hop_s, exchange_s=exchange_s))
        start = end
    return (*found, _on_host(candidate, host, sizing, main)) if main.operations else tuple(found)


def _exchange(candidate: Candidate, model: ModelSpec, ranks: int) -> tuple[float, float, float]:
    """Of each layer on GPUs: seconds to begin, bytes that they exchange for one user, and bytes a second of that."""
    alone = LAYER_S[_memory(candidate), "gpu"]
    if ranks == 1:
        return alone, 0.0, EXCHANGE_BYTES_S
    linked = all(device.known is not None and device.known.linked for device in candidate.devices)
    begin, speed = (LINKED_EXCHANGE_S, LINKED_EXCHANGE_BYTES_S) if linked else (EXCHANGE_S, EXCHANGE_BYTES_S)
    sent = 2 * 2 * 2 * model.architecture.embedding * (ranks - 1) / ranks  # two sums, 16 bits, there and back
    return alone + begin, sent, speed


def _on_gpu(held: Load, rate: Rate, ranks: int, *, begin_s: float, exchange_s: float) -> Place:
    return Place(
        rate,
        held.dense / ranks / rate.bytes_per_s,
        held.experts / ranks / rate.bytes_per_s,
        held.cache / rate.bytes_per_s,
        held.operations / ranks / rate.operations_per_s,
        exchange_s,
        begin_s,
    )


def _on_host(candidate: Candidate, host: HostFacts, sizing: Sizing, held: Load) -> Place:
    rate = cpu_rate(host, sizing.settings.threads, paged=_memory(candidate) == "paged_kv")
    size = held.dense + held.experts
    return Place(
        rate,
        dense_s=held.dense / rate.bytes_per_s,
        experts_s=held.experts / rate.bytes_per_s,
        cache_s=held.cache / rate.bytes_per_s,
        arithmetic_s=held.operations / rate.operations_per_s,
        exchange_s=0.0,
        begin_s=held.layers * LAYER_S[_memory(candidate), "cpu"],
        upload_s=size / UPLOAD_BYTES_S if candidate.devices else 0.0,
    )


def _memory(candidate: Candidate) -> str:
    return "paged_kv" if candidate.engine.memory == "paged_kv" else "slots"
