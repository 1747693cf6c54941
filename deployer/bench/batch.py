"""Batches: N requests at once, and how much faster that is than one after the other."""

from collections.abc import Callable, Sequence

import msgspec

from deployer.bench.definitions import ERRORS_STOP
from deployer.bench.reply import Reply, answered, tally
from deployer.bench.schedule import levels
from deployer.bench.session import Session
from deployer.bench.spread import rate, rounded
from deployer.types.benchmark import BatchPoint, BatchResult, Tally

MOST_REPETITIONS = 5


def batch(session: Session, keep: Callable[[BatchResult], None]) -> None:
    """Try each size within its share of the time, five times at most. `keep` gets the result, also of a part."""
    began_s = session.begin(session.load.seconds)
    points: list[BatchPoint] = []
    stopped = None
    sizes = levels(session.load.batch_at_once)
    try:
        for number, size in enumerate(sizes):
            if session.left_s <= 0:
                stopped = f"the time was up before {size} at once"
                break
            points.append(_point(session, size, session.left_s / (len(sizes) - number)))
            if too_many_errors(points[-1].tally):
                stopped = f"more than {ERRORS_STOP:.0%} of the requests failed at {size} at once"
                break
    finally:
        keep(BatchResult(took_s=session.since(began_s), points=_with_speed_up(points), stopped=stopped))


def too_many_errors(found: Tally) -> bool:
    """More than 1 % of the requests that ended failed."""
    ended = found.answered + found.failed
    return found.failed > ERRORS_STOP * ended


def point(size: int, batches: Sequence[Sequence[Reply]]) -> BatchPoint:
    """The figures of the batches of one size; only a batch of which every request was answered has rates."""
    whole = [replies for replies in batches if replies and len(answered(replies)) == len(replies)]
    walls = [max(one.ended_s for one in replies) - min(one.sent_s for one in replies) for replies in whole]
    outputs = [sum(one.output_tokens or 0 for one in replies) for replies in whole]
    prompts = [sum(one.prompt_tokens or 0 for one in replies) for replies in whole]
    return BatchPoint(
        at_once=size,
        tally=tally(reply for replies in batches for reply in replies),
        wall_s=rate(walls),
        output_tokens_per_s=rate(tokens / wall for tokens, wall in zip(outputs, walls, strict=True)),
        total_tokens_per_s=rate((out + put) / wall for out, put, wall in zip(outputs, prompts, walls, strict=True)),
        requests_per_s=rate(size / wall for wall in walls),
    )


def _point(session: Session, size: int, share_s: float) -> BatchPoint:
    """Repeat while another one fits in the share; the first is always tried."""
    ends_s = session.clock() + share_s
    batches: list[list[Reply]] = []
    longest_s = 0.0
    while len(batches) < MOST_REPETITIONS and (not batches or session.clock() + longest_s <= ends_s):
        began_s = session.clock()
        questions = iter([session.standard() for _ in range(size)])
        batches.append([one.reply for one in session.many(size, questions)])
        longest_s = max(longest_s, session.clock() - began_s)
        session.tell(f"batch: {size} at once, {len(batches)} of at most {MOST_REPETITIONS} times")
    return point(size, batches)


def _with_speed_up(points: Sequence[BatchPoint]) -> tuple[BatchPoint, ...]:
    alone = points[0].output_tokens_per_s.mean if points and points[0].at_once == 1 else None
    return tuple(msgspec.structs.replace(one, speed_up=_ratio(one.output_tokens_per_s.mean, alone)) for one in points)


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else rounded(value / base)
