"""What all suites share: the server to ask, the clock, the prompts, and the time that is left."""

import time
from collections.abc import Callable, Iterator

from deployer.bench.drive import Heard, drive
from deployer.bench.prompts import Prompts
from deployer.bench.reply import Ask, Question, Reply
from deployer.types.benchmark import BenchLoad, FirstRequest

WARM_UPS = 3
WARM_UP_LEAST_S = 120.0
"""The first request may load the model from a disk: it gets more time than a suite."""

_WARM_UP_WORDS = (96, 24, 24)
_SHORT = 16
_SHORTER = "--seconds gives more time, --output-tokens makes answers shorter"


class Session:
    """One run against one server. `tell` gets a few words of progress whenever a reply comes."""

    def __init__(
        self,
        load: BenchLoad,
        ask: Ask,
        *,
        clock: Callable[[], float] = time.perf_counter,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.load, self.clock, self.tell = load, clock, tell
        self.prompts = Prompts(load.seed)
        self._ask = ask
        self._ends_s = clock()

    def begin(self, seconds: float) -> float:
        """A suite begins: no request of it lasts longer than this. Returns the moment."""
        began_s = self.clock()
        self._ends_s = began_s + seconds
        return began_s

    @property
    def left_s(self) -> float:
        """Seconds until the suite's end."""
        return self._ends_s - self.clock()

    def since(self, began_s: float) -> float:
        """Seconds since a moment, to the millisecond."""
        return round(self.clock() - began_s, 3)

    def warm_up(self) -> tuple[FirstRequest, tuple[Reply, ...]]:
        """Three requests that do not count: they wake the server and show how it counts tokens."""
        self.begin(max(WARM_UP_LEAST_S, 3 * self.load.seconds))
        heard: list[Reply] = []
        for count in _WARM_UP_WORDS:
            output_tokens = min(self.load.output_tokens, _SHORT) if heard else self.load.output_tokens
            reply = self.one(self.prompts.of_words(count, output_tokens))
            heard.append(reply)
            if reply.prompt_tokens:
                self.prompts.sizing.learn(count, reply.prompt_tokens)
            if not reply.answered:
                break
            self.tell(f"warm-up: {len(heard)} of {WARM_UPS}")
        return self._first(heard), tuple(heard)

    def _first(self, heard: list[Reply]) -> FirstRequest:
        """The first of them; `error` where one of them was no answer."""
        first, last = heard[0], heard[-1]
        error = last.fault
        if last.unfinished:
            error = f"the warm-up did not end in time ({len(heard)} of {WARM_UPS} requests): {_SHORTER}"
        if not first.answered:
            return FirstRequest(error=error)
        return FirstRequest(ttft_s=round(first.ttft_s, 6), e2e_s=round(first.e2e_s, 6), error=error)

    def one(self, question: Question) -> Reply:
        """Ask one question, and wait for its end."""
        (heard,) = self.many(1, iter([question]))
        return heard.reply

    def many(self, users: int, questions: Iterator[Question]) -> Iterator[Heard]:
        """Ask all questions, so many at once."""
        return drive(self._ask, users, questions, self._ends_s)

    def standard(self) -> Question:
        """The next question of the length that all suites but `prompt` use."""
        return self.prompts.question(self.load.input_tokens, self.load.output_tokens)

    def until(self, end_s: float, most: int | None = None) -> Iterator[Question]:
        """Such questions until a moment of the clock, `most` of them at most."""
        count = 0
        while self.clock() < end_s and (most is None or count < most):
            count += 1
            yield self.standard()
