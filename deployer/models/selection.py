"""Which files of a repository make up a variant, and whether they are in the store. No network."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from deployer.errors import HubError
from deployer.models.gguf_names import gguf_sets, part_names
from deployer.models.names import printable
from deployer.models.reference import HubReference
from deployer.models.store import Manifest, RepoFile, RepoStore
from deployer.types import ModelFormat

_SUPPORT = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")


def select(files: Sequence[RepoFile], wanted: Sequence[str], model_format: ModelFormat) -> tuple[str, ...]:
    """Names of a repository that make up a variant.

    `wanted` holds names (any part of a split GGUF stands for all) or patterns; empty means the only GGUF model of
    the repository, or the safetensors files with configuration and tokenizer. Raises HubError listing what is there.
    """
    names = [file.name for file in files]
    if wanted:
        found = [name for item in wanted for name in _expand(item, names)]
    elif model_format == "gguf":
        sets = gguf_sets(names)
        found = list(next(iter(sets.values()))) if len(sets) == 1 else []
    else:
        found = model_files(names)
    if not found or not set(found) <= set(names):
        there = [name for name in names if name.endswith((".gguf", ".safetensors"))]
        asked = printable(", ".join(wanted) or "exactly one model", 200)
        listed = printable(", ".join(there) or "no model files", 600)
        raise HubError(
            f"the repository does not have {asked}; it has: {listed}",
            hint="name one file: hf:org/repo:file",
            details={"files": there},
        )
    return tuple(dict.fromkeys(found))


def model_files(names: Sequence[str]) -> list[str]:
    """Safetensors at the top of a repository with what an engine needs beside them; nothing that can hold code."""
    weights = [name for name in names if "/" not in name and name.endswith(".safetensors")]
    if any(not name.startswith("consolidated") for name in weights):
        weights = [name for name in weights if not name.startswith("consolidated")]
    support = [name for name in names if "/" not in name and any(fnmatchcase(name, pattern) for pattern in _SUPPORT)]
    return [*weights, *support] if weights else []


def variant_path(folder: Path, names: Sequence[str], model_format: ModelFormat) -> Path:
    """What the engine is given: the first GGUF file, or the folder."""
    return folder / names[0] if model_format == "gguf" else folder


def here(store: Path, reference: HubReference, wanted: Sequence[str], model_format: ModelFormat) -> Path | None:
    """Path of a variant that is complete in the store, else None. Touches no network."""
    place = RepoStore.of(store, reference.repo)
    manifest = place.find(reference.revision)
    return None if manifest is None else _finished(place, manifest, wanted, model_format)


def repository_name(path: str, store: Path) -> str | None:
    """Name in its repository of a file that lies, or will lie, in the store; None for any other file."""
    place = store / "hub"
    below = Path(path).relative_to(place).parts[2:] if Path(path).is_relative_to(place) else ()
    return "/".join(below) or None


def beside(path: Path, name: str, store: Path) -> Path:
    """Where the file `name` of the same commit is as the file (or folder) `path` of the store."""
    place = store / "hub"
    return place.joinpath(*path.relative_to(place).parts[:2], name)


def _finished(place: RepoStore, manifest: Manifest, wanted: Sequence[str], model_format: ModelFormat) -> Path | None:
    try:
        names = select(manifest.repository.files, wanted, model_format)
    except HubError:
        return None
    if not place.complete(manifest, names):
        return None
    return variant_path(place.folder(manifest.repository.commit), names, model_format)


def _expand(item: str, names: Sequence[str]) -> Sequence[str]:
    if any(character in item for character in "*?["):
        return [name for name in names if fnmatchcase(name, item)]
    return part_names(item)
