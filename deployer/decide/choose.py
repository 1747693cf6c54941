"""Both stages together: every candidate is refused with a reason, or sized, scored and put in order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from deployer.decide import rules, speed
from deployer.decide.candidates import Candidate, Device, describe, device_sets, usable_devices
from deployer.decide.host import by_name
from deployer.decide.score import Option, Qualities, score, total
from deployer.decide.settings import ESTIMATORS, Estimator, Shortage, Sizing
from deployer.decide.source import ImageSource, image_source, replaced
from deployer.decide.weights import Weights, weights_of
from deployer.errors import ProfileError
from deployer.types import (
    EngineProfile,
    HostFacts,
    ImageProfile,
    Knowledge,
    ModelSpec,
    ModelVariant,
    Rejection,
    Request,
    ScorePart,
    SpeedEstimate,
    VerifiedImage,
)

_UNKNOWN_BITS = 16.0

ANY_IMAGE = "*"
"""Stands in a rejection for every image of the engine."""


class Ranked(msgspec.Struct, frozen=True):
    """An option with its points."""

    option: Option
    parts: tuple[ScorePart, ...]
    total: float


class NearMiss(msgspec.Struct, frozen=True):
    """A candidate that only lacked memory."""

    candidate: Candidate
    shortage: Shortage
    reason: str


class Considered(msgspec.Struct, frozen=True):
    """Everything that was tried: options best first, refusals, what only lacked memory, and GPUs left out."""

    ranked: tuple[Ranked, ...]
    rejected: tuple[Rejection, ...]
    near: tuple[NearMiss, ...]
    warnings: tuple[str, ...]
    devices: tuple[Device, ...] = ()


_Same = tuple[str, str, tuple[tuple[int, str | None], ...], ModelVariant]
"""Estimator, accelerator, devices, variant: images that share them need the same memory and are as fast."""


class _Question(msgspec.Struct, frozen=True):
    """What does not change while candidates are tried, and where refusals are noted (each once, in order)."""

    request: Request
    host: HostFacts
    model: ModelSpec
    verified: Sequence[VerifiedImage]
    unavailable: Mapping[str, str]
    devices: tuple[Device, ...]
    weights: tuple[Weights, ...]
    rejected: dict[Rejection, None]
    near: list[NearMiss]
    sizes: dict[_Same, tuple[tuple[Sizing, SpeedEstimate], ...] | Shortage]

    def refusal(self, group: tuple[rules.Rule, ...], candidate: Candidate) -> tuple[str, str] | None:
        return rules.first_refusal(group, candidate, self.host, self.model, self.request)

    def reject(self, engine: EngineProfile, image: str, quantization: str | None, refused: tuple[str, str]) -> None:
        rule, reason = refused
        found = Rejection(engine=engine.engine, image=image, quantization=quantization, rule=rule, reason=reason)
        self.rejected[found] = None

    def sized(self, candidate: Candidate, weights: Weights) -> tuple[tuple[Sizing, SpeedEstimate], ...] | Shortage:
        devices = tuple((device.gpu.index, device.gpu.uuid) for device in candidate.devices)
        key = (candidate.engine.memory, candidate.image.accelerator, devices, candidate.variant)
        if key not in self.sizes:
            found = _estimator(candidate.engine)(candidate, self.host, self.model, self.request, weights)
            self.sizes[key] = (
                found
                if isinstance(found, Shortage)
                else tuple((item, speed.estimate(candidate, self.host, item)) for item in found)
            )
        return self.sizes[key]


def consider(
    request: Request,
    host: HostFacts,
    model: ModelSpec,
    knowledge: Knowledge,
    *,
    verified: Sequence[VerifiedImage],
    unavailable: Mapping[str, str],
) -> Considered:
    """Try every candidate. `host` is complete (see host.complete). Raises BadInputError for an impossible request."""
    devices, warnings = usable_devices(host, request, by_name(knowledge.gpus))
    known = {(item.name, item.format): item for item in knowledge.quantizations}
    weights = tuple(_weights(variant, model, known) for variant in model.variants)
    question = _Question(request, host, model, verified, unavailable, devices, weights, {}, [], {})
    options = [option for engine in knowledge.engines for option in _try_engine(replaced(engine, request), question)]
    ranked = [Ranked(option, parts := score(option, known), total(parts)) for option in options]
    ordered = sorted(ranked, key=lambda item: -item.total)
    return Considered(tuple(ordered), tuple(question.rejected), tuple(question.near), warnings, devices)


def _estimator(engine: EngineProfile) -> Estimator:
    if engine.memory not in ESTIMATORS:
        raise ProfileError(
            f"{engine.engine}.yaml: memory: no estimator is called {engine.memory!r}",
            hint=f"one of: {', '.join(ESTIMATORS)}",
        )
    return ESTIMATORS[engine.memory]


def _weights(variant: ModelVariant, model: ModelSpec, known: Qualities) -> Weights:
    quantization = known.get((variant.quantization, variant.format))
    bits = quantization.bits_per_weight if quantization else _UNKNOWN_BITS
    return weights_of(variant, model.architecture, model.parameters, bits)


def _try_engine(engine: EngineProfile, question: _Question) -> Iterator[Option]:
    usual = Candidate(engine, engine.images[0], question.model.variants[0])
    refused = question.refusal(rules.ENGINE_RULES, usual)
    if refused is not None:
        question.reject(engine, ANY_IMAGE, None, refused)
        return
    variants = []
    for variant, weights in zip(question.model.variants, question.weights, strict=True):
        refused = question.refusal(rules.VARIANT_RULES, msgspec.structs.replace(usual, variant=variant))
        if refused is None:
            variants.append((variant, weights))
        else:
            question.reject(engine, ANY_IMAGE, variant.quantization, refused)
    for image in engine.images:
        for devices, source in _try_image(engine, image, question):
            for variant, weights in variants:
                yield from _try_candidate(Candidate(engine, image, variant, devices), source, weights, question)


def _try_image(
    engine: EngineProfile, image: ImageProfile, question: _Question
) -> Iterator[tuple[tuple[Device, ...], ImageSource]]:
    """Device sets on which this image can run, and where it comes from for each."""
    variant = question.model.variants[0]
    refused = question.refusal(rules.IMAGE_RULES, Candidate(engine, image, variant))
    if refused is not None:
        question.reject(engine, image.id, None, refused)
        return
    for devices in _sets_for(engine, image, question):
        source = image_source(engine, image, devices, question.verified, question.unavailable)
        if isinstance(source, ImageSource):
            yield devices, source
        else:
            candidate = Candidate(engine, image, variant, devices, unavailable=source)
            refused = question.refusal(rules.IMAGE_RULES, candidate)
            assert refused is not None  # noqa: S101 - `unavailable` is set, and its rule is in the group
            question.reject(engine, image.id, None, refused)


def _sets_for(engine: EngineProfile, image: ImageProfile, question: _Question) -> Iterable[tuple[Device, ...]]:
    """Device sets that pass the device rules; an odd GPU is refused by itself and left out of every set."""
    asked = question.request.gpus is not None
    whole: tuple[tuple[Device, ...], ...] = tuple((device,) for device in question.devices)
    if image.accelerator == "cpu":
        whole = ((),)
    elif asked or not whole:
        whole = (question.devices,)
    passed = _passing(engine, image, whole, question)
    if image.accelerator == "cpu" or asked:
        return passed
    sets = device_sets([device for devices in passed for device in devices])
    return _passing(engine, image, sets, question)


def _passing(
    engine: EngineProfile,
    image: ImageProfile,
    sets: Iterable[tuple[Device, ...]],
    question: _Question,
) -> list[tuple[Device, ...]]:
    passed = []
    for devices in sets:
        candidate = Candidate(engine, image, question.model.variants[0], devices)
        refused = question.refusal(rules.DEVICE_RULES, candidate)
        if refused is None:
            passed.append(devices)
        else:
            question.reject(engine, image.id, None, refused)
    return passed


def _try_candidate(
    candidate: Candidate, source: ImageSource, weights: Weights, question: _Question
) -> Iterator[Option]:
    """The options of a candidate that fits in memory: all layers on the GPUs, or a part of them."""
    sized = question.sized(candidate, weights)
    if not isinstance(sized, Shortage):
        yield from (Option(candidate, sizing, expected, source) for sizing, expected in sized)
        return
    reason = shortage_sentence(candidate, sized, question.request)
    question.near.append(NearMiss(candidate, sized, reason))
    refused = (rules.MEMORY_RULE, reason)
    question.reject(candidate.engine, candidate.image.id, candidate.variant.quantization, refused)


def shortage_sentence(candidate: Candidate, shortage: Shortage, request: Request) -> str:
    """What is missing where, in MiB, for the smallest offer, and the way out."""
    device, offer = shortage.device, shortage.offer
    where = "main memory" if device.device == "host" else describe(candidate.devices)
    kept = "" if request.context is None else f"--context below {request.context}, "
    return (
        f"{candidate.variant.quantization} for {offer.slots} x {offer.context} tokens needs {device.total_mib} MiB and "
        f"{device.margin_mib} MiB of margin in {where} (weights {device.weights_mib}, KV cache {device.kv_cache_mib}, "
        f"compute {device.compute_mib}, overhead {device.overhead_mib}); {device.available_mib} MiB are free; "
        f"{shortage.missing_mib} MiB are missing: {kept}a smaller quantization or model, or free memory"
        f"{_holders(candidate)}"
    )


def _holders(candidate: Candidate) -> str:
    """Who holds GPU memory, for the way out."""
    held = [
        f"{process.name or 'process'} {process.pid}: {process.memory_mib} MiB"
        for device in candidate.devices
        for process in device.gpu.processes or ()
        if process.memory_mib
    ]
    return f" ({', '.join(held[:3])})" if held else ""
