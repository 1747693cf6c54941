"""Where the bytes of a model file come from: a local file, or memory. Reading over HTTP is in `remote.py`."""

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from deployer.errors import BadInputError
from deployer.models.names import printable


class ByteSource(Protocol):
    """Random access to `size` bytes; `label` names them in messages and is safe to print."""

    @property
    def label(self) -> str:
        """What to call this source in a message."""
        ...

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end."""
        ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes, label: str = "memory") -> None:
        self.label = printable(label)
        self.size = len(data)
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        """See ByteSource."""
        return self._data[offset : offset + length]


class FileSource:
    """A regular file, read by position. Raises BadInputError when it cannot be opened or is no regular file."""

    def __init__(self, path: Path) -> None:
        self.label = printable(str(path), 200)
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BadInputError(
                f"{self.label}: cannot be read: {error.strerror}", hint="give an existing file"
            ) from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise BadInputError(f"{self.label}: is not a regular file", hint="give a .gguf file or a model folder")
        self.size = status.st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """See ByteSource."""
        return os.pread(self._descriptor, length, offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
