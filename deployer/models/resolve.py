"""From what the user wrote to a model with everything known of it on this machine."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, ModelFileError, UnknownModelError, did_you_mean, nearest
from deployer.models import local
from deployer.models.gguf_names import part_names
from deployer.models.names import printable
from deployer.models.reference import (
    FORMS,
    CatalogReference,
    HubReference,
    PackageReference,
    PathReference,
    parse_reference,
)
from deployer.models.selection import beside, here
from deployer.models.store import RepoStore
from deployer.types import CatalogModel, CatalogVariant, ModelSpec, ModelVariant, Projector


def resolve(text: str, catalog: Sequence[CatalogModel], store: Path) -> ModelSpec:
    """The model that `text` names.

    A catalog name, a path, a package and what was fetched before need no network; a new `hf:` reference does.
    Raises BadInputError, UnknownModelError (`details["nearest"]`), ModelFileError, HubError.
    """
    match parse_reference(text):
        case CatalogReference(name=name):
            return from_catalog(_named(name, catalog), store)
        case PathReference(path=path):
            # A folder that happens to have the name of a catalog model does not hide it; ./name means the folder.
            known = _find(text, catalog)
            return local.from_path(path) if known is None else from_catalog(known, store)
        case PackageReference() as reference:
            return local.from_package(reference)
        case HubReference() as reference:
            from deployer.models.hub_spec import from_hub

            return from_hub(reference, store)


def from_catalog(model: CatalogModel, store: Path) -> ModelSpec:
    """A catalog entry with, for each variant, where it is and whether it is here."""
    return ModelSpec(
        name=model.name,
        title=model.title,
        architecture=model.architecture,
        parameters=model.parameters,
        variants=tuple(_variant(variant, store) for variant in model.variants),
        license=model.license,
        gated=model.gated,
        embedding=model.embedding,
        source=model.name,
        reranker=model.reranker,
        tools=model.tools,
        tool_parsers=model.tool_parsers,
    )


def without_absent(variant: ModelVariant) -> ModelVariant:
    """The variant without its projector where that is not on this machine: for who has no network."""
    if variant.projector is None or Path(variant.projector.path).is_file():
        return variant
    return msgspec.structs.replace(variant, projector=None)


def _variant(variant: CatalogVariant, store: Path) -> ModelVariant:
    path, present = _place(variant, store)
    found = ModelVariant(
        format=variant.format,
        quantization=variant.quantization,
        source=variant.source,
        files=_every_part(variant),
        size_bytes=variant.size_bytes,
        projector=_projector(variant, path, store),
        path=None if path is None else str(path),
        present=present,
    )
    return _with_file_facts(found) if present else found


def _every_part(variant: CatalogVariant) -> tuple[str, ...]:
    """The files of a variant; the first part of a split GGUF stands for all."""
    if variant.format != "gguf":
        return variant.files
    return tuple(dict.fromkeys(part for name in variant.files for part in part_names(name)))


def _projector(variant: CatalogVariant, path: Path | None, store: Path) -> Projector | None:
    """The variant's projector, at the place where it is or will be."""
    if variant.projector is None or path is None or not path.is_relative_to(store / "hub"):
        return None
    return msgspec.structs.replace(variant.projector, path=str(beside(path, variant.projector.path, store)))


def _with_file_facts(variant: ModelVariant) -> ModelVariant:
    """Exact weights and size from the files; a file that cannot be read counts as absent."""
    path = Path(variant.path or "")
    try:
        weights = local.exact_weights(variant)
    except ModelFileError:
        return msgspec.structs.replace(variant, present=False)
    size = path.stat().st_size if path.is_file() and len(variant.files) == 1 else variant.size_bytes
    return msgspec.structs.replace(variant, weights=weights, size_bytes=size)


def _place(variant: CatalogVariant, store: Path) -> tuple[Path | None, bool]:
    """Where a variant is or will be, and whether it is here.

    For a hub source without a pinned commit that is not here, the folder is named after the revision: the commit is
    known only after fetching, and `fetch` returns the real path.
    """
    match parse_reference(variant.source):
        case HubReference() as reference:
            return _hub_place(reference, variant, store)
        case PackageReference() as reference:
            try:
                return local.package_path(reference), True
            except BadInputError:
                return None, False
        case PathReference(path=path):
            return path, path.exists()
        case _:
            return None, False


def _hub_place(reference: HubReference, variant: CatalogVariant, store: Path) -> tuple[Path, bool]:
    wanted = variant.files or ((reference.file,) if reference.file else ())
    if (found := here(store, reference, wanted, variant.format)) is not None:
        return found, True
    folder = RepoStore.of(store, reference.repo).root / (reference.revision or "main").replace("/", "--")
    return (folder / wanted[0] if variant.format == "gguf" and wanted else folder), False


def _find(name: str, catalog: Sequence[CatalogModel]) -> CatalogModel | None:
    folded = name.casefold()
    return next(
        (model for model in catalog if folded in {known.casefold() for known in (model.name, *model.aliases)}), None
    )


def _named(name: str, catalog: Sequence[CatalogModel]) -> CatalogModel:
    found = _find(name, catalog)
    if found is None:
        near = _nearest(name, catalog)
        raise UnknownModelError(
            f"no model {printable(name)!r} in the catalog{did_you_mean(near)}", hint=FORMS, details={"nearest": near}
        )
    return found


def _nearest(name: str, catalog: Sequence[CatalogModel]) -> list[str]:
    """Up to three names that look alike, best first."""
    names = {known: model.name for model in catalog for known in (model.name, *model.aliases)}
    return list(dict.fromkeys(names[match] for match in nearest(name, names)))
