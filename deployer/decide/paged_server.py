"""One engine with paged KV caches on its devices: which layers and weights each of them has."""

import math

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.memory import MIB
from deployer.decide.paged_weights import expert_tile, rank_bytes, stage_layers
from deployer.decide.settings import Offer
from deployer.decide.weights import Weights
from deployer.types import Architecture


class Server(msgspec.Struct, frozen=True):
    """One engine on its devices. By pipeline stage: layers (from, to), and MiB of weights on each rank.

    `stages` are those of the devices: copy by copy, and in each stage by stage.
    """

    candidate: Candidate
    architecture: Architecture
    weights: Weights
    ranges: tuple[tuple[int, int], ...]
    weights_mib: tuple[int, ...]
    stages: tuple[int, ...]

    @property
    def engine(self) -> str:
        """The engine's name, by which its rules differ."""
        return self.candidate.engine.engine

    def slots(self, offer: Offer) -> int:
        """Slots of one copy of the model."""
        return math.ceil(offer.slots / self.candidate.data_parallel)


def make_server(candidate: Candidate, architecture: Architecture, weights: Weights) -> Server:
    """Divide layers and weights by stage and rank."""
    stages, ranks = candidate.pipeline_parallel, candidate.tensor_parallel
    counts = stage_layers(architecture.layers, stages)
    ranges = tuple((sum(counts[:stage]), sum(counts[: stage + 1])) for stage in range(stages))
    tile = expert_tile(candidate)
    sizes = (
        rank_bytes(architecture, weights, ranks=ranks, stages=stages, stage=stage, tile=tile) for stage in range(stages)
    )
    return Server(
        *(candidate, architecture, weights, ranges),
        weights_mib=tuple(math.ceil(item / MIB) for item in sizes),
        stages=tuple(place // ranks % stages for place in range(len(candidate.devices))),
    )
