"""Stage two: what is left is compared by a sum of named parts, each with its reason."""

import math
from collections.abc import Mapping

import msgspec

from deployer.decide.candidates import Candidate, Device, describe
from deployer.decide.capability import code_for
from deployer.decide.front import has_gateway
from deployer.decide.host import short_name
from deployer.decide.rules_quantization import widened, without_tensor_cores
from deployer.decide.score_speed import first_token_part, speed_part
from deployer.decide.settings import Sizing, waiting, waiting_cost
from deployer.decide.source import ImageSource
from deployer.types import DeviceMemory, ModelFormat, ModelVariant, Quantization, Request, ScorePart, SpeedEstimate

MANY_USERS = 8
"""From so many people at once on, a server that batches them well pays."""

_QUALITY_POINTS = -200.0
_GPU_POINTS, _NATIVE_POINTS, _PREBUILT_POINTS, _VERIFIED_POINTS = 20.0, 10.0, 6.0, 15.0
_CONTAINER_POINTS, _PRESENT_POINTS, _SASS_POINTS = 4.0, 10.0, 1.0
_NO_KEY_POINTS, _WIDENED_POINTS, _OLD_CODE_POINTS = -6.0, -10.0, -8.0
_WEIGHT_ONLY_POINTS, _NO_TENSOR_CORES_POINTS = -3.0, -20.0
_P100 = "6.0"
_SAME_MODEL_POINTS = 10.0
_STEP_POINTS, _EXTRA_GPU_POINTS, _NO_PEER_POINTS = -1.5, -1.0, -8.0
_COPIES_POINTS = 2.0
_BLIND_POINTS, _GOOD_BITS, _LARGE_BYTES = -5.5, 4.9, 4 * 1024**3
_UNKNOWN_QUALITY = -16.0
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


class Scores:
    """Points of the options of one request; what an image on a set of GPUs, or a form of the model, gets is said once.

    `wsl`: the host is Windows' subsystem for Linux.
    """

    def __init__(self, quantizations: Qualities, request: Request, *, wsl: bool) -> None:
        self._quantizations, self._request, self._wsl = quantizations, request, wsl
        self._images: dict[tuple[str, str, tuple[Device, ...]], tuple[ScorePart, ...]] = {}
        self._forms: dict[ModelVariant, tuple[ScorePart, ScorePart]] = {}

    def of(self, option: Option) -> tuple[ScorePart, ...]:
        """Part by part, in a fixed order; parts worth nothing are there too."""
        quantizations, request = self._quantizations, self._request
        workload, accelerator, container, key, compiled = self._image(option.candidate)
        quality, present = self._form(option.candidate.variant)
        return (
            workload,
            quality,
            speed_part(option.sizing, option.speed, request),
            first_token_part(option.speed, request),
            _placement(option),
            accelerator,
            _verified(option),
            _prebuilt(option),
            container,
            key,
            present,
            compiled,
            _arithmetic(option, request),
            _unmeasured(option, quantizations),
            _given_up(option, request),
            _devices(option, request, wsl=self._wsl),
        )

    def _image(self, candidate: Candidate) -> tuple[ScorePart, ...]:
        same = candidate.engine.engine, candidate.image.id, candidate.devices
        if same not in self._images:
            own = (_accelerator(candidate), _container(candidate), _key(candidate), _compiled(candidate))
            self._images[same] = (_workload(candidate, self._request), *own)
        return self._images[same]

    def _form(self, variant: ModelVariant) -> tuple[ScorePart, ScorePart]:
        if variant not in self._forms:
            self._forms[variant] = _quality(variant, self._quantizations), _present(variant)
        return self._forms[variant]


def total(parts: tuple[ScorePart, ...]) -> float:
    """Sum of the parts, rounded so that equal options compare equal."""
    return round(math.fsum(part.value for part in parts), 3)


def situations(request: Request) -> tuple[str, ...]:
    """What a profile's strengths may be about: the workload, and how many people share the server."""
    many = "many-users" if request.users >= MANY_USERS else "few-users"
    return (request.workload, "personal" if request.users == 1 else many)


def image_points(candidate: Candidate) -> tuple[float, float]:
    """What a choice among images of one engine is about: points for their kind, and for machine code in them."""
    ready = _PREBUILT_POINTS if candidate.image.dockerfile is None else 0.0
    compiled = _compiled(candidate).value
    return _accelerator(candidate).value + ready + min(compiled, 0.0), max(compiled, 0.0)


def _workload(candidate: Candidate, request: Request) -> ScorePart:
    """What the engine is good (or bad) at in this situation on this accelerator, as its profile says."""
    engine, accelerator = candidate.engine, candidate.image.accelerator
    asked = situations(request)
    found = [
        item
        for item in engine.strengths
        if item.situation in asked and (not item.accelerators or accelerator in item.accelerators)
    ]
    why = "; ".join(f"{item.situation}: {item.why}" for item in found)
    return _part(
        "workload", math.fsum(item.points for item in found), why or f"nothing special for {' and '.join(asked)}"
    )


def _quality(variant: ModelVariant, quantizations: Qualities) -> ScorePart:
    known, enough = quantizations.get((variant.quantization, variant.format)), quantizations.get(_ENOUGH)
    if known is None:
        return _part("quality", _UNKNOWN_QUALITY, f"{variant.quantization}: quality unknown")
    lost = 1 - max(known.quality, 0.0)
    counted = max(lost, 1 - enough.quality) if enough else lost
    return _part(
        "quality",
        round(_QUALITY_POINTS * counted, 3),
        f"{variant.quantization} keeps {'all' if known.quality == 1 else f'{known.quality:.2%}'} of the quality",
    )


def _placement(option: Option) -> ScorePart:
    layers, offloaded, experts = option.sizing.layers, option.sizing.offloaded, option.sizing.settings.cpu_moe_layers
    if not offloaded:
        return _part("gpu", 0.0, "runs on the CPU")
    if experts:
        points = _GPU_POINTS * (1 - experts / layers / 2)
        return _part("gpu", round(points, 3), f"all on the GPU but the experts of {experts} of {layers} layers")
    if (unproven := unproven_graphics(option.candidate)) is not None:
        return _part("gpu", 0.0, unproven)
    if offloaded == layers:
        return _part("gpu", _GPU_POINTS, f"fits entirely on {describe(option.candidate.devices)}")
    return _part(
        "gpu", round(_GPU_POINTS / 2 * offloaded / layers, 3), f"{offloaded} of {layers} layers fit on the GPU"
    )


def unproven_graphics(candidate: Candidate) -> str | None:
    """In words, that graphics of the processor read the same memory as its cores, and nobody measured them."""
    shared = [item for item in candidate.devices if item.gpu.unified_memory and item.gpu.vendor in ("amd", "intel")]
    unknown = next((item.gpu for item in shared if item.known is None), None)
    if unknown is None:
        return None
    return f"{short_name(unknown)} reads the processor's own memory, and whether it is faster than its cores is unknown"


def _accelerator(candidate: Candidate) -> ScorePart:
    accelerator = candidate.image.accelerator
    if unproven_graphics(candidate) is not None:
        return _part("accelerator", 0.0, "graphics of the processor")
    if accelerator == "rocm" and any(device.gpu.gfx is None for device in candidate.devices):
        return _part("accelerator", -1.0, "whether rocm has code for this GPU is unknown")
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


def _prebuilt(option: Option) -> ScorePart:
    if option.candidate.image.dockerfile is None:
        return _part("prebuilt", _PREBUILT_POINTS, "nothing to compile")
    if option.source.kind == "verified":
        return _part("prebuilt", _PREBUILT_POINTS, "built before")
    return _part("prebuilt", 0.0, "has to be built here first")


def _container(candidate: Candidate) -> ScorePart:
    if candidate.runtime == "compose":
        return _part("container", _CONTAINER_POINTS, "locked down in a container")
    return _part("container", 0.0, "runs as a plain process")


def _key(candidate: Candidate) -> ScorePart:
    if candidate.engine.key == "none":
        instead = "a gateway has to ask for one" if has_gateway(candidate) else "whoever reaches its port can use it"
        return _part("key", _NO_KEY_POINTS, f"has no API key, so {instead}")
    return _part("key", 0.0, "asks for an API key")


def _present(variant: ModelVariant) -> ScorePart:
    if variant.present:
        return _part("present", _PRESENT_POINTS, "the model is on this machine")
    return _part("present", 0.0, "the model has to be downloaded")


def _compiled(candidate: Candidate) -> ScorePart:
    image = candidate.image
    known = [device.gpu for device in candidate.devices if device.gpu.compute_capability is not None]
    if image.accelerator != "cuda" or not known:
        return _part("compiled", 0.0, "no CUDA code")
    if all(code_for(image, gpu) == "sass" for gpu in known):
        return _part("compiled", _SASS_POINTS, "machine code for the GPU is in the image")
    if any(gpu.compute_capability == _P100 and _P100 not in image.ptx for gpu in known):
        return _part("compiled", _OLD_CODE_POINTS, "code of an older GPU, without the fast 16-bit arithmetic of 6.0")
    return _part("compiled", 0.0, "the driver compiles PTX at the first start")


def _arithmetic(option: Option, request: Request) -> ScorePart:
    """Small weights that are widened to compute cost more the more users there are, and old kernels for it are slow."""
    said = widened(option.candidate)
    if (crawls := without_tensor_cores(option.candidate)) is not None:
        return _part("arithmetic", _NO_TENSOR_CORES_POINTS, crawls)
    if option.candidate.variant.format in ("awq", "gptq") and request.users >= MANY_USERS:
        why = "weights alone are small and widened for every batch, which many users feel"
        return _part("arithmetic", _WEIGHT_ONLY_POINTS, why)
    if said is None or option.candidate.variant.format == "safetensors":
        return _part("arithmetic", 0.0, "computes as the weights are stored, or has fast kernels for them")
    return _part("arithmetic", _WIDENED_POINTS, said)


def _unmeasured(option: Option, quantizations: Qualities) -> ScorePart:
    """Where nobody knows how much memory there is, every bit above a good form of four bits is a risk."""
    blind = bool(unmeasured(option))
    known = quantizations.get((option.candidate.variant.quantization, option.candidate.variant.format))
    if not blind or known is None:
        return _part("unmeasured", 0.0, "nothing is placed in memory of unknown size" if not blind else "size unknown")
    above = max(known.bits_per_weight - _GOOD_BITS, 0.0)
    large = min(option.sizing.weights.layout.total_bytes / _LARGE_BYTES, 1.0)
    where = describe(option.candidate.devices) if option.candidate.devices else "main memory"
    why = f"the memory of {where} is unknown, and {above:.1f} bits a weight more than needed may not fit"
    return _part("unmeasured", round(_BLIND_POINTS * above * large + 0.0, 3), why)


def unmeasured(option: Option) -> list[DeviceMemory]:
    """The places of the weights (the GPUs, else main memory) of which nobody knows how much is free."""
    places = option.sizing.memory.devices
    count = len(option.candidate.devices) or len(places)
    return [item for item in places[:count] if item.available_mib is None]


def _given_up(option: Option, request: Request) -> ScorePart:
    """Points lost to smaller offers, and to users who wait, whether memory or the engine has no slot for them."""
    offer, waits = option.sizing.offer, waiting_cost(option.sizing.offer, request)
    lost = offer.given_up or ((waiting(offer.slots, request.users),) if waits else ())
    points = round(_STEP_POINTS * (offer.steps_down + waits), 3)
    return _part("given-up", points + 0.0, "; ".join(lost) or "nothing given up")


def _devices(option: Option, request: Request, *, wsl: bool) -> ScorePart:
    extra, settings = max(len(option.candidate.devices) - 1, 0), option.sizing.settings
    if extra and wsl and max(settings.tensor_parallel, settings.pipeline_parallel) > 1:
        why = f"{extra + 1} GPUs, {extra} more than one, and under WSL they cannot reach each other's memory"
        return _part("devices", _NO_PEER_POINTS * extra, why)
    if settings.data_parallel > 1 and request.workload == "batch" and request.users >= MANY_USERS:
        return _part("devices", _COPIES_POINTS, f"{settings.data_parallel} copies do as many batches at once")
    return _part(
        "devices",
        _EXTRA_GPU_POINTS * extra + 0.0,
        f"{extra + 1} GPUs, {extra} more than one" if extra else "no GPU more than needed",
    )


def _part(part: str, value: float, why: str) -> ScorePart:
    return ScorePart(part=part, value=value, why=why)
