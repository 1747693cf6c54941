"""Versions as numbers: drivers, CUDA toolkits and compute capabilities."""

import functools
import re


@functools.lru_cache(maxsize=1024)
def numbers(text: str) -> tuple[int, ...]:
    """`535.183.01` to `(535, 183, 1)`; text without a digit gives `()`."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def at_least(version: str, floor: str) -> bool:
    """True when `version` is the floor or newer; `570` is met by `570.86.15`."""
    return numbers(version) >= numbers(floor)


def newer_branch(version: str, branch: str) -> bool:
    """True when the major number of `version` is above that of `branch`: `590.44` against `580`."""
    return numbers(version)[:1] > numbers(branch)[:1]


def capability(text: str) -> tuple[int, int]:
    """Compute capability `8.6` or `12.0a` as numbers."""
    found = numbers(text)
    return (found[0], found[1] if len(found) > 1 else 0) if found else (0, 0)


Release = tuple[int, ...]
"""A version that can be compared: `(build,)` of llama.cpp, or a release's numbers and 1, or 0 for a preview of it."""

_BUILD = re.compile(r"(?:^|-)b(\d{3,6})\b")
_RELEASE = re.compile(r"^v?(\d+(?:\.\d+)+)(?:[-.]?(rc|a|b|alpha|beta|dev|pre)\.?\d*)?", re.IGNORECASE)
_PARTS = 4


@functools.lru_cache(maxsize=1024)
def release(text: str) -> Release | None:
    """A version of an engine, for comparison; None where it says nothing (`host`, `latest`).

    `b11434` and `0.7.0-b11669` are upstream builds of llama.cpp, which alone count; `v0.5.19-cu129` is 0.5.19, and
    `1.3.0rc13` comes before 1.3.0.
    """
    if build := _BUILD.search(text):
        return (int(build[1]),)
    if found := _RELEASE.match(text):
        parts = [int(part) for part in found[1].split(".")][:_PARTS]
        return (*parts, *[0] * (_PARTS - len(parts)), 0 if found[2] else 1)
    return None


def older(version: str, other: str) -> bool | None:
    """True when `version` came before `other`; None when they cannot be compared (unknown, or of different kinds)."""
    first, second = release(version), release(other)
    if first is None or second is None or len(first) != len(second):
        return None
    return first < second
