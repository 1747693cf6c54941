"""Space on the disks, before anything is fetched: model, image, and the copy that some engines make of a model."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from deployer import images, ledger, models
from deployer.errors import ImageUnavailableError, PreconditionError, StateError
from deployer.paths import Home
from deployer.types import ModelVariant, Plan
from deployer.workflow.report import Reporter

RESERVE_MIB = 1024
IMAGE = "the image"
_MIB = 1024 * 1024
_SERVED = ("healthy", "superseded", "stopped")


class Need(msgspec.Struct, frozen=True):
    """So many MiB for `what`, on the file system that holds `folder`."""

    folder: Path
    mib: int
    what: str


def check(plan: Plan, home: Home, report: Reporter) -> None:
    """Raise PreconditionError when what is still to come does not fit on the file systems it goes to.

    The copy of a model counts until a server of this deployment has served the same model from it. Where only the image
    has no room, it is an ImageUnavailableError: one that was verified here may still serve.
    """
    fetched = fetched_mib(plan, home)
    copied = copy_mib(plan, home)
    if not fetched and not copied:
        return
    needs = [Need(home.models, fetched, "the model")]
    if plan.runtime == "compose":
        needs += _of_docker(plan, copied, report)
    for folder, group in by_file_system(need for need in needs if need.mib):
        _refuse(plan, folder, group)


def fetched_mib(plan: Plan, home: Home) -> int:
    """What of the model and its projector has still to be downloaded."""
    variant = variant_of(plan, home)
    size = plan.model.size_mib + (plan.model.projector_mib or 0)
    return -(-models.missing_bytes(variant, size * _MIB, home.models) // _MIB)


def variant_of(plan: Plan, home: Home) -> ModelVariant:
    """The files of a plan's model as they are fetched: the model's own, and its projector where that is of the hub."""
    seeing = None if plan.model.projector is None else models.repository_name(plan.model.projector, home.models)
    return ModelVariant(
        format=plan.model.format,
        quantization=plan.model.quantization,
        source=plan.model.ref,
        files=(*plan.model.files, seeing) if seeing else plan.model.files,
    )


def copy_mib(plan: Plan, home: Home) -> int:
    """Size of the copy that the engine will make of the model; 0 where it makes none, or has made it already."""
    if plan.store is None or plan.runtime != "compose" or _has_copy(plan, home):
        return 0
    return plan.model.size_mib


def by_file_system(needs: Iterable[Need]) -> Iterator[tuple[Path, list[Need]]]:
    """The needs of each file system together, with the first folder on it.

    A folder that is not there yet counts as its nearest parent, one that cannot be looked at as none.
    """
    groups: dict[int, list[Need]] = {}
    for need in needs:
        there = next((folder for folder in (need.folder, *need.folder.parents) if folder.exists()), None)
        if there is not None:
            groups.setdefault(there.stat().st_dev, []).append(msgspec.structs.replace(need, folder=there))
    yield from ((group[0].folder, group) for group in groups.values())


def _of_docker(plan: Plan, copied: int, report: Reporter) -> list[Need]:
    """What goes to Docker's own folders; nothing where those are on another machine."""
    settings = images.engine_settings()
    if settings.remote or settings.root is None:
        return []
    volumes = Path(settings.volumes or settings.root)
    if copied:
        report.note(f"{plan.engine} makes its own copy of the model: {copied} MiB more, in {volumes}")
    here = plan.image.image_id is not None and images.inspect_image(plan.image.image_id) is not None
    image = 0 if here or plan.image.source == "none" or _is_here(plan) else plan.image.size_mib or 0
    return [
        Need(volumes, copied, f"the copy that {plan.engine} makes of it"),
        Need(Path(settings.root), image, IMAGE),
    ]


def _is_here(plan: Plan) -> bool:
    return plan.image.reference is not None and images.inspect_image(plan.image.reference) is not None


def _has_copy(plan: Plan, home: Home) -> bool:
    """True when a release of this deployment served the same files with the same engine, and its volume is there."""
    return any(_same_copy(plan, known) for known in _served(plan.name, home)) and images.has_volume(
        f"deployer-{plan.name}_store"
    )


def _same_copy(plan: Plan, known: Plan) -> bool:
    same = (known.engine, known.store, known.model.ref) == (plan.engine, plan.store, plan.model.ref)
    return same and known.model.files == plan.model.files


def _served(name: str, home: Home) -> Iterator[Plan]:
    for release in ledger.history(home, name):
        if release.status in _SERVED:
            try:
                yield ledger.read_plan(home, release)
            except StateError:
                continue


def _refuse(plan: Plan, folder: Path, group: list[Need]) -> None:
    free = shutil.disk_usage(folder).free // _MIB
    wanted = sum(need.mib for need in group)
    if wanted + RESERVE_MIB <= free:
        return
    without_image = sum(need.mib for need in group if need.what != IMAGE)
    kind = ImageUnavailableError if without_image + RESERVE_MIB <= free else PreconditionError
    parts = " and ".join(f"{need.mib} MiB for {need.what}" for need in group)
    instead = "; llama.cpp makes no copy of it: --engine llama.cpp" if plan.store is not None else ""
    raise kind(
        f"the disk of {folder} has {free} MiB free; it needs {parts}, and {RESERVE_MIB} MiB stay free",
        hint=f"make room (deployer models ls, docker system df), or choose a smaller quantization{instead}",
        details={"cause": "no-space", "path": str(folder), "free_mib": free, "needed_mib": wanted},
    )
