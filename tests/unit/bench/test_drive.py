import threading
import time
from collections.abc import Iterator

import pytest

from deployer.bench.drive import drive
from deployer.bench.reply import Question, Reply, Stopped
from tests.unit.bench.runs import reply


def questions(count: int) -> Iterator[Question]:
    return (Question(text=str(number), output_tokens=4) for number in range(count))


def test_every_question_is_asked_once_and_as_many_at_a_time_as_there_are_users() -> None:
    now, most, asked = 0, 0, []
    lock, four = threading.Lock(), threading.Barrier(4)

    def ask(question: Question, until_s: float, _: Stopped) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            asked.append(question.text)
        four.wait(60)
        with lock:
            now -= 1
        return reply()

    heard = list(drive(ask, 4, questions(20), 0.0))
    assert sorted(map(int, asked)) == list(range(20))
    assert (len(heard), most) == (20, 4)
    assert {one.user for one in heard} == {0, 1, 2, 3}


def test_more_users_than_questions_end_too() -> None:
    assert len(list(drive(lambda *_: reply(), 8, questions(3), 0.0))) == 3


def test_an_interruption_stops_everybody() -> None:
    ended, all_three = threading.Semaphore(0), threading.Barrier(3)

    def ask(question: Question, until_s: float, stopped: Stopped) -> Reply:
        if question.text in {"0", "1", "2"}:
            all_three.wait(60)
        while question.text != "0" and not stopped():
            time.sleep(0.005)
        ended.release()
        return reply()

    def interrupted() -> None:
        for _ in drive(ask, 3, questions(50), 0.0):
            raise KeyboardInterrupt

    before = {*threading.enumerate()}
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(ended.acquire(timeout=60) for _ in range(3))
    until = time.monotonic() + 60
    while {*threading.enumerate()} - before and time.monotonic() < until:
        time.sleep(0.01)
    assert not {*threading.enumerate()} - before
