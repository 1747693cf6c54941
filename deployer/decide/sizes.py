"""Sizes and speeds of candidates, each asked for once: images that need the same share one answer."""

from collections.abc import Sequence

from deployer.decide.candidates import Candidate, Device
from deployer.decide.corrected_sizing import NOTHING_LEARNED, Learned, estimate_speed, learned_of, size
from deployer.decide.correction import Subject
from deployer.decide.device_sets import splits
from deployer.decide.estimate_llama import leaves_experts, leaves_layers
from deployer.decide.estimators import estimator
from deployer.decide.settings import Shortage, Sizing
from deployer.decide.weights import Weights
from deployer.types import EngineProfile, HostFacts, ModelSpec, ModelVariant, Observation, Request, SpeedEstimate

Answer = tuple[tuple[Sizing, SpeedEstimate], ...] | Shortage

_Family = tuple[str, tuple[str, ...], bool]
_Same = tuple[_Family, str, tuple[Device, ...], tuple[int, int], Subject | None, ModelVariant]
"""Family, accelerator, devices, copies and stages, what was measured, variant: images that share them need the same
and are as fast."""


class Sizes:
    """What candidates need and give for one request on one host, corrected by what was measured there."""

    def __init__(
        self, request: Request, host: HostFacts, model: ModelSpec, observations: Sequence[Observation] = ()
    ) -> None:
        self._request, self._host, self._model = request, host, model
        self._seen: dict[tuple[str, str], list[Observation]] = {}
        for item in observations:
            self._seen.setdefault((item.engine, item.accelerator), []).append(item)
        self._families: dict[str, _Family] = {}
        self._answers: dict[_Same, Answer] = {}
        self._lessons: dict[tuple[str, str, int, ModelVariant], Learned] = {}

    def of(self, candidate: Candidate, weights: Weights) -> Answer:
        """What fits, the best first, each with its speed; or what is missing."""
        engine, lesson = candidate.engine, self.lesson(candidate)
        if engine.engine not in self._families:
            self._families[engine.engine] = _family(engine)
        shape = candidate.data_parallel, candidate.pipeline_parallel
        ways = self._families[engine.engine], candidate.image.accelerator
        key = (*ways, candidate.devices, shape, lesson.subject, candidate.variant)
        if key not in self._answers:
            self._answers[key] = self._asked(candidate, weights, lesson)
        return self._answers[key]

    def _asked(self, candidate: Candidate, weights: Weights, lesson: Learned) -> Answer:
        about = (candidate, self._host, self._model, self._request)
        found = size(estimator(candidate.engine), *about, weights=weights, learned=lesson.memory)
        if isinstance(found, Shortage):
            return found
        return tuple((item, estimate_speed(candidate, self._host, item, self._model, lesson)) for item in found)

    def lesson(self, candidate: Candidate) -> Learned:
        """What measurements on this host teach about a candidate."""
        name = candidate.engine.engine
        seen = self._seen.get((name, candidate.image.accelerator))
        if seen is None:
            return NOTHING_LEARNED
        key = (name, candidate.image.id, candidate.data_parallel, candidate.variant)
        if key not in self._lessons:
            self._lessons[key] = learned_of(candidate, self._model, seen)
        return self._lessons[key]


def _family(engine: EngineProfile) -> _Family:
    """Engines of the same family are sized alike; those with a pool differ in what their fraction means."""
    own = engine.engine
    if engine.memory == "llama.cpp":
        own = f"llama.cpp, {engine.batch}, {engine.gpu_reserve_mib}{', experts' if leaves_experts(engine) else ''}"
    return own, splits(engine), leaves_layers(engine)
