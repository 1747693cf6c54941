"""Stage two: what is left is compared by a sum of named parts, each with its reason."""

import math
from collections.abc import Mapping

import msgspec

from deployer.decide.candidates import Candidate, describe
from deployer.decide.capability import code_for
from deployer.decide.settings import Sizing
from deployer.decide.source import ImageSource
from deployer.decide.speed import per_user
from deployer.types import ModelFormat, Quantization, ScorePart, SpeedEstimate

COMFORTABLE = 15.0
"""Tokens a second that a reader does not wait for. Half of it costs 12 points, twice as many give one."""

_QUALITY_POINTS, _SPEED_POINTS, _SLOWER_POINTS, _FASTER_POINTS = -200.0, 30.0, 12.0, 1.0
_GPU_POINTS, _NATIVE_POINTS, _PREBUILT_POINTS, _VERIFIED_POINTS = 20.0, 10.0, 6.0, 15.0
_CONTAINER_POINTS, _PRESENT_POINTS, _SASS_POINTS = 4.0, 10.0, 1.0
_SAME_MODEL_POINTS = 10.0
_STEP_POINTS, _EXTRA_GPU_POINTS = -3.0, -1.0
_CRAWLING, _DOUBLINGS = 0.01, 3.0
_UNKNOWN_SPEED, _UNKNOWN_QUALITY = 15.0, -16.0
_ENOUGH: tuple[str, ModelFormat] = ("Q8_0", "gguf")
"""More bits than these cannot be told from it; they only cost speed."""


Qualities = Mapping[tuple[str, ModelFormat], Quantization]
"""What is known of each quantization, by name and format."""


class Option(msgspec.Struct, frozen=True):
    """A candidate that can run, with all that the choice looks at."""

    candidate: Candidate
    sizing: Sizing
    speed: SpeedEstimate
    source: ImageSource


def score(option: Option, quantizations: Qualities) -> tuple[ScorePart, ...]:
    """Points of one option, part by part, in a fixed order; parts worth nothing are there too."""
    return (
        _quality(option, quantizations),
        _speed(option),
        _placement(option),
        _accelerator(option),
        _verified(option),
        _image(option),
        _container(option),
        _present(option),
        _compiled(option),
        _given_up(option),
        _devices(option),
    )


def total(parts: tuple[ScorePart, ...]) -> float:
    """Sum of the parts, rounded so that equal options compare equal."""
    return round(math.fsum(part.value for part in parts), 3)


def _quality(option: Option, quantizations: Qualities) -> ScorePart:
    variant = option.candidate.variant
    known, enough = quantizations.get((variant.quantization, variant.format)), quantizations.get(_ENOUGH)
    if known is None:
        return _part("quality", _UNKNOWN_QUALITY, f"{variant.quantization}: quality unknown")
    lost = 1 - max(known.quality, 0.0)
    counted = max(lost, 1 - enough.quality) if enough else lost
    return _part(
        "quality",
        round(_QUALITY_POINTS * counted, 3),
        f"{variant.quantization} keeps {known.quality:.2%} of the quality",
    )


def _speed(option: Option) -> ScorePart:
    slots = option.sizing.offer.slots
    each = per_user(option.speed, slots)
    if each is None:
        return _part("speed", _UNKNOWN_SPEED, option.speed.basis)
    doublings = math.log2(max(each, _CRAWLING) / COMFORTABLE)
    points = _SPEED_POINTS + (_SLOWER_POINTS if doublings < 0 else _FASTER_POINTS) * min(doublings, _DOUBLINGS)
    busy = f" each with {slots} users busy" if slots > 1 else ""
    return _part("speed", round(points, 3), f"about {each:.0f} tokens/s{busy}; {COMFORTABLE:.0f} are comfortable")


def _placement(option: Option) -> ScorePart:
    layers = len(option.sizing.load.weights.layout.layer_bytes) + 1
    offloaded = option.sizing.placement.offloaded
    if not offloaded:
        return _part("gpu", 0.0, "runs on the CPU")
    if offloaded == layers:
        return _part("gpu", _GPU_POINTS, f"fits entirely on {describe(option.candidate.devices)}")
    return _part(
        "gpu", round(_GPU_POINTS / 2 * offloaded / layers, 3), f"{offloaded} of {layers} layers fit on the GPU"
    )


def _accelerator(option: Option) -> ScorePart:
    accelerator = option.candidate.image.accelerator
    if accelerator in ("cuda", "rocm", "sycl"):
        return _part("accelerator", _NATIVE_POINTS, f"{accelerator} is the GPU maker's own")
    return _part("accelerator", 0.0, f"{accelerator}")


def _verified(option: Option) -> ScorePart:
    entry = option.source.entry
    if entry is None:
        return _part("verified", 0.0, "not yet verified on this host")
    variant = option.candidate.variant
    if (variant.source, variant.quantization) in option.source.served:
        return _part("verified", _VERIFIED_POINTS + _SAME_MODEL_POINTS, "served this very model healthily on this host")
    return _part(
        "verified", _VERIFIED_POINTS, f"served {entry.model} healthily on this host on {entry.verified_at[:10]}"
    )


def _image(option: Option) -> ScorePart:
    if option.candidate.image.dockerfile is None:
        return _part("prebuilt", _PREBUILT_POINTS, "nothing to compile")
    if option.source.kind == "verified":
        return _part("prebuilt", _PREBUILT_POINTS, "built before")
    return _part("prebuilt", 0.0, "has to be built here first")


def _container(option: Option) -> ScorePart:
    if option.candidate.runtime == "compose":
        return _part("container", _CONTAINER_POINTS, "locked down in a container")
    return _part("container", 0.0, "runs as a plain process")


def _present(option: Option) -> ScorePart:
    if option.candidate.variant.present:
        return _part("present", _PRESENT_POINTS, "the model is on this machine")
    return _part("present", 0.0, "the model has to be downloaded")


def _compiled(option: Option) -> ScorePart:
    image = option.candidate.image
    known = [device.gpu for device in option.candidate.devices if device.gpu.compute_capability is not None]
    if image.accelerator != "cuda" or not known:
        return _part("compiled", 0.0, "no CUDA code")
    if all(code_for(image, gpu) == "sass" for gpu in known):
        return _part("compiled", _SASS_POINTS, "machine code for the GPU is in the image")
    return _part("compiled", 0.0, "the driver compiles PTX at the first start")


def _given_up(option: Option) -> ScorePart:
    offer = option.sizing.offer
    why = "; ".join(offer.given_up) or "nothing given up"
    return _part("given-up", _STEP_POINTS * offer.steps_down + 0.0, why)


def _devices(option: Option) -> ScorePart:
    extra = max(len(option.candidate.devices) - 1, 0)
    return _part(
        "devices",
        _EXTRA_GPU_POINTS * extra + 0.0,
        f"{extra} GPUs more than one" if extra else "no GPU more than needed",
    )


def _part(part: str, value: float, why: str) -> ScorePart:
    return ScorePart(part=part, value=value, why=why)
