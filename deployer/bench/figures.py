"""Every figure of a run as a flat row, for programs."""

from collections.abc import Iterator

import msgspec

from deployer.types.benchmark import (
    BatchPoint,
    BenchResults,
    LatencyResult,
    MemoryRow,
    PromptPoint,
    Rate,
    Spread,
    Suite,
    Tally,
    UsersPoint,
)


class Figure(msgspec.Struct, frozen=True):
    """One number: of which suite, at which point of it, with its interval and of how many values it is."""

    suite: Suite
    point: str
    metric: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None


def figures(results: BenchResults) -> Iterator[Figure]:
    """All of them, in the order of the suites."""
    if results.latency is not None:
        yield from _row("latency", "", results.latency)
    for batch in results.batch.points if results.batch is not None else ():
        yield from _row("batch", f"{batch.at_once} at once", batch)
    for prompt in results.prompt.points if results.prompt is not None else ():
        yield from _row("prompt", f"{prompt.wanted_tokens} tokens", prompt)
    for users in results.users.points if results.users is not None else ():
        yield from _row("users", f"{users.users} users", users)
    for memory in results.memory.devices if results.memory is not None else ():
        yield from _row("memory", memory.device, memory)


def _row(
    suite: Suite, point: str, found: LatencyResult | BatchPoint | PromptPoint | UsersPoint | MemoryRow
) -> Iterator[Figure]:
    answered = found.tally.answered if not isinstance(found, MemoryRow) else 1
    for word in found.__struct_fields__:
        value = getattr(found, word)
        if isinstance(value, Tally):
            for count in ("asked", "answered", "failed", "unfinished"):
                yield Figure(suite, point, count, getattr(value, count), value.asked)
        elif isinstance(value, Spread):
            for percentile in ("p10", "p50", "p90", "p99"):
                edges = (value.low, value.high) if percentile == "p50" else (None, None)
                yield Figure(suite, point, f"{word}.{percentile}", getattr(value, percentile), value.n, *edges)
        elif isinstance(value, Rate):
            yield Figure(suite, point, f"{word}.mean", value.mean, value.n, value.low, value.high)
            yield Figure(suite, point, f"{word}.sd", value.sd, value.n)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield Figure(suite, point, word, value, answered)
