"""Every engine and image against a host: can it run, can it not, why, and what would change it."""

from collections.abc import Iterator, Sequence

import msgspec

from deployer.decide import rules
from deployer.decide.candidates import Candidate, Device, describe, usable_devices
from deployer.decide.capability import code_for
from deployer.decide.front import has_gateway
from deployer.decide.host import by_name, complete, short_name
from deployer.types import (
    Architecture,
    EngineProfile,
    EngineVerdict,
    HostFacts,
    ImageProfile,
    Knowledge,
    ModelSpec,
    ModelVariant,
    Request,
)

_VARIANT = ModelVariant(format="gguf", quantization="", source="", files=())
_NO_MODEL = ModelSpec(
    name="",
    title="",
    architecture=Architecture(
        name="", layers=0, embedding=0, feed_forward=0, heads=0, kv_heads=0, head_dim=0, vocabulary=0, context_max=0
    ),
    parameters=0,
    variants=(_VARIANT,),
)
"""Stands for any model, where none was named: the rules about hardware do not look at it."""


def report_engines(host: HostFacts, knowledge: Knowledge, model: ModelSpec | None = None) -> tuple[EngineVerdict, ...]:
    """A verdict for every image of every engine, in the order of the profiles.

    With a model, what the engine can read counts too. Without a container engine the local programs count as asked for.
    """
    known, _ = complete(host, knowledge.gpus)
    request = Request(model="" if model is None else model.name)
    devices, _ = usable_devices(known, request, by_name(knowledge.gpus))
    return tuple(
        _verdict(candidate, devices, known, model, request)
        for engine in knowledge.engines
        for candidate in _images(engine, knowledge)
    )


def _images(engine: EngineProfile, knowledge: Knowledge) -> Iterator[Candidate]:
    held = tuple(item for item in knowledge.advisories if item.engine == engine.engine)
    for image in engine.images:
        yield Candidate(engine, image, _VARIANT, advisories=held)


def _verdict(
    candidate: Candidate, devices: Sequence[Device], host: HostFacts, model: ModelSpec | None, request: Request
) -> EngineVerdict:
    engine, image = candidate.engine, candidate.image
    asked = msgspec.structs.replace(
        request, engine=engine.engine, runtime="process" if image.program is not None else None
    )
    spec = _NO_MODEL if model is None else model
    refused = _model_refusal(candidate, host, model, asked)
    refused = refused or rules.first_refusal(rules.IMAGE_RULES, candidate, host, spec, asked)
    alone: list[tuple[Device, ...]] = [(device,) for device in devices]
    tried = [()] if candidate.on_cpu else alone or [()]
    runs: list[Device] = []
    for chosen in tried if refused is None else ():
        placed = msgspec.structs.replace(candidate, devices=chosen)
        found = rules.first_refusal(rules.DEVICE_RULES, placed, host, spec, asked)
        if found is None:
            runs.extend(chosen)
        refused = refused or found
    if runs or (candidate.on_cpu and refused is None):
        able = msgspec.structs.replace(candidate, devices=tuple(runs))
        unsafe = rules.first_refusal(rules.SAFETY_RULES, able, host, spec, asked)
        if unsafe is not None:
            return _made(candidate, "no", "", *_split(*unsafe))
        return _can(able, host)
    reason, way_out = _split(*refused) if refused is not None else ("it could not be tried", "")
    return _made(candidate, "no", "", reason, way_out)


def _split(rule: str, sentence: str) -> tuple[str, str]:
    """Reason and way out: every sentence ends with the way out, but for those to which there is only another image."""
    if rule in ("vendor", "cpu-architecture"):
        return sentence, "use another image, or another engine"
    if rule == "runtime":
        reason, _, way_out = sentence.partition("; ")
    else:
        reason, _, way_out = sentence.rpartition("; ")
    return (reason, way_out) if reason else (sentence, "")


def _model_refusal(
    candidate: Candidate, host: HostFacts, model: ModelSpec | None, request: Request
) -> tuple[str, str] | None:
    """Why the engine cannot serve this model in any form; None without a model."""
    if model is None:
        return None
    refused = rules.first_refusal(rules.ENGINE_RULES, candidate, host, model, request)
    if refused is not None:
        return refused
    found = [
        rules.first_refusal(rules.VARIANT_RULES, msgspec.structs.replace(candidate, variant=item), host, model, request)
        for item in model.variants
    ]
    return found[0] if found and None not in found else None


def _can(candidate: Candidate, host: HostFacts) -> EngineVerdict:
    said = list(_warnings(candidate, host))
    devices = describe(candidate.devices)
    if said:
        return _made(candidate, "warning", devices, "; ".join(said), "")
    return _made(candidate, "yes", devices, _why(candidate.image, candidate.devices), "")


def _warnings(candidate: Candidate, host: HostFacts) -> Iterator[str]:
    engine, image = candidate.engine, candidate.image
    if engine.status == "legacy":
        yield f"no longer developed, so only with --engine {engine.engine}"
    if engine.key == "none" and not has_gateway(candidate):
        yield "has no API key, so for this machine only"
    ptx = [device for device in candidate.devices if _only_ptx(image, device)]
    if ptx:
        yield f"{short_name(ptx[0].gpu)} has PTX only: the first start compiles for minutes"
    lacking = [flag for flag in image.cpu_flags_recommended if host.cpu.flags and flag not in host.cpu.flags]
    if lacking and candidate.on_cpu:
        yield f"the processor has no {', '.join(lacking)}: slow, or without some features"
    if image.dockerfile is not None:
        yield "has to be built here first"


def _only_ptx(image: ImageProfile, device: Device) -> bool:
    known = image.accelerator == "cuda" and device.gpu.compute_capability is not None
    return known and code_for(image, device.gpu) == "ptx"


def _why(image: ImageProfile, devices: Sequence[Device]) -> str:
    if not devices:
        return "chooses the code for this processor when it starts" if not image.cpu_flags else "the processor suffices"
    return f"has code for {describe(devices)}"


def _made(candidate: Candidate, status: str, devices: str, reason: str, way_out: str) -> EngineVerdict:
    return msgspec.convert(
        {
            "engine": candidate.engine.engine,
            "image": candidate.image.id,
            "version": candidate.image.version,
            "status": status,
            "devices": devices,
            "reason": reason,
            "way_out": way_out,
        },
        EngineVerdict,
    )
