import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from deployer.bench.reply import OTHER_ERRORS, Reply, answered, tally
from tests.unit.bench.runs import reply

GAPS = some.lists(some.floats(0, 10), min_size=1, max_size=50)


@given(gaps=GAPS, tail_s=some.floats(0, 10))
def test_ttft_the_gaps_and_the_tail_are_the_whole_time(gaps: list[float], tail_s: float) -> None:
    moments = [sum(gaps[: count + 1]) for count in range(len(gaps))]
    found = Reply(sent_s=5.0, pieces_s=tuple(moments), last_s=moments[-1] + tail_s, finished=True)
    assert math.isclose(found.ttft_s + sum(found.gaps_s) + found.tail_s, found.e2e_s, abs_tol=1e-9)
    assert found.ended_s == 5.0 + found.e2e_s


def test_time_per_token_leaves_the_first_out() -> None:
    found = reply(ttft_s=0.05, gap_s=0.01, pieces=11)
    assert found.tpot_s == pytest.approx(0.01)
    assert reply(output_tokens=1).tpot_s is None


def test_tokens_come_from_usage_and_not_from_pieces() -> None:
    """Speculative decoding: several tokens in a piece."""
    found = reply(ttft_s=0.05, gap_s=0.03, pieces=11, output_tokens=31)
    assert found.tpot_s == pytest.approx(0.01)


def test_the_last_chunk_counts_though_it_holds_no_text() -> None:
    """The token that ends an answer has no text, and takes its time."""
    found = reply(ttft_s=0.05, gap_s=0.01, pieces=10, last_s=0.15, output_tokens=11)
    assert found.tpot_s == pytest.approx(0.01)
    assert found.tail_s == pytest.approx(0.01)


def test_what_came_from_the_cache_was_not_read() -> None:
    assert reply(ttft_s=0.1, prompt_tokens=120, cached_tokens=20).prefill_tokens_per_s == pytest.approx(1000)
    assert reply(prompt_tokens=20, cached_tokens=20).prefill_tokens_per_s is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"error": "HTTP 500: \x1b[31mno"}, "HTTP 500:  [31mno"),
        ({"finished": False}, "the stream ended without its end mark"),
        ({"pieces_s": ()}, "the answer holds no text"),
        ({"output_tokens": None}, "the answer has no token `usage`"),
        ({"prompt_tokens": 0}, "the answer has no token `usage`"),
    ],
)
def test_what_is_no_answer_says_why(changes: dict[str, Any], said: str) -> None:
    found = reply(**changes)
    assert not found.answered
    assert found.fault == said
    assert tally([found]).errors == {said: 1}


def test_errors_are_counted_apart_from_what_we_cut_off() -> None:
    found = tally([reply(), reply(error="a"), reply(error="a"), reply(unfinished=True, error="late")])
    assert (found.asked, found.answered, found.failed, found.unfinished) == (4, 1, 2, 1)
    assert found.errors == {"a": 2}
    assert len(answered([reply(), reply(error="a")])) == 1


def test_a_server_of_many_errors_is_still_counted() -> None:
    found = tally(reply(error=f"error {number}") for number in range(9))
    assert (found.failed, len(found.errors), found.errors[OTHER_ERRORS]) == (9, 6, 4)
