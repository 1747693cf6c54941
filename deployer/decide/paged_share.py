"""What part of a GPU an engine is given, and how much of it is left for its pool of KV pages.

Each engine means something else by its fraction; the plan sets it from the memory that is free, not from the whole.

* vLLM 0.32: everything it takes, of the total. `requested = ceil(total * fraction)`, refused where less is free
  (v1/worker/utils.py); pool = requested - weights - activations - CUDA graphs - what PyTorch does not count.
* SGLang 0.5.23: weights and pool, of what is free when it begins to load ("Load weight begin. avail mem"): pool =
  available after loading - available before * (1 - fraction).
* TensorRT-LLM 1.2: the pool, of what weights and activations leave (`--kv_cache_free_gpu_memory_fraction`).
* TGI 3.3: everything it takes, of the total, less a tenth (`TGI_WIGGLE_ROOM` 0.90).
"""

import math
from collections.abc import Sequence

import msgspec

from deployer.decide.candidates import Device
from deployer.decide.memory import margin_mib
from deployer.decide.paged_work import Work
from deployer.decide.weights import Basis

MOST, STEP = 0.92, 0.02
"""No engine is given more of a card than this (vLLM's default since 0.20); below it in whole steps, so that a few MiB
change no plan."""

OWN_MOST, OWN_STEP = {"sglang": 0.95, "tensorrt-llm": 0.9}, 0.01
"""The most for engines whose fraction means something else."""

WIGGLE = 0.9
"""TGI takes this part of what its fraction says."""

UNSEEN = 0.02
"""Part of a card's memory that the driver keeps from CUDA where the host's facts do not say: 0.6 % of an H100, 1.3 % of
an RTX 3090, 2.9 % of a T4 between `nvidia-smi` and PyTorch's total."""


class Card(msgspec.Struct, frozen=True):
    """One GPU and what its rank needs of it, in MiB."""

    total_mib: int
    free_mib: int
    reserved_mib: int
    margin_mib: int
    weights_mib: int
    work: Work

    @property
    def usable_mib(self) -> int:
        """The total as the engine sees it."""
        return self.total_mib - self.reserved_mib

    @property
    def beside_mib(self) -> int:
        """All but the pool."""
        return self.weights_mib + self.work.compute_mib + self.work.overhead_mib


class Share(msgspec.Struct, frozen=True):
    """The engine's fraction, and the MiB of each GPU that are left for the pool; negative where it is too small."""

    fraction: float
    pools: tuple[int, ...]


def card(device: Device, weights_mib: int, work: Work, basis: Basis, beside_mib: int = 0) -> Card | None:
    """What is known of one GPU; None where its total or free memory is not. `beside_mib`: what others need of it."""
    total, free = device.gpu.memory_total_mib, device.gpu.memory_free_mib
    if free is None or not total:
        return None
    reserved = device.gpu.memory_reserved_mib
    unseen = math.ceil(total * UNSEEN) if reserved is None else reserved
    left = max(free - beside_mib, 0)
    return Card(total, left, 0 if device.gpu.unified_memory else unseen, margin_mib(free, basis), weights_mib, work)


def share(engine: str, cards: Sequence[Card]) -> Share:
    """The largest fraction that every card can give, and the pool that it leaves on each."""
    match engine:
        case "sglang":
            return _of_free(cards)
        case "tensorrt-llm":
            return _of_left(cards)
        case "tgi":
            fraction = _floor(min(_everything(item) / WIGGLE for item in cards), STEP, 1.0)
            return Share(fraction, tuple(int(item.usable_mib * fraction * WIGGLE) - item.beside_mib for item in cards))
        case _:
            fraction = _floor(min(_everything(item) for item in cards), STEP, MOST)
            return Share(fraction, tuple(int(item.usable_mib * fraction) - item.beside_mib for item in cards))


def _everything(item: Card) -> float:
    """Part of the total that may be taken, counted of the whole card, so that it is never more than is free."""
    return (item.free_mib - item.margin_mib) / item.total_mib


def _of_free(cards: Sequence[Card]) -> Share:
    """SGLang: the fraction is of the memory at the start of loading, on the fullest card; work comes beside it."""
    starts = [max(item.free_mib - item.work.beside_mib, 1) for item in cards]
    parts = [
        (start - max(item.work.compute_mib + item.work.graphs_mib, item.work.floor_mib) - item.margin_mib) / start
        for start, item in zip(starts, cards, strict=True)
    ]
    fraction = _floor(min(parts), OWN_STEP, OWN_MOST["sglang"])
    return Share(fraction, tuple(int(min(starts) * fraction) - item.weights_mib for item in cards))


def _of_left(cards: Sequence[Card]) -> Share:
    """TensorRT-LLM: the fraction is of what is left once the model is loaded and has worked; graphs come after it."""
    left = [max(item.free_mib - item.beside_mib + item.work.graphs_mib, 1) for item in cards]
    parts = [(room - item.work.graphs_mib - item.margin_mib) / room for room, item in zip(left, cards, strict=True)]
    fraction = _floor(min(parts), OWN_STEP, OWN_MOST["tensorrt-llm"])
    return Share(fraction, tuple(int(room * fraction) for room in left))


def _floor(part: float, step: float, most: float) -> float:
    """In whole steps, between 0 and `most`."""
    return round(min(math.floor(max(part, 0) / step + 1e-9) * step, most), 2)
