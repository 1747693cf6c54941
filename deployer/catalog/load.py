"""The profiles folder, loaded and checked.

`root` is the folder of profiles (default: the packaged one); its sibling `templates` holds the Dockerfiles. `overlay`
is a user's folder of the same shape: a file there replaces the packaged file of the same name, or adds one.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from deployer.catalog import check
from deployer.catalog.check_engine import engine_problems
from deployer.catalog.check_failures import failure_problems
from deployer.catalog.pattern import Problem
from deployer.catalog.recipe import recipe_of
from deployer.catalog.shape import convert
from deployer.catalog.words import COMPONENTS
from deployer.errors import ProfileError, did_you_mean, nearest
from deployer.paths import data_dir
from deployer.types import (
    Advisory,
    CatalogModel,
    EngineProfile,
    FailureSignature,
    GpuModel,
    Knowledge,
    Monitoring,
    Quantization,
)
from deployer.types.deployments import GatewayProfile

T = TypeVar("T")


def load_knowledge(root: Path | None = None, overlay: Path | None = None) -> Knowledge:
    """Every engine, GPU, quantization and advisory. Raises ProfileError for the first thing that is wrong."""
    quantizations = load_quantizations(root, overlay)
    return Knowledge(
        engines=_engines(root, overlay, quantizations),
        gpus=load_gpus(root, overlay),
        advisories=load_advisories(root, overlay),
        quantizations=quantizations,
        gateway_image=_pinned(load_gateway(root, overlay)),
    )


def load_engines(root: Path | None = None, overlay: Path | None = None) -> tuple[EngineProfile, ...]:
    """All engine profiles in order of file name, with their images' recipes. Raises ProfileError."""
    return _engines(root, overlay, load_quantizations(root, overlay))


def load_engine(name: str, root: Path | None = None, overlay: Path | None = None) -> EngineProfile:
    """One engine profile. Raises ProfileError, also for an unknown name."""
    common = load_failures(root, overlay)
    return _engine(_engine_file(name, root, overlay), root, overlay, load_quantizations(root, overlay), common)


def engine_text(name: str, root: Path | None = None, overlay: Path | None = None) -> str:
    """The profile as written: its comments are the engine's documentation. Raises ProfileError."""
    from deployer.catalog.document import read_text

    path = _engine_file(name, root, overlay)
    return read_text(path, _label(path, root, overlay))


def load_gpus(root: Path | None = None, overlay: Path | None = None) -> tuple[GpuModel, ...]:
    """The table of GPUs by name. Raises ProfileError."""
    return _table("gpus.yaml", tuple[GpuModel, ...], check.gpu_problems, root, overlay)


def load_quantizations(root: Path | None = None, overlay: Path | None = None) -> tuple[Quantization, ...]:
    """The table of quantizations. Raises ProfileError."""
    return _table("quantizations.yaml", tuple[Quantization, ...], check.quantization_problems, root, overlay)


def load_advisories(root: Path | None = None, overlay: Path | None = None) -> tuple[Advisory, ...]:
    """Known vulnerabilities of engines, and of what containers stand on. Raises ProfileError."""
    known = {*(path.stem for path in _files("engines", root, overlay)), *COMPONENTS}
    problems = functools.partial(check.advisory_problems, known=known)
    return _table("advisories.yaml", tuple[Advisory, ...], problems, root, overlay)


def load_failures(root: Path | None = None, overlay: Path | None = None) -> tuple[FailureSignature, ...]:
    """Failure signatures that say the same for every engine. Raises ProfileError."""
    return _table("failures.yaml", tuple[FailureSignature, ...], failure_problems, root, overlay)


def load_monitoring(root: Path | None = None, overlay: Path | None = None) -> Monitoring:
    """The programs that watch a deployment. Raises ProfileError."""
    return _table("monitoring.yaml", Monitoring, check.monitoring_problems, root, overlay)


def load_gateway(root: Path | None = None, overlay: Path | None = None) -> GatewayProfile:
    """The proxy before engines without a key, and before several servers. Raises ProfileError."""
    return _table("gateway.yaml", GatewayProfile, check.gateway_problems, root, overlay)


def load_models(root: Path | None = None, overlay: Path | None = None) -> tuple[CatalogModel, ...]:
    """The model catalog: every file of `models/`, each a list. Raises ProfileError, also for a name used twice."""
    found: list[CatalogModel] = []
    owners: dict[str, tuple[str, int]] = {}
    for path in _files("models", root, overlay):
        label = _label(path, root, overlay)
        models = convert(_read(path, label), tuple[CatalogModel, ...], label)
        _refuse(label, check.model_problems(models))
        _refuse(label, _taken(models, owners, label))
        found += models
    return tuple(found)


def _pinned(gateway: GatewayProfile) -> str:
    return gateway.image if gateway.digest is None else f"{gateway.image}@{gateway.digest}"


def _taken(models: Sequence[CatalogModel], owners: dict[str, tuple[str, int]], label: str) -> Iterator[Problem]:
    """Names that an earlier entry has; `owners` maps each name to its file and its place in it."""
    for index, model in enumerate(models):
        for name in (model.name, *model.aliases):
            if (other := owners.setdefault(name, (label, index))) != (label, index):
                yield str(index), f"the name {name!r} is taken by entry {other[1]} of {other[0]}"


def _engines(root: Path | None, overlay: Path | None, known: Sequence[Quantization]) -> tuple[EngineProfile, ...]:
    common = load_failures(root, overlay)
    return tuple(_engine(path, root, overlay, known, common) for path in _files("engines", root, overlay))


def _engine(
    path: Path,
    root: Path | None,
    overlay: Path | None,
    known: Sequence[Quantization],
    common: tuple[FailureSignature, ...],
) -> EngineProfile:
    label = _label(path, root, overlay)
    templates = _templates(root)
    engine = convert(_read(path, label), EngineProfile, label)
    _refuse(label, engine_problems(engine, path.stem, known, templates))
    images = tuple(msgspec.structs.replace(image, recipe=recipe_of(image, templates)) for image in engine.images)
    failures = (*common, *engine.failures) if engine.common_failures else engine.failures
    return msgspec.structs.replace(engine, images=images, failures=failures)


def _engine_file(name: str, root: Path | None, overlay: Path | None) -> Path:
    files = {path.stem: path for path in _files("engines", root, overlay)}
    if name not in files:
        meant = did_you_mean(nearest(name, files))
        raise ProfileError(f"no engine {name!r}{meant}", hint=f"known engines: {', '.join(files)}")
    return files[name]


def _table(
    name: str,
    kind: type[T],
    problems: Callable[[T], Iterable[Problem]],
    root: Path | None,
    overlay: Path | None,
) -> T:
    """One file: a list of entries, or what else the type says."""
    path = _root(root) / name
    if overlay is not None and (overlay / name).is_file():
        path = overlay / name
    label = _label(path, root, overlay)
    entries = convert(_read(path, label), kind, label)
    _refuse(label, problems(entries))
    return entries


def _read(path: Path, label: str) -> object:
    from deployer.catalog.document import read_document  # yaml takes longer to import than a cached profile to read

    return read_document(path, label)


def _files(folder: str, root: Path | None, overlay: Path | None) -> tuple[Path, ...]:
    """The YAML files of a folder by name, the overlay's instead of the packaged one of the same name."""
    folders = [_root(root) / folder] + ([overlay / folder] if overlay is not None else [])
    files = {path.name: path for place in folders for path in place.glob("*.yaml")}
    return tuple(files[name] for name in sorted(files))


def _root(root: Path | None) -> Path:
    return root or data_dir("profiles")


def _templates(root: Path | None) -> Path:
    return _root(root).parent / "templates"


def _label(path: Path, root: Path | None, overlay: Path | None) -> str:
    if overlay is not None and path.is_relative_to(overlay):
        return str(path)
    return str(Path("profiles") / path.relative_to(_root(root)))


def _refuse(label: str, problems: Iterable[Problem]) -> None:
    for path, text in problems:
        raise ProfileError(": ".join(part for part in (label, path, text) if part), hint="correct the file")
