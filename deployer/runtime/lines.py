"""Text of other programs, made safe for a terminal and bounded in memory."""

import re
from collections.abc import Iterable, Iterator

LINE_LIMIT_BYTES = 16_384

# C0 but tab, DEL, C1, and the bidirectional overrides that reorder what a terminal shows.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def escape(text: str) -> str:
    r"""Return `text` with control characters written as `\xNN` or `\uNNNN`; tabs stay."""
    return _CONTROL.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - one byte


def split_lines(chunks: Iterable[bytes], limit: int = LINE_LIMIT_BYTES) -> Iterator[bytes]:
    """Yield lines without their end from chunks of any size; a line over `limit` bytes comes in pieces."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield from _pieces(line, limit)
        if len(rest) >= limit:
            *full, rest = _pieces(rest, limit)
            yield from full
    if rest:
        yield from _pieces(rest, limit)


def _pieces(line: bytes, limit: int) -> list[bytes]:
    line = line.removesuffix(b"\r")
    return [line[start : start + limit] for start in range(0, len(line), limit)] or [b""]


def readable(line: bytes) -> str:
    """Decode one line and escape it."""
    return escape(line.decode("utf-8", "replace"))
