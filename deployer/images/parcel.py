"""One file with an image and documents beside it: a plain tar, written and read in one go.

The image's archive comes first; its length is known only when it is written, and its header is filled in then.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from deployer.errors import BadInputError, PreconditionError
from deployer.images.tar_stream import BLOCK, Window, broken, members

IMAGE = "image.tar"
MAX_DOCUMENT_BYTES = 16 << 20
MAX_DOCUMENTS = 64


class Written(msgspec.Struct, frozen=True):
    """Length and sha256 (hex) of the image's archive in a file that was written."""

    size: int
    sha256: str


class Parcel(msgspec.Struct, frozen=True):
    """What a file holds: documents by name, and where the image's archive lies in it."""

    documents: dict[str, bytes]
    offset: int
    size: int


class Packing:
    """A file that is being written under a hidden name, and takes its own when it is whole.

    PreconditionError when the disk is full, BadInputError for a place that cannot be written otherwise.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")

    def __enter__(self) -> Self:
        with _writing(self._path):
            self._file = self._partial.open("x+b")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what could not be written was said before
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def image(self, chunks: Iterator[bytes]) -> Written:
        """Write the image's archive, and return what it was."""
        sha256, size = hashlib.sha256(), 0
        self._write(bytes(BLOCK))
        for chunk in chunks:
            self._write(chunk)
            sha256.update(chunk)
            size += len(chunk)
        self._write(bytes(-size % BLOCK))
        with _writing(self._path):
            self._file.seek(0)
            self._file.write(_header(IMAGE, size))
            self._file.seek(0, os.SEEK_END)
        return Written(size, sha256.hexdigest())

    def finish(self, documents: Mapping[str, bytes]) -> None:
        """Write the documents, bring all to the disk, and give the file its name."""
        for name, data in documents.items():
            self._write(_header(name, len(data)) + data + bytes(-len(data) % BLOCK))
        self._write(bytes(2 * BLOCK))
        with _writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._partial.replace(self._path)

    def _write(self, data: bytes) -> None:
        with _writing(self._path):
            self._file.write(data)


def read_parcel(file: BinaryIO) -> Parcel:
    """Find the image and read the documents. VerificationError for a file that is none, or holds anything else."""
    size = file.seek(0, os.SEEK_END)
    documents, image = dict[str, bytes](), None
    for member, content in members(Window(file, 0, size), size):
        if member.is_folder or member.is_link or member.name in documents or len(documents) >= MAX_DOCUMENTS:
            raise broken("it is no export of an image")
        if image is None:
            if member.name != IMAGE:
                raise broken("it is no export of an image")
            image = member
            continue
        if member.size > MAX_DOCUMENT_BYTES:
            raise broken(f"{member.name!r} has {member.size} bytes")
        documents[member.name] = content.read(member.size)
    if image is None:
        raise broken("it is no export of an image")
    return Parcel(documents, image.offset, image.size)


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.GNU_FORMAT)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = PreconditionError if error.errno in (errno.ENOSPC, errno.EDQUOT) else BadInputError
        raise kind(f"{path} cannot be written: {error.strerror}", hint="choose another place for the file") from error
