"""Sizes and speeds of candidates, each asked for once: images that need the same share one answer."""

from collections.abc import Sequence

from deployer.decide.candidates import Candidate
from deployer.decide.corrected_sizing import NOTHING_LEARNED, Learned, estimate_speed, learned_of, size
from deployer.decide.correction import Subject
from deployer.decide.device_sets import splits
from deployer.decide.estimate_llama import leaves_experts, leaves_layers
from deployer.decide.estimators import estimator
from deployer.decide.settings import Shortage, Sizing
from deployer.decide.weights import Weights
from deployer.types import EngineProfile, HostFacts, ModelSpec, ModelVariant, Observation, Request, SpeedEstimate

Answer = tuple[tuple[Sizing, SpeedEstimate], ...] | Shortage

_Devices = tuple[tuple[int, str | None], ...]
_Same = tuple[str, tuple[str, ...], bool, str, _Devices, tuple[int, int], Subject | None, ModelVariant]
"""Estimator, splits, offload, accelerator, devices, copies and stages, what was measured, variant: images that share
them need the same and are as fast."""


class Sizes:
    """What candidates need and give for one request on one host, corrected by what was measured there."""

    def __init__(
        self, request: Request, host: HostFacts, model: ModelSpec, observations: Sequence[Observation] = ()
    ) -> None:
        self._request, self._host, self._model = request, host, model
        self._seen: dict[tuple[str, str], list[Observation]] = {}
        for item in observations:
            self._seen.setdefault((item.engine, item.accelerator), []).append(item)
        self._answers: dict[_Same, Answer] = {}
        self._lessons: dict[tuple[str, str, ModelVariant], Learned] = {}

    def of(self, candidate: Candidate, weights: Weights) -> Answer:
        """What fits, the best first, each with its speed; or what is missing."""
        devices = tuple((device.gpu.index, device.gpu.uuid) for device in candidate.devices)
        engine, accelerator, lesson = candidate.engine, candidate.image.accelerator, self.lesson(candidate)
        offloads, shape = leaves_layers(engine), (candidate.data_parallel, candidate.pipeline_parallel)
        ways = (_family(engine), splits(engine), offloads, accelerator)
        key = (*ways, devices, shape, lesson.subject, candidate.variant)
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
        key = (name, candidate.image.id, candidate.variant)
        if key not in self._lessons:
            self._lessons[key] = learned_of(candidate, self._model, seen)
        return self._lessons[key]


def _family(engine: EngineProfile) -> str:
    """Engines of the same family are sized alike; those with a pool differ in what their fraction means."""
    if engine.memory != "llama.cpp":
        return engine.engine
    own = f"llama.cpp, {engine.batch}, {engine.gpu_reserve_mib}"
    return f"{own}, experts" if leaves_experts(engine) else own
