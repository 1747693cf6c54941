"""How an image will be had: verified here, pulled, built, or not an image at all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from deployer.decide.candidates import Device
from deployer.decide.capability import code_for
from deployer.decide.version import capability, release
from deployer.errors import BadInputError
from deployer.types import EngineProfile, ImageProfile, PlanImage, Request, VerifiedImage

ARCH_ARGUMENT = "CUDA_ARCH"
"""Build argument of a CUDA Dockerfile: the capabilities to compile for, as CMake writes them (`61;86`)."""


UNKNOWN_VERSION = "unknown"
"""Version of an image from another place, whose tag does not tell one that can be compared with the profile's."""


class ImageSource(msgspec.Struct, frozen=True):
    """Where an image comes from, and what to say when it is not the one that was wanted.

    `served` are the models, by source and quantization, that this image has served healthily on this host.
    """

    kind: Literal["verified", "pull", "build", "none"]
    recipe: str
    build_args: dict[str, str]
    entry: VerifiedImage | None = None
    served: frozenset[tuple[str, str]] = frozenset()
    warning: str | None = None


def image_source(
    engine: EngineProfile,
    image: ImageProfile,
    devices: Sequence[Device],
    verified: Iterable[VerifiedImage],
    unavailable: Mapping[str, str],
    *,
    safe: Callable[[str], bool],
) -> ImageSource | str:
    """The source of an image for these devices, or in words why it cannot be had.

    An entry with the same recipe wins. When the image cannot be had, the newest entry of the same profile stands in,
    if possible one whose version is `safe`.
    """
    arguments = build_arguments(image, devices)
    recipe = image.recipe + _suffix(arguments)
    if image.program is not None:
        return ImageSource("none", recipe, {})
    mine = [entry for entry in verified if (entry.engine, entry.profile) == (engine.engine, image.id)]
    newest = sorted(mine, key=lambda entry: (entry.verified_at, entry.release), reverse=True)
    same = next((entry for entry in newest if entry.recipe == recipe), None)
    if same is not None:
        served = frozenset((item.model, item.quantization) for item in mine if item.image_id == same.image_id)
        return ImageSource("verified", recipe, arguments, same, served)
    reason = unavailable.get(image.id)
    if reason is None:
        return ImageSource("build" if image.dockerfile is not None else "pull", recipe, arguments)
    if not newest:
        return reason
    entry = next((item for item in newest if safe(item.engine_version)), newest[0])
    said = (
        f"image {image.id} {image.version} could not be had ({reason}); using {entry.image_id[:19]} of version "
        f"{entry.engine_version} instead, verified on this host on {entry.verified_at[:10]}"
    )
    return ImageSource("verified", entry.recipe, arguments, entry, warning=said)


def build_arguments(image: ImageProfile, devices: Sequence[Device]) -> dict[str, str]:
    """Build arguments of the profile, with the capabilities of the chosen devices for a CUDA build."""
    if image.dockerfile is None:
        return {}
    if image.accelerator != "cuda":
        return dict(image.build_args)
    known = {device.gpu.compute_capability for device in devices} - {None}
    ordered = sorted(known, key=lambda text: capability(text or ""))
    return {**image.build_args, ARCH_ARGUMENT: ";".join((text or "").replace(".", "") for text in ordered)}


def replaced(engine: EngineProfile, request: Request) -> EngineProfile:
    """The engine with the asked image taken from `request.image_reference` instead; unchanged without one.

    Its version is that of its own tag, never the profile's: known vulnerabilities are compared with what would run.

    Raises BadInputError for a local program, which has no reference.
    """
    if request.image_reference is None:
        return engine
    asked = (request.image or "").casefold()
    images = tuple(
        _with_reference(image, request.image_reference) if image.id.casefold() == asked else image
        for image in engine.images
    )
    return msgspec.structs.replace(engine, images=images)


def plan_image(image: ImageProfile, devices: Sequence[Device], source: ImageSource) -> PlanImage:
    """The image as a plan records it. A verified entry brings its own content address."""
    entry = source.entry
    return PlanImage(
        profile=image.id,
        reference=entry.reference if entry else image.reference,
        digest=entry.digest if entry else image.digest,
        source=source.kind,
        cuda=image.cuda,
        accelerator=image.accelerator,
        recipe=source.recipe,
        image_id=entry.image_id if entry else None,
        dockerfile=image.dockerfile,
        build_args=source.build_args,
        size_mib=image.size_mib,
        ptx_only=any(device.gpu.compute_capability and code_for(image, device.gpu) == "ptx" for device in devices)
        and image.accelerator == "cuda",
    )


def _with_reference(image: ImageProfile, reference: str) -> ImageProfile:
    if image.program is not None:
        raise BadInputError(
            f"image {image.id} is the local program {image.program}; it cannot be taken from {reference}",
            hint="choose an image profile that is pulled, or leave the reference out",
        )
    return msgspec.structs.replace(
        image,
        reference=reference,
        version=_version_of(reference, image.version),
        digest=reference.partition("@")[2] or None,
        dockerfile=None,
        build_args={},
        recipe=reference,
        cpu_flags=(),
        cpu_flags_recommended=tuple(dict.fromkeys((*image.cpu_flags, *image.cpu_flags_recommended))),
    )


def _version_of(reference: str, usual: str) -> str:
    """The version in the reference's tag, if it is of the kind of `usual` (`0.33.0`, `b11434`)."""
    tag = reference.partition("@")[0].rpartition("/")[2].partition(":")[2]
    own, known = release(tag), release(usual)
    return tag.removeprefix("v") if own and known and len(own) == len(known) else UNKNOWN_VERSION


def _suffix(arguments: Mapping[str, str]) -> str:
    return ":" + ",".join(f"{name}={value}" for name, value in sorted(arguments.items())) if arguments else ""
