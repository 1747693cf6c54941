"""The hashes of a served model's files: as they were verified when downloaded, else worked out where that is quick."""

import hashlib
from pathlib import Path

from deployer.errors import DeployerError
from deployer.models.store import RepoStore

MOST_BYTES = 2 * 1024**3
"""About two seconds of SHA-256."""


def hashes(path: Path, store: Path) -> dict[str, str]:
    """SHA-256 by file name; empty where they are neither known nor quick to work out. Never raises."""
    try:
        if path.is_relative_to(store / "hub"):
            return _verified(path, store / "hub")
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        if sum(file.stat().st_size for file in files) > MOST_BYTES:
            return {}
        return {(file.name if file == path else str(file.relative_to(path))): _sha256(file) for file in files}
    except (OSError, ValueError, DeployerError):
        return {}


def _verified(path: Path, hub: Path) -> dict[str, str]:
    """Of the manifest beside the commit's folder: all files of the folder, or the one that is served."""
    repository, commit, *rest = path.relative_to(hub).parts
    manifests = RepoStore(hub / repository).manifests()
    known = next((found.verified for found in manifests if found.repository.commit == commit), {})
    wanted = "/".join(rest)
    return {name: value for name, value in known.items() if not wanted or name == wanted}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
