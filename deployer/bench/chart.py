"""Where everything of a line chart goes, in pixels of an SVG; a template only prints it."""

import math
from collections.abc import Sequence

import msgspec

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 46
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a00")
"""Okabe and Ito's, which people tell apart whatever colours they see; yellow is replaced by a darker one."""

DASHES = ("", "6 3", "2 3", "8 3 2 3")
_TICKS = 5
_LARGEST = 1e12


class Dot(msgspec.Struct, frozen=True):
    """One measured point: `low` to `high` is its interval or band, `note` what is said of it (n)."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""


class Series(msgspec.Struct, frozen=True):
    """The points of one configuration."""

    number: int
    dots: tuple[Dot, ...]


class Tick(msgspec.Struct, frozen=True):
    """A mark on an axis."""

    at: float
    text: str


class Marker(msgspec.Struct, frozen=True):
    """A drawn point, its error bar (`top` and `bottom` equal `y` without one), and its note."""

    x: float
    y: float
    top: float
    bottom: float
    note: str


class Line(msgspec.Struct, frozen=True):
    """A drawn series."""

    number: int
    colour: str
    dash: str
    points: str
    markers: tuple[Marker, ...]


class Chart(msgspec.Struct, frozen=True):
    """A drawn chart."""

    title: str
    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(title: str, x_title: str, y_title: str, series: Sequence[Series]) -> Chart | None:
    """Place the series on a logarithmic x axis (base 2) and a linear y axis from 0; None where there is no point."""
    kept = [Series(one.number, tuple(dot for dot in one.dots if _drawable(dot))) for one in series]
    kept = [one for one in kept if one.dots]
    if not kept:
        return None
    dots = [dot for one in kept for dot in one.dots]
    x_ticks = _doubling(min(dot.x for dot in dots), max(dot.x for dot in dots))
    y_ticks = _round_steps(max(max(dot.y, dot.high or 0.0) for dot in dots))
    place = _Place(x_ticks[0], x_ticks[-1], y_ticks[-1])
    return Chart(
        title=title,
        x_title=x_title,
        y_title=y_title,
        x_ticks=tuple(Tick(place.x(value), f"{value:g}") for value in x_ticks),
        y_ticks=tuple(Tick(place.y(value), f"{value:g}") for value in y_ticks),
        lines=tuple(_line(one, place) for one in kept),
    )


def colour(number: int) -> str:
    """Colour of a configuration (from 1)."""
    return COLOURS[(number - 1) % len(COLOURS)]


def dash(number: int) -> str:
    """Its pattern of dashes: another for each round of the colours."""
    return DASHES[(number - 1) // len(COLOURS) % len(DASHES)]


class _Place(msgspec.Struct, frozen=True):
    """From values to pixels."""

    first_x: float
    last_x: float
    last_y: float

    def x(self, value: float) -> float:
        span = math.log2(self.last_x / self.first_x)
        share = math.log2(value / self.first_x) / span if span else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        bottom = HEIGHT - BOTTOM
        return round(bottom - value / self.last_y * (bottom - TOP), 1)


def _drawable(dot: Dot) -> bool:
    known = [dot.x, dot.y, *(value for value in (dot.low, dot.high) if value is not None)]
    return 1 <= dot.x <= _LARGEST and dot.y >= 0 and all(abs(value) <= _LARGEST for value in known)


def _line(series: Series, place: _Place) -> Line:
    ordered = sorted(series.dots, key=lambda dot: dot.x)
    markers = tuple(
        Marker(
            x=place.x(dot.x),
            y=place.y(dot.y),
            top=place.y(dot.y if dot.high is None else dot.high),
            bottom=place.y(dot.y if dot.low is None else max(dot.low, 0.0)),
            note=dot.note,
        )
        for dot in ordered
    )
    points = " ".join(f"{marker.x:g},{marker.y:g}" for marker in markers)
    return Line(series.number, colour(series.number), dash(series.number), points, markers)


def _doubling(least: float, most: float) -> list[float]:
    """Powers of two from at or below the least to at or above the most."""
    first, last = math.floor(math.log2(least)), math.ceil(math.log2(most))
    return [2.0**power for power in range(first, last + 1)]


def _round_steps(most: float) -> list[float]:
    """0 and about five round steps, to at or above the most."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= raw * 0.999)
    return [round(step * count, 10) for count in range(math.ceil(most / step - 1e-9) + 1)]
