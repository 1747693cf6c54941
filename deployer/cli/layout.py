"""Lines and tables in the columns of a terminal: what is too wide is wrapped, and nothing is cut."""

import re
import textwrap
from collections.abc import Iterator, Sequence

LAST_COLUMN = 24
"""With this much room left, the last column of a table is wrapped; with less, each row becomes a paragraph."""

_START = re.compile(r"\s*(?:[-!✓✗] )?(?:\S+(?: \S+)? {2,})?")
_GAP = "  "


def wrapped(line: str, width: int | None) -> list[str]:
    """The line in pieces of at most `width` columns, below each other where its text begins; None: no limit.

    A word that is longer (a path, a URL) stays whole: it is there to be copied.
    """
    if width is None or len(line) <= width:
        return [line]
    start = _START.match(line)
    hang = start.end() if start is not None else 0
    return _filled(line, width, hang if hang <= width // 2 else 4)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> Iterator[str]:
    """A plain table: upper-case header, two spaces between columns, no borders.

    Where it is wider than `width`, its last column is wrapped, or each row becomes a paragraph of `HEADER value`.
    """
    every = [header, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(header))]
    before = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    if width is None or before + widths[-1] <= width or before + LAST_COLUMN <= width:
        for row in every:
            line = _GAP.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
            yield from [line] if width is None or len(line) <= width else _filled(line, width, before)
        return
    for row in rows:
        yield row[0]
        yield from _paragraph(list(zip(header[1:], row[1:], strict=True)), width)


def _paragraph(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """`HEADER value` as many on a line as there is room for; one that is longer than a line is wrapped."""
    line = ""
    for word, value in pairs:
        item = f"{word} {value}"
        if line and len(line) + len(_GAP) + len(item) > width:
            yield line
            line = ""
        line = f"{line}{_GAP}{item}"
        if len(line) > width:
            yield from _filled(line, width, len(_GAP) + len(word) + 1)
            line = ""
    if line:
        yield line


def _filled(line: str, width: int, hang: int) -> list[str]:
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )
