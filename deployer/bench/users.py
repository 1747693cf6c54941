"""Concurrent users: a closed loop, each user asks again when answered."""

from collections.abc import Callable, Sequence

import msgspec

from deployer.bench.batch import too_many_errors
from deployer.bench.definitions import ERRORS_STOP, KNEE
from deployer.bench.drive import Heard
from deployer.bench.reply import Reply, answered, tally
from deployer.bench.schedule import levels
from deployer.bench.session import Session
from deployer.bench.spread import rate, rounded, spread
from deployer.types.benchmark import Slo, UsersPoint, UsersResult

_ASKING = 0.8
"""Part of a level's time in which new requests are sent; the rest is for those under way."""
_LEAST_WINDOW = 0.25
"""Part of that time which has to be left after the beginning and end are cut; else nothing is cut."""
_PARTS = 5
_STEADY = 0.75


class Window(msgspec.Struct, frozen=True):
    """What counts of a level, by the clock; `cut` when beginning and end were left out."""

    begin_s: float
    end_s: float
    cut: bool

    @property
    def seconds(self) -> float:
        """Its length."""
        return max(self.end_s - self.begin_s, 1e-9)

    def has(self, moment_s: float) -> bool:
        """True for a moment inside."""
        return self.begin_s <= moment_s <= self.end_s


def users(session: Session, keep: Callable[[UsersResult], None]) -> None:
    """1, 2, 4, 8 ... users, each number for its share of the time. `keep` gets the result, also of a part."""
    began_s = session.begin(session.load.seconds)
    points: list[UsersPoint] = []
    stopped = None
    counts = levels(session.load.users)
    try:
        for number, count in enumerate(counts):
            if session.left_s <= 0:
                stopped = f"the time was up before {count} users"
                break
            points.append(_level(session, count, session.left_s / (len(counts) - number)))
            stopped = _why_stop(points[-1])
            if stopped is not None:
                break
    finally:
        keep(UsersResult(took_s=session.since(began_s), points=tuple(points), knee=knee(points), stopped=stopped))


def knee(points: Sequence[UsersPoint]) -> int | None:
    """The fewest users that reach 90 % of the highest throughput.

    None where the most users still bring more, and where a throughput is known to no better than a quarter.
    """
    rates = [(one.users, one.output_tokens_per_s) for one in points if one.output_tokens_per_s.mean is not None]
    if any(found.mean is None or found.low is None or found.low < _STEADY * found.mean for _, found in rates):
        return None
    known = [(count, found.mean or 0.0) for count, found in rates]
    best = max((mean for _, mean in known), default=0.0)
    found = next((count for count, mean in known if mean >= KNEE * best), None)
    return None if not known or found == known[-1][0] else found


def level(count: int, heard: Sequence[Heard], asked_until_s: float, slo: Slo) -> UsersPoint:
    """The figures of one number of users. `asked_until_s`: when the last new request could be sent."""
    replies = [one.reply for one in heard]
    window = window_of(count, heard, asked_until_s)
    good = [reply for reply in answered(replies) if window.has(reply.ended_s)]
    timed = _timed(count, heard, window)
    kept = [reply for reply in good if keeps(reply, slo)]
    tokens = _token_times(replies)
    width_s = window.seconds / _PARTS
    parts = [
        sum(weight for at_s, weight in tokens if begin_s <= at_s < begin_s + width_s) / width_s
        for begin_s in (window.begin_s + part * width_s for part in range(_PARTS))
    ]
    made = rate(parts) if good or tokens else rate(())
    return UsersPoint(
        users=count,
        tally=tally(replies),
        window_s=round(window.seconds, 3),
        cut=window.cut,
        output_tokens_per_s=made,
        tokens_per_s_per_user=None if made.mean is None else rounded(made.mean / count),
        requests_per_s=rounded(len(good) / window.seconds) if good else None,
        goodput_per_s=rounded(len(kept) / window.seconds) if good else None,
        ttft_s=spread(reply.ttft_s for reply in timed),
        tpot_s=spread(reply.tpot_s for reply in timed),
    )


def keeps(reply: Reply, slo: Slo) -> bool:
    """True for an answer that keeps the promise; an answer of one token has no TPOT to keep."""
    return reply.ttft_s * 1000 <= slo.ttft_ms and (reply.tpot_s or 0.0) * 1000 <= slo.tpot_ms


def window_of(count: int, heard: Sequence[Heard], asked_until_s: float) -> Window:
    """From the moment at which every user had a first token to that of the last new request, where that is enough."""
    replies = [one.reply for one in heard]
    first: dict[int, float] = {}
    for one in heard:
        if one.reply.pieces_s:
            moment_s = one.reply.sent_s + one.reply.ttft_s
            first[one.user] = min(first.get(one.user, moment_s), moment_s)
    sent_s = min((reply.sent_s for reply in replies), default=asked_until_s)
    steady_s = max(first.values(), default=asked_until_s)
    enough = (asked_until_s - steady_s) >= _LEAST_WINDOW * (asked_until_s - sent_s) and asked_until_s > sent_s
    if len(first) == count and enough:
        return Window(steady_s, asked_until_s, cut=True)
    last_s = max((reply.ended_s for reply in replies if reply.pieces_s), default=asked_until_s)
    return Window(sent_s, max(last_s, sent_s), cut=False)


def _timed(count: int, heard: Sequence[Heard], window: Window) -> list[Reply]:
    """Answers for TTFT and TPOT: without each user's first, where all users start together, if enough are left."""
    asked: set[int] = set()
    later = []
    for one in sorted(heard, key=lambda item: item.reply.sent_s):
        if one.user in asked and one.reply.answered:
            later.append(one.reply)
        asked.add(one.user)
    return later if window.cut and len(later) >= count else list(answered(one.reply for one in heard))


def _token_times(replies: Sequence[Reply]) -> list[tuple[float, float]]:
    """When tokens came, by the clock: a piece is its part of its answer's tokens, the mean for cut answers."""
    good = answered(replies)
    pieces = sum(len(reply.pieces_s) for reply in good)
    mean = sum(reply.output_tokens or 0 for reply in good) / pieces if pieces else 0.0
    found = []
    for reply in replies:
        if reply.answered:
            weight = (reply.output_tokens or 0) / len(reply.pieces_s)
        else:
            weight = mean if reply.unfinished else 0.0
        found += [(reply.sent_s + at_s, weight) for at_s in reply.pieces_s if weight]
    return found


def _level(session: Session, count: int, share_s: float) -> UsersPoint:
    asked_until_s = session.clock() + share_s * _ASKING
    heard: list[Heard] = []
    for one in session.many(count, session.until(asked_until_s)):
        heard.append(one)
        session.tell(f"users: {count} at once, {len(heard)} requests")
    return level(count, heard, asked_until_s, session.load.slo)


def _why_stop(point: UsersPoint) -> str | None:
    if too_many_errors(point.tally):
        return f"more than {ERRORS_STOP:.0%} of the requests failed with {point.users} users"
    if point.tally.answered == 0:
        return f"no answer ended in time with {point.users} users"
    return None
