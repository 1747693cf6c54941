"""What the store holds: listing it and removing from it. No network."""

import re
from pathlib import Path

import msgspec

from deployer.errors import BadInputError
from deployer.models.names import printable
from deployer.models.reference import HubReference, parse_reference
from deployer.models.store import RepoStore


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of one repository: its verified files, and where they are."""

    repo: str
    commit: str
    revisions: tuple[str, ...]
    files: tuple[str, ...]
    size_bytes: int
    path: str


def stored(store: Path) -> tuple[StoredModel, ...]:
    """Everything that was downloaded, by repository, newest commit first. Raises StateError for a broken manifest."""
    roots = sorted(path for path in (store / "hub").glob("*--*") if path.is_dir())
    return tuple(model for root in roots for model in _of(RepoStore(root)))


def matching(store: Path, text: str) -> tuple[StoredModel, ...]:
    """What `hf:org/repo[@revision]` names in the store. Raises BadInputError when that is nothing, or one file."""
    reference = parse_reference(text)
    if isinstance(reference, HubReference) and reference.file is not None:
        whole = text.removesuffix(f":{reference.file}")
        raise BadInputError(f"{printable(text)!r}: single files are not removed", hint=f"all of it: {printable(whole)}")
    wanted = [model for model in stored(store) if isinstance(reference, HubReference) and _named(model, reference)]
    if not wanted:
        raise BadInputError(f"{printable(text)!r} names nothing in the store", hint="deployer models ls")
    return tuple(wanted)


def remove(store: Path, text: str) -> tuple[StoredModel, ...]:
    """Remove what `matching` finds, with partial downloads and kept headers of the repository; returns what it was."""
    wanted = matching(store, text)
    import shutil

    for model in wanted:
        place = RepoStore.of(store, model.repo)
        (place.root / f"{model.commit}.json").unlink()
        shutil.rmtree(place.folder(model.commit), ignore_errors=True)
        shutil.rmtree(place.root / "partial", ignore_errors=True)
        shutil.rmtree(place.root / "asked", ignore_errors=True)
    return wanted


def _of(place: RepoStore) -> list[StoredModel]:
    found = []
    for manifest in place.manifests():
        repository = manifest.repository
        files = tuple(file for file in repository.files if file.name in manifest.verified)
        found.append(
            StoredModel(
                repo=repository.repo,
                commit=repository.commit,
                revisions=tuple(name for name in manifest.revisions if not re.fullmatch(r"[0-9a-f]{40}", name)),
                files=tuple(file.name for file in files),
                size_bytes=sum(file.size for file in files),
                path=str(place.folder(repository.commit)),
            )
        )
    return found


def _named(model: StoredModel, reference: HubReference) -> bool:
    if model.repo != reference.repo:
        return False
    return reference.revision is None or reference.revision in {model.commit, *model.revisions}


def commit_of(path: Path, store: Path) -> str | None:
    """The hub commit that a downloaded file or folder belongs to; None for what did not come from the hub."""
    place = store / "hub"
    return path.relative_to(place).parts[1] if path.is_relative_to(place) else None
