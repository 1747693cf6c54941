"""What the hub was asked before: which commit a revision is, and the beginnings of files. A second plan asks nothing.

It lies below the repository's folder in the store: `asked/` holds a listing for each revision and, for each commit,
the bytes that were read. Nothing depends on it: what cannot be read is asked again, what cannot be written is left.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

import msgspec

from deployer.models import hub
from deployer.models.source import ByteSource
from deployer.models.store import Repository, RepoStore
from deployer.types._value import Value

LISTING_AGE_S = 3600.0
"""How long a branch may have moved before it is looked up again. A commit never moves."""

KEPT_BYTES = 32 << 20
"""Most that is kept of one file; larger headers than half of it have not been seen."""


class _Listing(Value, frozen=True, kw_only=True):
    asked_at: float
    repository: Repository


def describe(place: RepoStore, repo: str, revision: str | None) -> Repository:
    """Commit and files of a revision, asked within the last hour or now. Raises HubError."""
    path = place.root / "asked" / f"{_digest(revision or 'main')}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        found = msgspec.json.decode(path.read_bytes(), type=_Listing)
        fixed = found.repository.commit == revision
        if found.repository.repo == repo and (fixed or 0 <= time.time() - found.asked_at < LISTING_AGE_S):
            return found.repository
    repository = hub.describe(repo, revision)
    _keep(path, msgspec.json.encode(_Listing(asked_at=time.time(), repository=repository)))
    return repository


class KeptSource:
    """A source of one file of one commit that remembers what was read of it, over processes."""

    def __init__(self, source: ByteSource, place: RepoStore, commit: str, name: str) -> None:
        self.label, self.size = source.label, source.size
        self._source = source
        self._path = place.root / "asked" / commit / f"{_digest(name)}.msgpack"
        self._new = False
        self._read: dict[int, bytes] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._read = msgspec.msgpack.decode(self._path.read_bytes(), type=dict[int, bytes])

    def read_at(self, offset: int, length: int) -> bytes:
        """See ByteSource."""
        wanted = max(min(length, self.size - offset), 0)
        found = self._read.get(offset, b"")
        if len(found) < wanted:
            found = self._read[offset] = self._source.read_at(offset, wanted)
            self._new = True
        return found[:wanted]

    def keep(self) -> None:
        """Write down what was read, once the header proved sound."""
        if self._new and sum(map(len, self._read.values())) <= KEPT_BYTES:
            _keep(self._path, msgspec.msgpack.encode(self._read))


def _keep(path: Path, content: bytes) -> None:
    """Whole or not at all; a store that cannot be written keeps nothing."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
