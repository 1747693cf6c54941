"""One file from the hub to this machine: goes on where it stopped, gives up on a stall, and is checked by hash.

huggingface_hub 2.4.0 throws a partial file away when its process ends, so the transfer is ours.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from deployer.errors import HubError, PreconditionError, VerificationError
from deployer.models import hub
from deployer.models.hub_files import HubFiles, InterruptedTransferError, ignores_ranges
from deployer.models.names import printable
from deployer.models.store import RepoFile

_CHUNK = 1 << 16
MAX_RETRY_WAIT_S = 30.0


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait: `stall_s` without a byte, then again up to `attempts` times without progress."""

    stall_s: float = 30.0
    attempts: int = 5
    retry_wait_s: float = 1.0


class Partial:
    """A file that is being filled, with the hash of what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(path, flags, 0o644), "r+b")
        self.sha256 = hashlib.sha256()
        self.size = 0
        while chunk := self._file.read(_CHUNK << 4):
            self.sha256.update(chunk)
            self.size += len(chunk)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Forget everything."""
        self._file.seek(0)
        self._file.truncate()
        self.sha256, self.size = hashlib.sha256(), 0

    def sync(self) -> None:
        """Bring the bytes to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def download(
    files: HubFiles, file: RepoFile, path: Path, *, on_bytes: Callable[[int], None], patience: Patience
) -> str:
    """Fill `path` with `file`, going on with what is there already; returns its sha256.

    `on_bytes` gets the number of bytes that arrive; a negative one when a partial file had to be thrown away.
    Raises HubError (refused, stalled, unreachable), PreconditionError (no space), VerificationError (wrong hash:
    the file is kept as `….rejected`).
    """
    try:
        with Partial(path) as partial:
            _Transfer(files, file, partial, on_bytes, patience).run()
            partial.sync()
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise PreconditionError(f"the disk is full: {path.parent}", hint="free space, then run this again") from error
    _verify(file, path, partial.sha256.hexdigest())
    return partial.sha256.hexdigest()


class _Transfer(msgspec.Struct, frozen=True):
    """One file on its way."""

    files: HubFiles
    file: RepoFile
    partial: Partial
    on_bytes: Callable[[int], None]
    patience: Patience

    def run(self) -> None:
        """Ask again after every interruption; an attempt that brought bytes starts the count anew."""
        failed, partial, size = 0, self.partial, self.file.size
        if partial.size > size:
            self._restart()
        while partial.size < size:
            before = partial.size
            try:
                self._attempt()
            except InterruptedTransferError as stop:
                failed = 1 if partial.size > before else failed + 1
                if failed >= self.patience.attempts:
                    raise HubError(
                        f"{printable(self.file.name)}: {stop}; stopped at {partial.size} of {size} bytes",
                        hint="run this again: it goes on from there",
                    ) from stop
                time.sleep(min(self.patience.retry_wait_s * 2 ** (failed - 1), MAX_RETRY_WAIT_S))

    def _attempt(self) -> None:
        import requests

        try:
            self._receive()
        except requests.exceptions.RequestException as error:
            # requests wraps a time-out while reading the body as ConnectionError, and a cut as ChunkedEncodingError.
            if "timed out" in str(error).lower():
                raise InterruptedTransferError(f"no byte came for {self.patience.stall_s:g} s") from None
            if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
                raise InterruptedTransferError(f"the connection to {hub.host()} broke or was refused") from None
            raise hub.unreachable(type(error).__name__) from None
        if self.partial.size < self.file.size:
            raise InterruptedTransferError("the transfer ended early")

    def _receive(self) -> None:
        with self.files.open(self.file.name, self.partial.size, timeout_s=self.patience.stall_s) as answer:
            if self.partial.size and ignores_ranges(answer):
                self._restart()
            for chunk in answer.iter_content(_CHUNK):
                if self.partial.size + len(chunk) > self.file.size:
                    raise HubError(
                        f"{printable(self.file.name)}: the hub sends more than the {self.file.size} bytes it promised",
                        hint="check HF_ENDPOINT and proxies",
                    )
                self.partial.append(chunk)
                self.on_bytes(len(chunk))

    def _restart(self) -> None:
        self.on_bytes(-self.partial.size)
        self.partial.restart()


def _verify(file: RepoFile, path: Path, sha256: str) -> None:
    """Compare with the hub's sha256, or with git's object id for small files that have none."""
    if file.sha256 is not None:
        kind, expected, found = "sha256", file.sha256, sha256
    elif file.git_oid is not None:
        kind, expected, found = "git object", file.git_oid, _git_oid(path, file.size)
    else:
        return
    if found == expected:
        return
    rejected = path.with_name(path.name + ".rejected")
    path.replace(rejected)
    raise VerificationError(
        f"{printable(file.name)}: the {kind} hash is {found}, the hub promises {printable(expected)};"
        f" the file was moved to {rejected}",
        hint="run this again; if it happens twice, the hub or a proxy on the way is not to be trusted",
        details={"file": file.name, "expected": expected, "found": found},
    )


def _git_oid(path: Path, size: int) -> str:
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
