import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from deployer.bench.drive import Heard
from deployer.bench.reply import Question, Reply, Stopped
from deployer.bench.session import Session
from deployer.bench.spread import rate
from deployer.bench.users import keeps, knee, level, users, window_of
from deployer.types.benchmark import Slo, UsersPoint, UsersResult
from tests.unit.bench.runs import SLO, Clock, load, reply
from tests.unit.bench.runs import run as made


def loop(count: int, each: int, *, ttft_s: float = 0.1, gap_s: float = 0.1, pieces: int = 10) -> list[Heard]:
    """Users who ask again at once: an answer takes 1 s."""
    step_s = ttft_s + gap_s * (pieces - 1)
    return [
        Heard(user, reply(turn * step_s, ttft_s=ttft_s, gap_s=gap_s, pieces=pieces))
        for user in range(count)
        for turn in range(each)
    ]


def test_a_steady_loop_has_a_steady_rate() -> None:
    found = level(2, loop(2, 10), asked_until_s=9.0, slo=SLO)
    assert found.cut
    assert found.window_s == pytest.approx(8.9)
    assert found.output_tokens_per_s.mean == pytest.approx(20, rel=0.03)
    assert found.tokens_per_s_per_user == pytest.approx(10, rel=0.03)
    assert found.requests_per_s == pytest.approx(2, rel=0.15)
    assert found.ttft_s.n == 18


def test_goodput_counts_what_kept_both_promises() -> None:
    heard = loop(1, 10)
    late = [Heard(one.user, reply(one.reply.sent_s, ttft_s=0.3, gap_s=0.01)) for one in heard]
    assert level(1, heard, 9.0, Slo(ttft_ms=200, tpot_ms=150)).goodput_per_s == pytest.approx(1, rel=0.15)
    assert level(1, heard, 9.0, Slo(ttft_ms=200, tpot_ms=50)).goodput_per_s == 0
    assert level(1, late, 9.0, Slo(ttft_ms=200, tpot_ms=50)).goodput_per_s == 0
    assert keeps(reply(ttft_s=0.1, output_tokens=1), SLO)


def test_too_few_requests_are_not_cut_and_it_is_said() -> None:
    heard = loop(2, 1)
    assert not window_of(2, heard, asked_until_s=0.11).cut
    found = level(2, heard, asked_until_s=0.11, slo=SLO)
    assert not found.cut
    assert found.window_s == pytest.approx(1.0)
    assert found.output_tokens_per_s.mean == pytest.approx(20, rel=0.11)
    assert found.ttft_s.n == 2


def test_a_user_who_never_hears_anything_leaves_nothing_to_cut() -> None:
    heard = [*loop(1, 5), Heard(1, Reply(sent_s=0.0, unfinished=True))]
    found = level(2, heard, asked_until_s=5.0, slo=SLO)
    assert not found.cut
    assert (found.tally.answered, found.tally.unfinished) == (5, 1)


def test_pieces_of_a_cut_answer_count_until_the_cut() -> None:
    cut = Reply(sent_s=4.0, pieces_s=(0.1, 0.2, 0.3), unfinished=True)
    without = level(1, loop(1, 4), 3.9, SLO).output_tokens_per_s.mean
    found = level(1, [*loop(1, 4), Heard(0, cut)], 4.9, SLO).output_tokens_per_s
    assert without is not None
    assert found.mean == pytest.approx((39 + 3) / 4.8, rel=0.05)


def test_nothing_answered_has_no_figures() -> None:
    found = level(1, [Heard(0, reply(error="HTTP 500"))], 1.0, SLO)
    assert (found.output_tokens_per_s.n, found.requests_per_s, found.goodput_per_s) == (0, None, None)
    assert level(1, [], 1.0, SLO).tally.asked == 0


@pytest.mark.parametrize(
    ("speeds", "where"), [((100, 180, 190, 195), 2), ((100, 100, 100), 1), ((100, 200, 400), None), ((), None)]
)
def test_the_knee_is_where_more_users_bring_little(speeds: tuple[float, ...], where: int | None) -> None:
    assert knee([_point(1 << power, speed) for power, speed in enumerate(speeds)]) == where


def test_there_is_no_knee_within_noise() -> None:
    points = [_point(1, 100), _point(2, 101), _point(4, 102)]
    noisy = msgspec.structs.replace(points[0], output_tokens_per_s=rate([20.0, 180.0, 100.0]))
    assert knee(points) == 1
    assert knee([noisy, *points[1:]]) is None


def _point(count: int, speed: float) -> UsersPoint:
    users_result = made().results.users
    assert users_result is not None
    return msgspec.structs.replace(users_result.points[0], users=count, output_tokens_per_s=rate([speed] * 5))


class Queue(Clock):
    """A server that answers one at a time, who came first first: two tokens, each after 20 ms of its own clock.

    Its time stands still until every user who still asks has asked, so that no order of threads makes a difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asking, self._waiting = 0, list[int]()
        self._changed, self._numbers = threading.Condition(), itertools.count()

    def ask(self, question: Question, until_s: float, _: Stopped) -> Reply:
        with self._changed:
            number, sent_s = next(self._numbers), self.now_s
            self._waiting.append(number)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._is_next(number), timeout=60)
            self._waiting.remove(number)
            first_s, last_s = self.now_s + 0.02 - sent_s, self.now_s + 0.04 - sent_s
            self.now_s += 0.04
        return reply(sent_s, pieces_s=(first_s, last_s), last_s=last_s, output_tokens=2)

    def left(self) -> None:
        with self._changed:
            self.asking -= 1
            self._changed.notify_all()

    def _is_next(self, number: int) -> bool:
        return len(self._waiting) == self.asking and self._waiting[0] == number


class Queued(Session):
    """Tells the server how many users there are, and when one of them has no more questions."""

    def __init__(self, server: Queue, **changes: Any) -> None:
        super().__init__(load(**changes), server.ask, clock=server)
        self._server = server

    def many(self, users: int, questions: Iterator[Question]) -> Iterator[Heard]:
        self._server.asking = users
        return super().many(users, Leaving(questions, self._server.left))


class Leaving(Iterator[Question]):
    def __init__(self, questions: Iterator[Question], left: Callable[[], None]) -> None:
        self._questions, self._left = questions, left

    def __next__(self) -> Question:
        try:
            return next(self._questions)
        except StopIteration:
            self._left()
            raise


def test_users_wait_for_each_other_on_a_server_that_answers_one_at_a_time() -> None:
    kept: list[UsersResult] = []
    users(Queued(Queue(), seconds=3.0, users=4), kept.append)
    (found,) = kept
    one, two, four = found.points
    assert [one.users, two.users, four.users] == [1, 2, 4]
    assert found.knee == 1  # four ask for no more than one gets
    assert [point.ttft_s.p50 for point in found.points] == pytest.approx([0.02, 0.06, 0.14])
    assert found.took_s < 1.1 * 3.0


def test_users_stop_at_errors() -> None:
    kept: list[UsersResult] = []
    calls, clock = 0, Clock()

    def ask(question: Question, until_s: float, _: Stopped) -> Reply:
        nonlocal calls
        calls += 1
        clock.now_s += 0.005
        return reply(clock.now_s - 0.2, error="HTTP 429" if calls % 10 == 0 else None)

    users(Session(load(seconds=1.0, users=4), ask, clock=clock), kept.append)
    assert kept[0].stopped == "more than 1% of the requests failed with 1 users"
