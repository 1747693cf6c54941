"""Consistency that types cannot say. Every function returns `(path in the file, what is wrong)` pairs."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from deployer.types import CatalogModel, EngineProfile, GpuModel, ImageProfile, Quantization

Problem = tuple[str, str]

_CAPABILITY = re.compile(r"^[1-9]\d?\.\d$")
_CODE = re.compile(r"^[1-9]\d?\.\d[af]?$")  # with the suffix of architecture-specific code, as in 12.0a
_VERSION = re.compile(r"^\d+(\.\d+)*$")
_GFX = re.compile(r"^gfx[0-9a-f]{3,4}$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


def engine_problems(
    engine: EngineProfile, file_stem: str, known: Collection[str], templates: Path
) -> Iterator[Problem]:
    """Problems of one engine profile. `known` are quantization names, `templates` the folder of Dockerfiles."""
    if engine.engine != file_stem:
        yield "engine", f"{engine.engine!r} is not the name of the file, {file_stem!r}"
    for index, name in enumerate(engine.quantizations):
        if name not in known:
            yield f"quantizations/{index}", f"{name!r} is not in quantizations.yaml"
    yield from _repeated("flags", "setting", [flag.setting for flag in engine.flags])
    yield from _repeated("images", "id", [image.id for image in engine.images])
    yield from _repeated("architectures", "", engine.architectures)
    for index, signature in enumerate(engine.failures):
        try:
            re.compile(signature.pattern)
        except re.error as error:
            yield f"failures/{index}/pattern", f"not a regular expression: {error}"
    for index, image in enumerate(engine.images):
        yield from ((f"images/{index}{path}", text) for path, text in _image_problems(image, templates))


def _image_problems(image: ImageProfile, templates: Path) -> Iterator[Problem]:
    origins = [name for name in ("reference", "dockerfile", "program") if getattr(image, name) is not None]
    if len(origins) != 1:
        yield "", f"exactly one of reference, dockerfile and program, got {' and '.join(origins) or 'none'}"
    if image.dockerfile is not None and not _is_template(image.dockerfile, templates):
        yield "/dockerfile", f"no such template: {image.dockerfile}"
    if image.digest is not None and not _DIGEST.match(image.digest):
        yield "/digest", f"not sha256: and 64 hex digits: {image.digest!r}"
    if not image.command:
        yield "/command", "empty"
    yield from _patterns(image)


def _patterns(image: ImageProfile) -> Iterator[Problem]:
    for key in ("sass", "ptx"):
        for index, capability in enumerate(getattr(image, key)):
            if not _CODE.match(capability):
                yield f"/{key}/{index}", f"not a compute capability such as 8.6: {capability!r}"
    for index, target in enumerate(image.gfx):
        if not _GFX.match(target):
            yield f"/gfx/{index}", f"not a target such as gfx1100: {target!r}"
    for key in ("cuda", "driver_min", "driver_min_ptx"):
        version = getattr(image, key)
        if version is not None and not _VERSION.match(version):
            yield f"/{key}", f"not a version such as 12.8.1: {version!r}"
    if image.sass and image.driver_min is None:
        yield "", "has sass but no driver_min"
    if image.ptx and image.driver_min_ptx is None:
        yield "", "has ptx but no driver_min_ptx"


def _is_template(name: str, templates: Path) -> bool:
    path = (templates / name).resolve()
    return path.is_relative_to(templates.resolve()) and path.is_file()


def gpu_problems(gpus: Sequence[GpuModel]) -> Iterator[Problem]:
    """Problems of the GPU table: every name and alias is of one GPU only."""
    seen: dict[str, str] = {}
    for index, gpu in enumerate(gpus):
        for name in {gpu.name, *gpu.aliases}:
            if (other := seen.setdefault(name.casefold(), gpu.name)) != gpu.name:
                yield str(index), f"{name!r} is also a name of {other!r}"
        if gpu.compute_capability is not None and not _CAPABILITY.match(gpu.compute_capability):
            yield f"{index}/compute_capability", f"not a compute capability: {gpu.compute_capability!r}"
        if gpu.gfx is not None and not _GFX.match(gpu.gfx):
            yield f"{index}/gfx", f"not a target such as gfx1100: {gpu.gfx!r}"
        if gpu.memory_mib <= 0 or gpu.bandwidth_gb_s <= 0:
            yield str(index), "memory and bandwidth are above zero"
    yield from _repeated("", "name", [gpu.name for gpu in gpus])


def quantization_problems(quantizations: Sequence[Quantization]) -> Iterator[Problem]:
    """Problems of the quantization table."""
    yield from _repeated("", "name", [f"{entry.name} ({entry.format})" for entry in quantizations])
    for index, entry in enumerate(quantizations):
        if not 0 <= entry.quality <= 1:
            yield f"{index}/quality", f"not between 0 and 1: {entry.quality}"
        if not 0 < entry.bits_per_weight <= 32:  # noqa: PLR2004 - F32
            yield f"{index}/bits_per_weight", f"not between 0 and 32: {entry.bits_per_weight}"


def model_problems(models: Sequence[CatalogModel]) -> Iterator[Problem]:
    """Problems of one file of the model catalog."""
    for index, model in enumerate(models):
        if not model.variants:
            yield f"{index}/variants", "empty"
        if model.architecture.heads % max(model.architecture.kv_heads, 1):
            yield f"{index}/architecture/kv_heads", "does not divide heads"
        for place, variant in enumerate(model.variants):
            if not variant.files:
                yield f"{index}/variants/{place}/files", "empty"


def _repeated(path: str, key: str, names: Sequence[str]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            where = "/".join(part for part in (path, str(index), key) if part)
            yield where, f"{name!r} is already at {first[name]}"
