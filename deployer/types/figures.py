"""Figures of a measurement as people read them."""

ENOUGH_FOR_P99 = 100
"""Fewer values have no 99th percentile worth the name."""

NOTHING = "-"
_THREE_DIGITS = 100


def figure(value: float | None) -> str:
    """Return a number in three digits, with no more decimals than that takes."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if abs(value) >= _THREE_DIGITS else f"{value:.3g}"
