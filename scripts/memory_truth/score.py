"""How near the estimate of deployer, and those of other programs, come to what was observed."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deployer.decide.llama import Buffers, LlamaSettings, buffers
from deployer.decide.memory import margin_mib
from deployer.types import Architecture, ModelSpec
from scripts.memory_truth.matrix import Setting
from scripts.memory_truth.observe import Case
from scripts.memory_truth.peers import PEERS

MIB = 1 << 20
PARTS = ("weights", "kv", "state", "compute", "output", "total")
SMALL_MIB = 1.0
"""A part that is smaller than this is not scored by itself: the log prints 0.01 MiB."""


@dataclass(frozen=True)
class Score:
    """One load: MiB by part, ours and observed (0: not known); what peers say; and our margin. `model`: its group."""

    id: str
    model: str
    ours: Mapping[str, float]
    observed: Mapping[str, float]
    peers: Mapping[str, float]
    margin: int

    def error(self, part: str) -> float | None:
        """Signed: above 0, the estimate is too high. None where there is next to nothing to estimate."""
        truth = self.observed[part]
        return None if truth < SMALL_MIB else self.ours[part] / truth - 1

    def peer_error(self, name: str) -> float | None:
        """Signed error of a peer's total."""
        truth = self.observed["total"]
        return None if truth < SMALL_MIB else self.peers[name] / truth - 1

    @property
    def false_fit(self) -> bool:
        """True where a host with exactly what we ask for would have too little."""
        return self.ours["total"] + self.margin < self.observed["total"]


def settings_of(setting: Setting, layers: int, build: int) -> LlamaSettings:
    """Settings for our arithmetic."""
    offloaded = min(setting.gpu_layers, layers + 1)
    return LlamaSettings(
        context_total=setting.context_total,
        slots=setting.slots,
        unified=setting.unified,
        micro_batch=setting.micro_batch,
        kv_type_k=setting.kv_type_k,
        kv_type_v=setting.kv_type_v,
        flash_attention=setting.flash_attention,
        swa_full=setting.swa_full,
        gpu_layers=(offloaded,) if offloaded else (),
        accelerator="cuda" if offloaded else "cpu",
        repack=setting.repack,
        build=build,
    )


def score(case: Case, spec: ModelSpec, build: int) -> Score:
    """Score one case. Raises ValueError when the spec has no exact weights."""
    layout = spec.variants[0].weights
    if layout is None:
        raise ValueError(f"{case.model}: no weights")
    settings = settings_of(case.setting, len(layout.layer_bytes), build)
    seen = case.observed
    observed = {
        "weights": sum(seen.weights_mib.values()),
        "kv": seen.kv_mib,
        "state": seen.rs_mib,
        "compute": sum(seen.compute_mib.values()),
        "output": seen.output_mib,
    }
    made = parts(buffers(spec.architecture, layout, settings))
    return Score(
        id=case.id,
        model=case.model,
        ours=made,
        observed={**observed, "total": sum(observed.values())},
        peers=of_peers(layout.total_bytes, spec.architecture, settings.context_total),
        margin=margin_mib(round(made["total"]), "exact"),
    )


def parts(made: Buffers) -> dict[str, float]:
    """MiB of all devices together, by part, and their total, without the overhead that no log shows."""
    devices = (made.host, *made.gpus)
    found = {part: sum(getattr(device, part) for device in devices) / MIB for part in PARTS[:-1]}
    return {**found, "total": sum(found.values())}


def of_peers(size: int, architecture: Architecture, context: int) -> dict[str, float]:
    """MiB that other programs expect."""
    return {name: formula(size, architecture, context) / MIB for name, formula in PEERS.items()}


@dataclass(frozen=True)
class Spread:
    """Signed errors of several cases: how many, median of their sizes, the lowest and the highest."""

    count: int
    median: float
    low: float
    high: float

    @property
    def worst(self) -> float:
        """Size of the largest."""
        return max(abs(self.low), abs(self.high))


def spread(errors: Iterable[float | None]) -> Spread | None:
    """None where nothing is scored."""
    found = [error for error in errors if error is not None]
    if not found:
        return None
    return Spread(len(found), statistics.median(abs(error) for error in found), min(found), max(found))


def by_model(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Scores of each model, in the order they come."""
    found: dict[str, list[Score]] = {}
    for item in scores:
        found.setdefault(item.model, []).append(item)
    return found
