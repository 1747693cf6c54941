"""The charts of a comparison."""

from collections.abc import Callable, Iterable, Sequence

from deployer.bench.chart import Chart, Dot, Series, draw
from deployer.bench.compare import Group
from deployer.types.benchmark import BenchRun, Rate, Spread, UsersPoint

_MS = 1000.0


def charts(group: Group) -> tuple[Chart, ...]:
    """Those for which there is a point."""
    slo = f"TTFT {group.slo.ttft_ms:g} ms, TPOT {group.slo.tpot_ms:g} ms"
    percentile = _percentile(group)
    users, at_once = "users at once (closed loop)", "requests at once"
    drawn = (
        draw(
            "Time to first token by length of prompt", "prompt, tokens", "TTFT p50 (bar: p10 to p90), ms", _ttft(group)
        ),
        draw("Throughput by batch", at_once, "output tokens/s (bar: 95 %)", _series(group, _batch)),
        draw("Throughput by users", users, "output tokens/s (bar: 95 %)", _series(group, _throughput)),
        draw("Waiting by users", users, f"TTFT {percentile}, ms", _series(group, _of_users("ttft_s", percentile))),
        draw("Speed by users", users, f"TPOT {percentile}, ms", _series(group, _of_users("tpot_s", percentile))),
        draw(f"Goodput by users ({slo})", users, "requests/s within the SLO", _series(group, _goodput)),
    )
    return tuple(one for one in drawn if one is not None)


def _percentile(group: Group) -> str:
    """p99 where every number of users has enough requests for it, else p90."""
    points = [point for one in group.configurations for run in one.runs for point in _points(run)]
    return "p99" if points and all(point.ttft_s.p99 is not None for point in points) else "p90"


def _points(run: BenchRun) -> tuple[UsersPoint, ...]:
    return () if run.results.users is None else run.results.users.points


def _series(group: Group, read: Callable[[BenchRun], Iterable[Dot]]) -> Sequence[Series]:
    """The points of all runs of each configuration; those of several runs together where x is the same."""
    return [
        Series(one.number, _together([dot for run in one.runs for dot in read(run)])) for one in group.configurations
    ]


def _together(dots: Sequence[Dot]) -> tuple[Dot, ...]:
    """Mean of the runs at each x; the bar reaches from the lowest to the highest."""
    found: dict[float, list[Dot]] = {}
    for dot in dots:
        found.setdefault(dot.x, []).append(dot)
    return tuple(_mean(same) for same in found.values())


def _mean(same: Sequence[Dot]) -> Dot:
    if len(same) == 1:
        return same[0]
    edges = [value for dot in same for value in (dot.y, dot.low, dot.high) if value is not None]
    y = sum(dot.y for dot in same) / len(same)
    return Dot(same[0].x, y, min(edges), max(edges), f"{len(same)} runs: " + "; ".join(dot.note for dot in same))


def _ttft(group: Group) -> Sequence[Series]:
    def read(run: BenchRun) -> Iterable[Dot]:
        for point in run.results.prompt.points if run.results.prompt is not None else ():
            found = point.ttft_s
            if found.p50 is not None:
                low, high = _ms(found.p10), _ms(found.p90)
                yield Dot(float(point.wanted_tokens), found.p50 * _MS, low, high, f"n={found.n}")

    return _series(group, read)


def _batch(run: BenchRun) -> Iterable[Dot]:
    points = run.results.batch.points if run.results.batch is not None else ()
    return _rates((point.at_once, point.output_tokens_per_s) for point in points)


def _throughput(run: BenchRun) -> Iterable[Dot]:
    return _rates((point.users, point.output_tokens_per_s) for point in _points(run))


def _rates(found: Iterable[tuple[int, Rate]]) -> Iterable[Dot]:
    for count, rate in found:
        if rate.mean is not None:
            yield Dot(float(count), rate.mean, rate.low, rate.high, f"n={rate.n}")


def _of_users(word: str, percentile: str) -> Callable[[BenchRun], Iterable[Dot]]:
    def read(run: BenchRun) -> Iterable[Dot]:
        for point in _points(run):
            found: Spread = getattr(point, word)
            value: float | None = getattr(found, percentile)
            if value is not None:
                yield Dot(float(point.users), value * _MS, note=f"n={found.n}")

    return read


def _goodput(run: BenchRun) -> Iterable[Dot]:
    for point in _points(run):
        if point.goodput_per_s is not None:
            yield Dot(float(point.users), point.goodput_per_s, note=f"n={point.tally.answered}")


def _ms(value: float | None) -> float | None:
    return None if value is None else value * _MS
