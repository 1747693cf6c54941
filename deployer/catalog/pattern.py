"""What names and versions of hardware and software look like in profiles, and the checks that every table shares."""

import re
from collections.abc import Iterator, Mapping, Sequence

Problem = tuple[str, str]
"""Path in the file, and what is wrong there."""

CAPABILITY = re.compile(r"^[1-9]\d?\.\d$")
CODE = re.compile(r"^[1-9]\d?\.\d[af]?$")
"""Compute capability with the suffix of architecture-specific code, as in 12.0a."""
VERSION = re.compile(r"^\d+(\.\d+)*$")
RELEASE = re.compile(r"^(b\d{3,6}|\d+(\.\d+)+)$")
"""Version of an engine, or upstream build of llama.cpp."""
GFX = re.compile(r"^gfx[0-9a-f]{3,4}$")


def numbers(version: str) -> tuple[int, ...]:
    """`0.20.1` or `b11434` as numbers, for comparison; missing ones count as zero."""
    found = [int(part) for part in re.findall(r"\d+", version)]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def blanks(path: str, texts: Mapping[int, str] | Mapping[str, str], *, at_least_one: bool = False) -> Iterator[Problem]:
    """Texts without a word in them; none at all where one is needed."""
    if at_least_one and not texts:
        yield path, "empty"
    for key, text in texts.items():
        if not text.strip():
            yield f"{path}/{key}" if path else str(key), "empty"


def repeated(path: str, key: str, names: Sequence[str]) -> Iterator[Problem]:
    """Names that were there before."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            where = "/".join(part for part in (path, str(index), key) if part)
            yield where, f"{name!r} is already at {first[name]}"
