"""The folder of downloaded models: `hub/<org>--<repo>/<commit>/…`, with a manifest beside each commit's folder.

A file appears in a commit's folder only after its hash was checked; partial downloads live in `partial/`.
"""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.errors import HubError, StateError
from deployer.types._value import FORMAT_VERSION, Value

_COMMIT = re.compile(r"[0-9a-f]{40}")


class RepoFile(Value, frozen=True, kw_only=True):
    """A file of a repository: `sha256` for large files, `git_oid` (SHA-1 of the git blob) for all."""

    name: str
    size: int
    sha256: str | None = None
    git_oid: str | None = None


class Repository(Value, frozen=True, kw_only=True):
    """What the hub said of one commit. File names were checked for safety."""

    repo: str
    commit: str
    files: tuple[RepoFile, ...]
    gated: bool = False
    license: str | None = None


class Manifest(Value, frozen=True, kw_only=True):
    """What is here of one commit: `verified` maps file names to the sha256 of what lies in the folder."""

    format_version: int = FORMAT_VERSION
    repository: Repository
    revisions: tuple[str, ...] = ()
    verified: dict[str, str] = {}


class RepoStore(msgspec.Struct, frozen=True):
    """The part of the store that belongs to one repository."""

    root: Path

    @classmethod
    def of(cls, store: Path, repo: str) -> "RepoStore":
        """Where `org/repo` is kept; nothing is created."""
        return cls(store / "hub" / repo.replace("/", "--"))

    def folder(self, commit: str) -> Path:
        """Folder of the finished files of one commit."""
        if not _COMMIT.fullmatch(commit):
            raise HubError("the hub named a commit that is no commit", hint="check HF_ENDPOINT")
        return self.root / commit

    def manifests(self) -> list[Manifest]:
        """All manifests, newest first. Raises StateError for one that cannot be read."""
        paths = [path for path in self.root.glob("*.json") if _COMMIT.fullmatch(path.stem)]
        return [_load(path) for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)]

    def find(self, revision: str | None) -> Manifest | None:
        """Newest manifest for a branch, tag or commit.

        None stands for the main branch: what was fetched as `main`, or by a commit that no other branch named.
        """
        return next((found for found in self.manifests() if _answers(found, revision)), None)

    def complete(self, manifest: Manifest, names: Sequence[str]) -> bool:
        """True when every named file was verified and still has its size."""
        sizes = {file.name: file.size for file in manifest.repository.files}
        folder = self.folder(manifest.repository.commit)
        return bool(names) and all(
            name in manifest.verified and _regular_size(folder / name) == sizes.get(name, -1) for name in names
        )

    def record(self, repository: Repository, revision: str | None, verified: dict[str, str]) -> None:
        """Add verified files to the manifest, atomically."""
        path = self.root / f"{repository.commit}.json"
        old = _load(path) if path.exists() else Manifest(repository=repository)
        manifest = Manifest(
            repository=repository,
            revisions=tuple(sorted({*old.revisions, revision or "main"})),
            verified={**old.verified, **verified},
        )
        write_atomically(path, msgspec.json.format(msgspec.json.encode(manifest)))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    import tempfile

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _answers(manifest: Manifest, revision: str | None) -> bool:
    if revision is not None:
        return revision == manifest.repository.commit or revision in manifest.revisions
    return "main" in manifest.revisions or all(_COMMIT.fullmatch(name) for name in manifest.revisions)


def _regular_size(path: Path) -> int | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _load(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise StateError(
            f"{path}: cannot be read as a manifest of downloaded files: {error}", hint=f"rm {path}, then fetch again"
        ) from error
