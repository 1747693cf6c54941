"""Consistency of one image of an engine: where it comes from, and what its code needs."""

import re
from collections.abc import Iterator
from pathlib import Path

from deployer.catalog.pattern import CODE, GFX, VERSION, Problem, blanks
from deployer.types import ImageProfile

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_USER = re.compile(r"^\d+:\d+$")


def image_problems(image: ImageProfile, templates: Path) -> Iterator[Problem]:
    """Problems of one image; paths start with a slash, or are empty."""
    origins = [name for name in ("reference", "dockerfile", "program") if getattr(image, name) is not None]
    if len(origins) != 1:
        yield "", f"exactly one of reference, dockerfile and program, got {' and '.join(origins) or 'none'}"
    if image.dockerfile is not None and not _is_template(image.dockerfile, templates):
        yield "/dockerfile", f"no such template: {image.dockerfile}"
    if image.digest is not None and not _DIGEST.match(image.digest):
        yield "/digest", f"not sha256: and 64 hex digits: {image.digest!r}"
    if not image.command:
        yield "/command", "empty"
    if image.user is not None and not _USER.match(image.user):
        yield "/user", f"not numbers such as 2000:0: {image.user!r}"
    yield from blanks("/sources", dict(enumerate(image.sources)), at_least_one=True)
    yield from _patterns(image)
    yield from _code(image)


def _patterns(image: ImageProfile) -> Iterator[Problem]:
    for key in ("sass", "ptx"):
        for index, capability in enumerate(getattr(image, key)):
            if not CODE.match(capability):
                yield f"/{key}/{index}", f"not a compute capability such as 8.6: {capability!r}"
    for index, target in enumerate(image.gfx):
        if not GFX.match(target):
            yield f"/gfx/{index}", f"not a target such as gfx1100: {target!r}"
    for key in ("cuda", "driver_min", "driver_min_ptx"):
        version = getattr(image, key)
        if version is not None and not VERSION.match(version):
            yield f"/{key}", f"not a version such as 12.8.1: {version!r}"


def _code(image: ImageProfile) -> Iterator[Problem]:
    """An image says for which GPUs it was compiled, if it is for GPUs that differ in this."""
    if image.sass and image.driver_min is None:
        yield "", "has sass but no driver_min"
    if image.ptx and image.driver_min_ptx is None:
        yield "", "has ptx but no driver_min_ptx"
    has_cuda = bool(image.sass or image.ptx)
    if has_cuda != (image.accelerator == "cuda"):
        yield "", f"accelerator is {image.accelerator}, and there is {'' if has_cuda else 'neither '}sass or ptx"
    if bool(image.gfx) != (image.accelerator == "rocm"):
        yield "", f"accelerator is {image.accelerator}, and gfx is {'there' if image.gfx else 'missing'}"


def _is_template(name: str, templates: Path) -> bool:
    path = (templates / name).resolve()
    return path.is_relative_to(templates.resolve()) and path.is_file()
