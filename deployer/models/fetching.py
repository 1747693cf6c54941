"""Bringing a variant to this machine: `fetch` is the only door."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from deployer.errors import BadInputError, PreconditionError, VerificationError
from deployer.models import hub
from deployer.models.download import Patience, download
from deployer.models.gguf_names import is_projector
from deployer.models.hub_files import HubFiles
from deployer.models.local import package_path
from deployer.models.names import printable
from deployer.models.progress import Meter, Progress
from deployer.models.reference import FORMS, HubReference, PackageReference, PathReference, parse_reference
from deployer.models.selection import here, repository_name, select, variant_path
from deployer.models.store import Repository, RepoStore, sync_folder
from deployer.types import ModelVariant

RESERVE_BYTES = 256 << 20


def fetch(
    variant: ModelVariant, store: Path, on_progress: Callable[[Progress], None], *, patience: Patience | None = None
) -> Path:
    """The file (first part) or folder of a variant on this machine, downloaded and verified when it is not here.

    Its projector comes with it, before the model: a model that is here is never without.

    Raises HubError, PreconditionError (no space), VerificationError (wrong hash), BadInputError (a local source that
    is gone). Two processes that fetch the same repository do it one after the other, and the second finds it done.
    """
    match parse_reference(variant.source):
        case HubReference() as reference:
            return _fetch_hub(reference, variant, store, on_progress, patience or Patience())
        case PackageReference() as reference:
            return package_path(reference)
        case PathReference(path=path) if path.exists():
            return path
        case _:
            raise BadInputError(f"{printable(variant.source)}: there is nothing to fetch from here", hint=FORMS)


def _fetch_hub(
    reference: HubReference,
    variant: ModelVariant,
    store: Path,
    on_progress: Callable[[Progress], None],
    patience: Patience,
) -> Path:
    wanted = wanted_files(variant, reference, store)
    if (found := here(store, reference, wanted, variant.format)) is not None:
        return found
    hub.refuse_offline(f"hf:{reference.repo}")
    place = RepoStore.of(store, reference.repo)
    place.root.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock

    with FileLock(place.root / ".lock"):
        if (found := here(store, reference, wanted, variant.format)) is not None:
            return found
        repository = hub.describe(reference.repo, reference.revision)
        names = select(repository.files, wanted, variant.format)
        _compare_promises(variant, repository, names)
        _bring(place, repository, names, revision=reference.revision, on_progress=on_progress, patience=patience)
        return variant_path(place.folder(repository.commit), names, variant.format)


def wanted_files(variant: ModelVariant, reference: HubReference, store: Path) -> tuple[str, ...]:
    """Names (or patterns) of a variant's files in its repository, the projector last; empty where none is named."""
    wanted = variant.files or ((reference.file,) if reference.file else ())
    seeing = None if variant.projector is None else repository_name(variant.projector.path, store)
    return (*wanted, seeing) if wanted and seeing else wanted


def _bring(
    place: RepoStore,
    repository: Repository,
    names: Sequence[str],
    *,
    revision: str | None,
    on_progress: Callable[[Progress], None],
    patience: Patience,
) -> None:
    """Download what is missing, file by file; each one moves into place and into the manifest when verified."""
    known = place.find(repository.commit)
    files = [file for file in repository.files if file.name in set(names)]
    missing = [file for file in files if known is None or not place.complete(known, [file.name])]
    missing.sort(key=lambda file: not is_projector(file.name))
    partials = {file.name: _partial_path(place, repository.commit, file.name) for file in missing}
    here_bytes = sum(path.stat().st_size for path in partials.values() if path.is_file())
    _check_space(place.root, sum(file.size for file in missing) - here_bytes)
    done = sum(file.size for file in files if file.name not in partials) + here_bytes
    meter = Meter(total_bytes=sum(file.size for file in files), done_bytes=done, report=on_progress)
    place.record(repository, revision, {})
    with HubFiles(repository.repo, repository.commit) as connection:
        for file in missing:
            meter.begin(printable(file.name))
            sha256 = download(connection, file, partials[file.name], on_bytes=meter.add, patience=patience)
            _move_in(partials[file.name], place.folder(repository.commit), file.name)
            place.record(repository, revision, {file.name: sha256})


def _compare_promises(variant: ModelVariant, repository: Repository, names: Sequence[str]) -> None:
    """A plan made earlier may hold hashes; the hub must still promise the same ones."""
    promised = {file.name: file.sha256 for file in repository.files}
    for name, sha256 in zip(names, variant.sha256, strict=False):
        if sha256 and promised[name] not in {None, sha256}:
            raise VerificationError(
                f"{printable(name)}: the plan expects sha256 {printable(sha256)}, the hub has {promised[name]}",
                hint="the model changed on the hub: make the plan again",
            )


def missing_bytes(variant: ModelVariant, size_bytes: int, store: Path) -> int:
    """What of `size_bytes` is not on this machine yet: files that were verified and parts of others are here."""
    reference = parse_reference(variant.source)
    if not isinstance(reference, HubReference):
        return 0
    wanted = wanted_files(variant, reference, store)
    if here(store, reference, wanted, variant.format) is not None:
        return 0
    place = RepoStore.of(store, reference.repo)
    manifest = place.find(reference.revision)
    files = () if manifest is None else manifest.repository.files
    found = sum(
        file.size for file in files if manifest and file.name in wanted and place.complete(manifest, (file.name,))
    )
    partial = sum(path.stat().st_size for path in (place.root / "partial").glob("*") if path.is_file())
    return max(size_bytes - found - partial, 0)


def _partial_path(place: RepoStore, commit: str, name: str) -> Path:
    folder = place.root / "partial"
    folder.mkdir(exist_ok=True)
    return folder / f"{commit}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _check_space(folder: Path, missing_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing_bytes + RESERVE_BYTES > free:
        raise PreconditionError(
            f"{folder} has {free >> 20} MiB free; the model needs {missing_bytes >> 20} MiB more"
            f" and {RESERVE_BYTES >> 20} MiB are kept free",
            hint="free space there, or move the store with DEPLOYER_HOME",
        )


def _move_in(partial: Path, folder: Path, name: str) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink() or target.parent.resolve() != folder.resolve() / Path(name).parent:
        raise PreconditionError(f"{folder} has links in it", hint="remove them: the store holds plain files only")
    partial.replace(target)
    sync_folder(target.parent)
