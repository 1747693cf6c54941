"""Several users at once, a thread each: whoever is free takes the next question."""

import contextlib
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import msgspec

from deployer.bench.reply import Ask, Question, Reply

_LET_GO_S = 0.5


class Heard(msgspec.Struct, frozen=True):
    """Which user (from 0) got which reply."""

    user: int
    reply: Reply


def drive(ask: Ask, users: int, questions: Iterator[Question], until_s: float) -> Iterator[Heard]:
    """Yield replies as they come, until the questions run out; no request lasts beyond `until_s` of the clock.

    When the caller stops early (also by an interruption), nobody asks again, and who listens stops at the next piece.
    """
    heard: SimpleQueue[Heard | None] = SimpleQueue()
    stop, turn = threading.Event(), threading.Lock()

    def user(number: int) -> None:
        try:
            while not stop.is_set():
                with turn:
                    question = next(questions, None)
                if question is None:
                    return
                heard.put(Heard(number, ask(question, until_s, stop.is_set)))
        finally:
            heard.put(None)

    threads = [threading.Thread(target=user, args=(number,), daemon=True) for number in range(users)]
    try:
        for thread in threads:
            thread.start()
        yield from _until_all_left(heard, users)
    finally:
        stop.set()
        for thread in threads:
            with contextlib.suppress(RuntimeError):  # one that was never started
                thread.join(_LET_GO_S / users)


def _until_all_left(heard: "SimpleQueue[Heard | None]", users: int) -> Iterator[Heard]:
    while users:
        one = heard.get()
        if one is None:
            users -= 1
        else:
            yield one
