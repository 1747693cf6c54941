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
