"""One request and what came back, with the time of every piece."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from deployer.types.benchmark import Tally

_LONGEST_ERROR = 160
_MOST_ERRORS = 5
OTHER_ERRORS = "other errors"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, and how many tokens its answer is to have."""

    text: str
    output_tokens: int


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brought. Times are seconds; `sent_s` by the clock, all others since then.

    `pieces_s`: when each chunk with text came; `last_s`: the last chunk of any kind. `finished`: the stream had its
    end mark. `unfinished`: it was cut off by our own time limit. `error`: what the server or the way to it did wrong.
    """

    sent_s: float
    pieces_s: tuple[float, ...] = ()
    last_s: float | None = None
    finished: bool = False
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    unfinished: bool = False
    error: str | None = None

    @property
    def fault(self) -> str | None:
        """Why this is no answer that can be measured; None for a good one."""
        if self.error is not None:
            return "".join(letter if letter.isprintable() else " " for letter in self.error)[:_LONGEST_ERROR]
        if not self.finished:
            return "the stream ended without its end mark"
        if not self.pieces_s or self.last_s is None:
            return "the answer holds no text"
        if not self.prompt_tokens or not self.output_tokens:
            return "the answer has no token `usage`"
        return None

    @property
    def answered(self) -> bool:
        """True for an answer that can be measured."""
        return not self.unfinished and self.fault is None

    @property
    def ttft_s(self) -> float:
        """Time to the first token."""
        return self.pieces_s[0]

    @property
    def e2e_s(self) -> float:
        """Time to the last chunk."""
        return self.pieces_s[-1] if self.last_s is None else self.last_s

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Time between one piece and the next; with `ttft_s` and `tail_s` they make up `e2e_s`."""
        return tuple(later - earlier for earlier, later in zip(self.pieces_s, self.pieces_s[1:], strict=False))

    @property
    def tail_s(self) -> float:
        """Time from the last piece of text to the last chunk, which may say no more than why the answer ended."""
        return self.e2e_s - self.pieces_s[-1]

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first."""
        if self.output_tokens is None or self.output_tokens <= 1:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)

    @property
    def ended_s(self) -> float:
        """When the last chunk came, by the clock."""
        return self.sent_s + self.e2e_s

    @property
    def prefill_tokens_per_s(self) -> float | None:
        """Prompt tokens that were really read, over the time to the first token."""
        read = (self.prompt_tokens or 0) - (self.cached_tokens or 0)
        return read / self.ttft_s if read > 0 and self.ttft_s > 0 else None


Stopped: TypeAlias = Callable[[], bool]
Ask: TypeAlias = Callable[[Question, float, Stopped], Reply]
"""Ask, and wait no later than this moment of the clock, nor when told to stop. Never raises for what a server does."""


def answered(replies: Iterable[Reply]) -> tuple[Reply, ...]:
    """Those that can be measured."""
    return tuple(reply for reply in replies if reply.answered)


def tally(replies: Iterable[Reply]) -> Tally:
    """Count what became of the requests; of the errors the first five kinds by name."""
    heard = tuple(replies)
    errors: dict[str, int] = {}
    for reply in heard:
        if not reply.unfinished and reply.fault is not None:
            known = reply.fault in errors or len(errors) < _MOST_ERRORS
            word = reply.fault if known else OTHER_ERRORS
            errors[word] = errors.get(word, 0) + 1
    return Tally(
        asked=len(heard),
        answered=len(answered(heard)),
        failed=sum(errors.values()),
        unfinished=sum(reply.unfinished for reply in heard),
        errors=errors,
    )
