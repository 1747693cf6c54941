"""Latency against the length of the prompt."""

import statistics
from collections.abc import Callable, Sequence

from deployer.bench.reply import Reply, answered, tally
from deployer.bench.schedule import lengths
from deployer.bench.session import Session
from deployer.bench.spread import spread
from deployer.types.benchmark import PromptPoint, PromptResult

MOST_REPETITIONS = 10
UNKNOWN_CONTEXT = 2048
_GROWTH = 2.5
"""A prompt of twice the length may take this much longer."""


def prompt_length(session: Session, keep: Callable[[PromptResult], None]) -> None:
    """Every length once from short to long, then again and again in random order, while another one fits.

    `keep` gets the result, also of a part when interrupted.
    """
    began_s = session.begin(session.load.seconds)
    sweep = _Sweep(session)
    try:
        sweep.first_round()
        while sweep.another_round():
            pass
    finally:
        keep(sweep.result(session.since(began_s)))


def point(wanted: int, heard: Sequence[Reply]) -> PromptPoint:
    """The figures of one length."""
    good = answered(heard)
    cached = [reply.cached_tokens for reply in good if reply.cached_tokens is not None]
    counted = [reply.prompt_tokens for reply in good if reply.prompt_tokens is not None]
    return PromptPoint(
        wanted_tokens=wanted,
        prompt_tokens=statistics.median(counted) if counted else None,
        cached_tokens=statistics.median(cached) if cached else None,
        tally=tally(heard),
        ttft_s=spread(reply.ttft_s for reply in good),
        prefill_tokens_per_s=spread(reply.prefill_tokens_per_s for reply in good),
    )


class _Sweep:
    """The replies by length, and how long each length takes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        shortest = session.prompts.sizing.shortest_tokens
        context = session.load.context or UNKNOWN_CONTEXT
        found = lengths(context, session.load.prompt_output_tokens)
        self._lengths = [length for length in found if length >= shortest]
        self._heard: dict[int, list[Reply]] = {}
        self._took_s: dict[int, float] = {}
        self._stopped = None if session.load.context else f"it does not tell its context: {context} tokens were assumed"
        if not self._lengths:
            self._stopped = f"no prompt fits in its context of {context} tokens"

    def first_round(self) -> None:
        """Short to long, as far as the time or the server allows."""
        expected_s = 0.0
        for length in list(self._lengths):
            if self._session.left_s <= expected_s:
                self._leave_out(length, f"the time was up before a prompt of {length} tokens")
                return
            reply = self._ask(length)
            if not reply.answered:
                why = "did not end in time" if reply.unfinished else f"failed: {reply.fault}"
                self._leave_out(length, f"a prompt of {length} tokens {why}")
                return
            expected_s = self._took_s[length] * _GROWTH

    def another_round(self) -> bool:
        """All lengths that still fit, in random order; False when none was asked."""
        asked = 0
        for length in self._session.prompts.shuffled(self._lengths):
            enough = len(self._heard[length]) >= MOST_REPETITIONS
            if not enough and self._took_s[length] < self._session.left_s:
                self._ask(length)
                asked += 1
        return asked > 0

    def result(self, took_s: float) -> PromptResult:
        """Figures of all lengths that were tried."""
        points = tuple(point(length, self._heard[length]) for length in sorted(self._heard))
        return PromptResult(took_s=took_s, points=points, stopped=self._stopped)

    def _ask(self, length: int) -> Reply:
        session = self._session
        began_s = session.clock()
        reply = session.one(session.prompts.question(length, session.load.prompt_output_tokens))
        self._heard.setdefault(length, []).append(reply)
        self._took_s[length] = max(self._took_s.get(length, 0.0), session.clock() - began_s)
        session.tell(f"prompt: {length} tokens, {len(self._heard[length])} of at most {MOST_REPETITIONS} times")
        return reply

    def _leave_out(self, first: int, why: str) -> None:
        self._stopped = why
        self._lengths = [length for length in self._lengths if length < first]
