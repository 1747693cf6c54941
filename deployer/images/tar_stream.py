"""Reading tar archives that may be hostile: headers only, in bounded memory, and nothing is ever unpacked.

Format: POSIX.1-2017 pax, ustar and pax headers; sizes in base 256 as GNU tar writes them. Python's tarfile would read
a header record of any length into memory.
"""

from collections.abc import Iterator
from typing import BinaryIO, Protocol

import msgspec

from deployer.errors import VerificationError

BLOCK = 512
MAX_MEMBERS = 4096
MAX_RECORD_BYTES = 64 * 1024
_FILE, _FOLDER, _EXTENDED = (b"0", b"\0"), b"5", b"x"
_LINKS = (b"1", b"2")
_NAME, _SIZE, _SUM, _KIND, _MAGIC, _PREFIX = (0, 100), (124, 136), (148, 156), 156, (257, 263), (345, 500)
_BASE_256 = 0x80
_DIGITS = 19
"""Of 2^63."""


class Readable(Protocol):
    """What is read forward."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        ...

    def skip(self, size: int, /) -> None:
        """Go on by so many bytes."""
        ...


class Member(msgspec.Struct, frozen=True):
    """One entry; `offset` is where its content begins in the archive. `is_link`: its content is elsewhere."""

    name: str
    size: int
    offset: int
    is_folder: bool = False
    is_link: bool = False


class Window:
    """A part of a file as a stream of its own."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._left = file, size
        file.seek(offset)

    def read(self, size: int, /) -> bytes:
        """See Readable."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data

    def skip(self, size: int, /) -> None:
        """See Readable."""
        self._file.seek(min(size, self._left), 1)
        self._left -= min(size, self._left)


def members(source: Readable, size: int) -> Iterator[tuple[Member, "Content"]]:
    """Every entry of an archive of `size` bytes, with its content to be read before the next is asked for.

    VerificationError for what is no archive of plain files and folders, is cut short, or has too much of anything.
    """
    position, renamed = 0, dict[str, str]()
    for _ in range(MAX_MEMBERS):
        if position + BLOCK > size:
            return
        header = source.read(BLOCK)
        position += BLOCK
        if len(header) < BLOCK:
            raise broken("it is cut short")
        if not any(header):
            return
        member = _member(header, position, renamed)
        padded = -(-member.size // BLOCK) * BLOCK
        if position + member.size > size:
            raise broken(f"{member.name!r} goes beyond the end")
        content = Content(source, member.size, padded)
        if header[_KIND : _KIND + 1] == _EXTENDED:
            renamed = _records(content, member.size)
        else:
            renamed = {}
            yield member, content
        content.skip()
        position += padded
    raise broken(f"it has more than {MAX_MEMBERS} entries")


class Content:
    """The bytes of one entry."""

    def __init__(self, source: Readable, size: int, padded: int) -> None:
        self._source, self._left, self._padding = source, size, padded - size

    def read(self, size: int, /) -> bytes:
        """See Readable. VerificationError when the archive ends before."""
        wanted = min(size, self._left)
        data = self._source.read(wanted)
        if len(data) < wanted:
            raise broken("it is cut short")
        self._left -= len(data)
        return data

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """All that is left."""
        while data := self.read(size):
            yield data

    def skip(self) -> None:
        """Read on to where the next entry begins."""
        self._source.skip(self._left + self._padding)
        self._left = self._padding = 0


def broken(reason: str) -> VerificationError:
    """The error for an archive that is not to be trusted."""
    return VerificationError(
        f"the archive cannot be used: {reason}", hint="export the image again, and copy the file anew"
    )


def _member(header: bytes, position: int, renamed: dict[str, str]) -> Member:
    unsigned = sum(header[: _SUM[0]]) + 8 * ord(" ") + sum(header[_SUM[1] :])
    if _number(header[slice(*_SUM)]) != unsigned:
        raise broken("a header is damaged")
    kind = header[_KIND : _KIND + 1]
    if kind not in (*_FILE, _FOLDER, _EXTENDED, *_LINKS):
        raise broken(f"an entry of kind {kind!r}, which no image has")
    prefix = _text(header[slice(*_PREFIX)]) if header[slice(*_MAGIC)] == b"ustar\0" else ""
    name = renamed.get("path") or "/".join(part for part in (prefix, _text(header[slice(*_NAME)])) if part)
    stated = renamed.get("size")
    size = _number(header[slice(*_SIZE)]) if stated is None else _decimal(stated)
    if name.startswith("/") or ".." in name.split("/") or not name.isprintable():
        raise broken("an entry has a name that leads out of its folder")
    link = kind in _LINKS
    return Member(name, 0 if kind == _FOLDER or link else size, position, kind == _FOLDER, link)


def _records(content: Content, size: int) -> dict[str, str]:
    """`length key=value` lines of an extended header."""
    if size > MAX_RECORD_BYTES:
        raise broken(f"a header of {size} bytes")
    data, found = content.read(size), dict[str, str]()
    while data:
        length = _decimal(data.partition(b" ")[0].decode("ascii", "replace"))
        if not 0 < length <= len(data):
            raise broken("a header is damaged")
        key, _, value = data[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[length:]
    return found


def _number(field: bytes) -> int:
    if field[0] & _BASE_256:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b"\0 ")
    if not all(digit in b"01234567" for digit in text):
        raise broken("a header is damaged")
    return int(text or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise broken("a header is damaged")
    return int(text)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
