"""Percentiles, means, and how far chance alone can move them."""

import math
from collections.abc import Iterable, Sequence

from deployer.types.benchmark import Rate, Spread
from deployer.types.figures import ENOUGH_FOR_P99

_DIGITS = 7
_Z = 1.96
_TAIL = 0.025
_EXACT = 100
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t, two-sided 95 %, for 1 to 15 degrees of freedom; beyond them 2.12 is on the safe side up to 16."""
_T_BEYOND = 2.12


def spread(values: Iterable[float | None]) -> Spread:
    """Percentiles of the values that are known, rounded to seven digits."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return Spread(n=0)
    low, high = _median_interval(known)
    return Spread(
        n=len(known),
        p10=percentile(known, 10),
        p50=percentile(known, 50),
        p90=percentile(known, 90),
        p99=percentile(known, 99) if len(known) >= ENOUGH_FOR_P99 else None,
        low=low,
        high=high,
    )


def rate(values: Iterable[float | None]) -> Rate:
    """Mean, standard deviation and 95 % interval of the values that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return Rate(n=0)
    mean = sum(known) / len(known)
    if len(known) == 1:
        return Rate(n=1, mean=rounded(mean))
    sd = math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
    freedom = len(known) - 1
    half = (_T[freedom - 1] if freedom <= len(_T) else _T_BEYOND) * sd / math.sqrt(len(known))
    return Rate(n=len(known), mean=rounded(mean), sd=rounded(sd), low=rounded(mean - half), high=rounded(mean + half))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of ordered values (at least one), linear between the two nearest ranks."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return rounded(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def rounded(value: float) -> float:
    """Seven significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def _median_interval(ordered: Sequence[float]) -> tuple[float | None, float | None]:
    """Between the order statistics of rank j and n + 1 - j (Conover, Practical Nonparametric Statistics, 3.2)."""
    rank = _rank(len(ordered))
    return (rounded(ordered[rank - 1]), rounded(ordered[-rank])) if rank else (None, None)


def _rank(size: int) -> int:
    """The highest j for which fewer than j of n fair coins show heads with a chance of at most 2.5 %; 0: none."""
    if size > _EXACT:
        return math.floor((size - _Z * math.sqrt(size)) / 2)
    below = 0
    for rank in range(size + 1):
        below += math.comb(size, rank)
        if below > _TAIL * 2**size:
            return rank
    return 0
