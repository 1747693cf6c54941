"""A position in a byte source that can only move forward, inside a bound, with a bounded buffer."""

import struct

from deployer.errors import ModelFileError
from deployer.models.source import ByteSource

HEADER_LIMIT = 64 << 20  # the largest header seen, 262,144 tokens with merges, is below 16 MiB
WINDOW = 1 << 20

_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from


class Cursor:
    """Reads a header piece by piece; every method raises ModelFileError instead of passing the end or the limit."""

    def __init__(self, source: ByteSource, *, limit: int = HEADER_LIMIT, window: int = WINDOW) -> None:
        self._source = source
        self._end = min(source.size, limit)
        self._window = window
        self._buffer = b""
        self._base = 0  # file offset of the buffer
        self._at = 0  # index in the buffer

    @property
    def position(self) -> int:
        """Offset in the file."""
        return self._base + self._at

    @property
    def remaining(self) -> int:
        """Bytes that may still be read."""
        return self._end - self.position

    def failure(self, reason: str) -> ModelFileError:
        """The error to raise, with the name of the file and the place in it."""
        return ModelFileError(
            f"{self._source.label}: {reason} (byte {self.position})",
            hint="download the file again, or get it from another source",
        )

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._need(count)
        start = self._at
        self._at += count
        return self._buffer[start : self._at]

    def u32(self) -> int:
        """Next unsigned 32-bit number, little endian."""
        self._need(4)
        value: int = _U32(self._buffer, self._at)[0]
        self._at += 4
        return value

    def u64(self) -> int:
        """Next unsigned 64-bit number, little endian."""
        self._need(8)
        value: int = _U64(self._buffer, self._at)[0]
        self._at += 8
        return value

    def skip(self, count: int) -> None:
        """Move on without reading."""
        if count > self.remaining:
            raise self._ended()
        self._at += count

    def skip_strings(self, count: int) -> None:
        """Move past `count` strings, each a 64-bit length and its bytes; about 50 ns a string."""
        if count > self.remaining // 8:
            raise self._ended()
        while count:
            self._need(8)
            buffer, at = self._buffer, self._at
            try:
                for left in range(count, 0, -1):
                    count = left
                    at += _U64(buffer, at)[0] + 8
                count = 0
            except (struct.error, OverflowError):
                pass  # the next length lies outside the buffer, or beyond any file
            if at > self._end - self._base:
                raise self._ended()
            self._at = at

    def _need(self, count: int) -> None:
        if self._at + count <= len(self._buffer):
            return
        if count > self.remaining:
            raise self._ended()
        self._base, self._at = self.position, 0
        self._buffer = self._source.read_at(self._base, max(count, min(self._window, self.remaining)))
        if len(self._buffer) < count:
            raise self._ended()

    def _ended(self) -> ModelFileError:
        if self._end < self._source.size:
            return self.failure(f"the header asks for more than {self._end >> 20} MiB")
        return self.failure("the file is cut short, or a length in its header is wrong")
