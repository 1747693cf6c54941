"""Both stages together: every candidate is refused with a reason, or sized, scored and put in order."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from deployer.decide import rules, rules_image
from deployer.decide.candidates import Candidate, Device, usable_devices
from deployer.decide.copies import most_apart
from deployer.decide.corrected_sizing import formula_speed
from deployer.decide.device_sets import DeviceSet, asked_sets, device_sets, same_kind
from deployer.decide.host import by_name
from deployer.decide.refusal import crawl_sentence, disk_sentence, shortage_sentence
from deployer.decide.score import Option, Qualities, Scores, total
from deployer.decide.settings import Shortage
from deployer.decide.sizes import Sizes
from deployer.decide.source import ImageSource, image_source, replaced
from deployer.decide.tried import Tried
from deployer.decide.weights import Weights, weights_of
from deployer.types import (
    Advisory,
    EngineProfile,
    HostFacts,
    Knowledge,
    ModelSpec,
    ModelVariant,
    Observation,
    Rejection,
    Request,
    ScorePart,
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
    weights: Weights


class Considered(msgspec.Struct, frozen=True):
    """Everything that was tried: options best first, refusals, what only lacked memory, and GPUs left out."""

    ranked: tuple[Ranked, ...]
    rejected: tuple[Rejection, ...]
    near: tuple[NearMiss, ...]
    warnings: tuple[str, ...]
    devices: tuple[Device, ...] = ()


class _Question(msgspec.Struct, frozen=True):
    """What does not change while candidates are tried, and where refusals are noted (each once, in order)."""

    request: Request
    host: HostFacts
    model: ModelSpec
    verified: Sequence[VerifiedImage]
    unavailable: Mapping[str, str]
    advisories: Sequence[Advisory]
    devices: tuple[Device, ...]
    weights: tuple[Weights, ...]
    rejected: dict[Rejection, None]
    near: list[NearMiss]
    sizes: Sizes

    def refusal(self, group: tuple[rules.Rule, ...], candidate: Candidate) -> tuple[str, str] | None:
        return rules.first_refusal(group, candidate, self.host, self.model, self.request)

    def refused(self, group: tuple[rules.Rule, ...], candidate: Candidate) -> bool:
        """True when a rule of the group refuses; the refusal is noted."""
        refused = self.refusal(group, candidate)
        if refused is None:
            return False
        quantization = candidate.variant.quantization if group is rules.FORM_RULES else None
        self.reject(candidate.engine, candidate.image.id, quantization, refused)
        return True

    def safe(self, image: Candidate) -> Callable[[str], bool]:
        """Whether a version of the engine may be used as far as its vulnerabilities go."""

        def answer(version: str) -> bool:
            older = msgspec.structs.replace(image, stands_in=version)
            return rules_image.security(older, self.host, self.model, self.request) is None

        return answer

    def reject(self, engine: EngineProfile, image: str, quantization: str | None, refused: tuple[str, str]) -> None:
        rule, reason = refused
        found = Rejection(engine=engine.engine, image=image, quantization=quantization, rule=rule, reason=reason)
        self.rejected[found] = None


def consider(
    request: Request,
    host: HostFacts,
    model: ModelSpec,
    knowledge: Knowledge,
    *,
    verified: Sequence[VerifiedImage],
    unavailable: Mapping[str, str],
    observations: Sequence[Observation] = (),
) -> Considered:
    """Try every candidate. `host` is complete (see host.complete). Raises BadInputError for an impossible request."""
    devices, warnings = usable_devices(host, request, by_name(knowledge.gpus))
    known = {(item.name, item.format): item for item in knowledge.quantizations}
    weights = tuple(_weights(variant, model, known) for variant in model.variants)
    sizes = Sizes(request, host, model, observations)
    question = _Question(
        request, host, model, verified, unavailable, knowledge.advisories, devices, weights, {}, [], sizes
    )
    options = [option for engine in knowledge.engines for option in _try_engine(replaced(engine, request), question)]
    scores = Scores(known, request, wsl=bool(host.os.wsl))
    ranked = [Ranked(option, parts := scores.of(option), total(parts)) for option in options]
    ordered = sorted(ranked, key=lambda item: (-item.total, item.option.sizing.weights.layout.total_bytes))
    said = (*warnings, *rules_image.vulnerable_parts(host, knowledge.advisories))
    return Considered(tuple(ordered), tuple(question.rejected), tuple(question.near), said, devices)


def _weights(variant: ModelVariant, model: ModelSpec, known: Qualities) -> Weights:
    quantization = known.get((variant.quantization, variant.format))
    bits = quantization.bits_per_weight if quantization else _UNKNOWN_BITS
    return weights_of(variant, model.architecture, model.parameters, bits)


def _try_engine(engine: EngineProfile, question: _Question) -> Iterator[Option]:
    known = tuple(item for item in question.advisories if item.engine == engine.engine)
    usual = Candidate(engine, engine.images[0], question.model.variants[0], advisories=known)
    refused = question.refusal(rules.ENGINE_RULES, usual)
    if refused is not None:
        question.reject(engine, ANY_IMAGE, None, refused)
        return
    variants = []
    for variant, weights in zip(question.model.variants, question.weights, strict=True):
        refused = question.refusal(rules.VARIANT_RULES, msgspec.structs.replace(usual, variant=variant))
        if refused is None and (full := disk_sentence(variant, weights.layout.total_bytes, question.host)) is not None:
            refused = (rules.DISK_RULE, full)
        if refused is None:
            variants.append((variant, weights))
        else:
            question.reject(engine, ANY_IMAGE, variant.quantization, refused)
    for image in engine.images:
        placements = list(_try_image(msgspec.structs.replace(usual, image=image), question))
        tried = Tried(image, [placed for placed, _ in placements], question.request)
        for placed, source in placements:
            for variant, weights in variants:
                candidate = msgspec.structs.replace(placed, variant=variant)
                if not tried.pointless(candidate, weights):
                    yield from tried.noted(candidate, list(_try_candidate(candidate, source, weights, question)))


def _try_image(image: Candidate, question: _Question) -> Iterator[tuple[Candidate, ImageSource]]:
    """The image on each device set on which it can run, and where it comes from for each."""
    if question.refused(rules.IMAGE_RULES, image):
        return
    for chosen in _sets_for(image, question):
        candidate, devices = _placed(image, chosen), chosen.devices
        source = image_source(
            image.engine, image.image, devices, question.verified, question.unavailable, safe=question.safe(image)
        )
        if not isinstance(source, ImageSource):
            question.refused(rules.IMAGE_RULES, msgspec.structs.replace(candidate, unavailable=source))
            continue
        if source.warning is not None and source.entry is not None:
            candidate = msgspec.structs.replace(candidate, stands_in=source.entry.engine_version)
            if question.refused((*rules.IMAGE_RULES, *rules.SAFETY_RULES), candidate):
                continue
        yield candidate, source


def _sets_for(image: Candidate, question: _Question) -> Iterable[DeviceSet]:
    """Device sets that pass the rules; an odd GPU is refused by itself and left out of every set.

    So rules about devices are not asked again of sets: each refuses a set for one of its GPUs.
    """
    asked = question.request.gpus is not None
    whole = tuple(DeviceSet((device,)) for device in question.devices)
    if image.on_cpu:
        whole = (DeviceSet(()),)
    elif asked or not whole:
        whole = (DeviceSet(question.devices),)
    passed = _passing(image, whole, rules.DEVICE_RULES, question)
    usable = [device for one in passed for device in one.devices]
    on_usable = msgspec.structs.replace(image, devices=tuple(usable))
    if not passed or question.refused(rules.SAFETY_RULES, on_usable):
        return ()
    engine, architecture = image.engine, question.model.architecture
    most = {"users": question.request.users, "apart": most_apart(on_usable, question.request)}
    if asked or image.on_cpu:
        asked_for = [way for one in passed for way in asked_sets(one.devices, engine, architecture, **most)]
        return _passing(image, asked_for, rules.SET_RULES, question)
    sets = device_sets(usable, engine, architecture, **most)
    return _passing(image, sets, rules.SET_RULES, question)


def _passing(
    image: Candidate, sets: Iterable[DeviceSet], group: tuple[rules.Rule, ...], question: _Question
) -> list[DeviceSet]:
    return [one for one in sets if not question.refused(group, _placed(image, one))]


def _placed(image: Candidate, one: DeviceSet) -> Candidate:
    return msgspec.structs.replace(
        image, devices=one.devices, data_parallel=one.data_parallel, pipeline_parallel=one.pipeline_parallel
    )


def idle(candidate: Candidate, considered: Considered) -> list[Device]:
    """GPUs like the chosen ones that the plan leaves free."""
    used = {(device.gpu.index, device.gpu.uuid) for device in candidate.devices}
    free = (item for item in considered.devices if (item.gpu.index, item.gpu.uuid) not in used)
    return [item for item in free if used and same_kind(item.gpu, candidate.devices[0].gpu)]


def _try_candidate(
    candidate: Candidate, source: ImageSource, weights: Weights, question: _Question
) -> Iterator[Option]:
    """The options of a candidate that fits in memory: all layers on the GPUs, or a part of them."""
    if question.refused(rules.FORM_RULES, candidate):
        return
    sized = question.sizes.of(candidate, weights)
    if not isinstance(sized, Shortage):
        for sizing, expected in sized:
            if (crawl := crawl_sentence(candidate, formula_speed(expected))) is None:
                yield Option(candidate, sizing, expected, source)
            else:
                refused = (rules.SPEED_RULE, crawl)
                question.reject(candidate.engine, candidate.image.id, candidate.variant.quantization, refused)
        return
    reason = shortage_sentence(candidate, sized, question.request)
    question.near.append(NearMiss(candidate, sized, reason, weights))
    refused = (rules.MEMORY_RULE, reason)
    question.reject(candidate.engine, candidate.image.id, candidate.variant.quantization, refused)
