"""The suites against servers of a known speed, on a clock that only they move."""

from typing import Any

import pytest

from deployer.bench import batch as batches
from deployer.bench.batch import batch
from deployer.bench.latency import latency
from deployer.bench.prompt_length import prompt_length
from deployer.bench.reply import Ask, Question, Reply, Stopped
from tests.unit.bench.runs import Clock, reading, reply, session


def test_latency_is_what_the_server_does() -> None:
    asked, clock = session()
    kept: list[Any] = []
    began_s = clock.now_s
    latency(asked, kept.append)
    (found,) = kept
    assert clock.now_s - began_s <= 20
    assert found.tally.answered == found.ttft_s.n == 26
    assert found.ttft_s.p50 == pytest.approx(0.128, abs=0.002)
    assert found.tpot_s.p50 == found.itl_s.p50 == pytest.approx(0.01)
    assert found.tokens_per_s.p50 == pytest.approx(100)
    assert found.prompt_tokens.p50 == 128
    assert (found.output_tokens_min, found.output_tokens_max, found.pieces_per_token) == (64, 64, 1.0)


def test_latency_of_a_fast_server_ends_with_enough_for_p99() -> None:
    asked, _ = session(lambda clock: reading(clock, decode_per_s=10_000, prefill_per_s=100_000))
    kept: list[Any] = []
    latency(asked, kept.append)
    assert kept[0].tally.asked == 100
    assert kept[0].ttft_s.p99 is not None
    assert kept[0].took_s < 2


def test_a_server_too_slow_for_the_time_is_cut_off_and_not_called_broken() -> None:
    asked, _ = session(lambda clock: reading(clock, decode_per_s=2))
    kept: list[Any] = []
    latency(asked, kept.append)
    assert (kept[0].tally.answered, kept[0].tally.unfinished, kept[0].tally.failed) == (0, 1, 0)
    assert kept[0].ttft_s.p50 is None


def test_prompts_of_all_lengths_are_asked_and_again() -> None:
    asked, _ = session(lambda clock: reading(clock, prefill_per_s=5000, decode_per_s=1000))
    kept: list[Any] = []
    prompt_length(asked, kept.append)
    (found,) = kept
    assert [point.wanted_tokens for point in found.points] == [128, 256, 512, 1024, 1975]
    assert [point.prompt_tokens for point in found.points] == [128, 256, 512, 1024, 1975]
    assert {point.ttft_s.n for point in found.points} == {10}
    assert found.points[-1].prefill_tokens_per_s.p50 == pytest.approx(5000, rel=0.01)
    assert found.stopped is None


def test_long_prompts_are_left_out_where_the_time_is_short() -> None:
    asked, clock = session(lambda clock: reading(clock, prefill_per_s=40, decode_per_s=1000))
    kept: list[Any] = []
    began_s = clock.now_s
    prompt_length(asked, kept.append)
    assert clock.now_s - began_s <= 20
    assert [point.wanted_tokens for point in kept[0].points] == [128, 256]
    assert kept[0].stopped == "the time was up before a prompt of 512 tokens"
    assert kept[0].points[0].ttft_s.n > 1


def test_a_prompt_that_is_refused_ends_the_sweep_and_is_counted() -> None:
    def limited(clock: Clock) -> Ask:
        serve = reading(clock, prefill_per_s=5000, decode_per_s=1000)

        def ask(question: Question, until_s: float, stopped: Stopped) -> Reply:
            if len(question.text.split()) > 600:
                return reply(clock.now_s, error="HTTP 400: too long")
            return serve(question, until_s, stopped)

        return ask

    asked, _ = session(limited)
    kept: list[Any] = []
    prompt_length(asked, kept.append)
    assert [point.wanted_tokens for point in kept[0].points] == [128, 256, 512, 1024]
    assert kept[0].points[-1].tally.failed == 1
    assert kept[0].stopped == "a prompt of 1024 tokens failed: HTTP 400: too long"


def test_an_unknown_context_is_assumed_and_said() -> None:
    asked, _ = session(lambda clock: reading(clock, prefill_per_s=50_000, decode_per_s=10_000), context=None)
    kept: list[Any] = []
    prompt_length(asked, kept.append)
    assert kept[0].stopped == "it does not tell its context: 2048 tokens were assumed"


def test_a_context_too_short_for_any_prompt_is_said() -> None:
    asked, _ = session(context=32)
    kept: list[Any] = []
    prompt_length(asked, kept.append)
    assert kept[0].points == ()
    assert "no prompt fits" in kept[0].stopped


def test_a_batch_is_as_long_as_from_the_first_request_to_the_last_chunk() -> None:
    one = [reply(10.0, ttft_s=0.5, gap_s=0.1, pieces=6), reply(10.2, ttft_s=0.8, gap_s=0.1, pieces=6)]
    found = batches.point(2, [one])
    assert found.wall_s.mean == pytest.approx(1.5)
    assert found.output_tokens_per_s.mean == pytest.approx(12 / 1.5)
    assert found.total_tokens_per_s.mean == pytest.approx((12 + 256) / 1.5)
    assert found.requests_per_s.mean == pytest.approx(2 / 1.5)


def test_a_batch_with_an_error_has_no_rate() -> None:
    found = batches.point(2, [[reply(), reply(error="HTTP 500")], [reply(), reply()]])
    assert (found.wall_s.n, found.tally.failed, found.tally.answered) == (1, 1, 3)


def test_batches_stop_where_requests_fail() -> None:
    calls = 0

    def failing(clock: Clock) -> Ask:
        serve = reading(clock)

        def ask(question: Question, until_s: float, stopped: Stopped) -> Reply:
            nonlocal calls
            calls += 1
            return reply(clock.now_s, error="HTTP 503") if calls > 10 else serve(question, until_s, stopped)

        return ask

    asked, _ = session(failing)
    kept: list[Any] = []
    batch(asked, kept.append)
    assert kept[0].stopped == "more than 1% of the requests failed at 2 at once"
    assert [point.at_once for point in kept[0].points] == [1, 2]
    assert kept[0].points[0].speed_up == 1.0


def test_what_was_measured_before_an_interruption_is_kept() -> None:
    def interrupted(clock: Clock) -> Ask:
        return reading(clock)

    asked, _ = session(interrupted)
    seen: list[str] = []

    def tell(text: str) -> None:
        seen.append(text)
        if len(seen) == 7:
            raise KeyboardInterrupt

    asked.tell = tell
    kept: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        latency(asked, kept.append)
    assert kept[0].tally.answered == 7


def test_the_warm_up_shows_how_the_server_counts() -> None:
    clock = Clock()
    asked, _ = session()
    first, heard = asked.warm_up()
    assert (first.error, len(heard)) == (None, 3)
    assert asked.standard().text.count(" ") + 1 <= 128
    assert clock.now_s == 1000.0


def test_a_warm_up_that_does_not_end_says_what_helps() -> None:
    asked, _ = session(lambda clock: reading(clock, decode_per_s=0.6))
    first, heard = asked.warm_up()
    assert first.ttft_s is not None
    assert first.error == (
        "the warm-up did not end in time (2 of 3 requests): --seconds gives more time, --output-tokens makes answers "
        "shorter"
    )
    assert len(heard) == 2


def test_a_server_that_fails_at_once_is_asked_no_more() -> None:
    count = 0

    def broken(clock: Clock) -> Ask:
        def ask(*_: object) -> Reply:
            nonlocal count
            count += 1
            return reply(output_tokens=None)

        return ask

    asked, _ = session(broken)
    count = 0
    first, _ = asked.warm_up()
    assert (first.error, count) == ("the answer has no token `usage`", 1)
