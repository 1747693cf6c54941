"""Our numbers against a real server of a known schedule, and against servers that do it wrong."""

import statistics
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deployer import health
from deployer.bench.latency import latency
from deployer.bench.reply import Question, Reply
from deployer.bench.session import Session
from deployer.types.benchmark import LatencyResult
from deployer.workflow.asking import Asking
from tests.unit.bench.runs import load
from tests.unit.bench.scheduled import GAP_S, ROUTE, TTFT_S, Scheduled, scheduled

WITHIN_S = 60.0


@pytest.fixture
def server() -> Iterator[Scheduled]:
    with scheduled() as one:
        yield one


def asking(server: Scheduled) -> Asking:
    return Asking(lambda: health.Client(server.url, server.key), "demo")


def asked(server: Scheduled, tokens: int = 20, within_s: float = WITHIN_S) -> Reply:
    return asking(server)(Question(text="one two", output_tokens=tokens), time.perf_counter() + within_s, lambda: False)


def test_the_schedule_of_one_answer_is_seen_as_it_was(server: Scheduled) -> None:
    """However slow the machine: a piece is seen after it was sent, and before the next one is, which waits for that."""
    server.taken, lines = threading.Semaphore(0), []

    def read() -> bool:
        lines.append(time.monotonic())
        assert server.taken is not None
        server.taken.release()
        return False

    began_s = time.monotonic()
    found = asking(server)(Question(text="one two", output_tokens=20), time.perf_counter() + WITHIN_S, read)
    assert (len(found.pieces_s), found.output_tokens) == (20, 20)
    sent_s = [server.began_s[0] + moment_s for moment_s in server.sent_s[0]]
    read_s = lines[2:-1:2][:20]  # a line of each event, after that of the role
    assert TTFT_S <= sent_s[0] - server.began_s[0] <= found.ttft_s <= read_s[0] - began_s
    for number, gap_s in enumerate(found.gaps_s):
        assert sent_s[number + 1] - read_s[number] <= gap_s <= read_s[number + 1] - sent_s[number]
    assert found.tpot_s is not None
    assert sent_s[-1] - read_s[0] <= found.tpot_s * 19 <= lines[-1] - sent_s[0]


def test_the_latency_suite_tells_the_schedule(server: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["deployer.bench.latency"], "MOST_REQUESTS", 8)
    kept: list[LatencyResult] = []
    ask, heard = asking(server), []

    def remembered(*question: Any) -> Reply:
        heard.append(ask(*question))
        return heard[-1]

    session = Session(load(seconds=600.0, output_tokens=16), remembered)
    session.warm_up()
    latency(session, kept.append)
    (found,) = kept
    seen = heard[3:]
    assert (found.tally.asked, found.tally.answered) == (8, 8)
    assert found.ttft_s.p50 == pytest.approx(statistics.median(reply.ttft_s for reply in seen), abs=1e-5)
    assert found.tpot_s.p50 == pytest.approx(statistics.median(reply.tpot_s or 0.0 for reply in seen), abs=1e-5)
    assert found.e2e_s.p50 == pytest.approx(statistics.median(reply.e2e_s for reply in seen), abs=1e-5)
    for reply, moments in zip(seen, server.sent_s[3:], strict=True):
        assert TTFT_S <= moments[0] <= reply.ttft_s
        assert TTFT_S + 15 * GAP_S <= moments[-1] <= reply.e2e_s
    assert found.prompt_tokens.p50 == 128
    assert found.pieces_per_token == 1.0


def test_every_request_asks_for_usage_a_fixed_length_and_no_chance(server: Scheduled) -> None:
    asked(server, 3)
    _, body, headers = server.requests[-1]
    assert body["stream_options"] == {"include_usage": True}
    assert (body["temperature"], body["seed"], body["max_tokens"], body["ignore_eos"]) == (0, 1, 3, True)
    assert headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("refused", "left"), [((), "ignore_eos"), (("ignore_eos",), "min_tokens"), (("ignore_eos", "min_tokens"), None)]
)
def test_a_field_that_is_refused_is_left_out_for_good(
    server: Scheduled, refused: tuple[str, ...], left: str | None
) -> None:
    server.refused = refused
    ask = asking(server)
    for _ in range(2):
        assert ask(Question(text="a", output_tokens=4), time.perf_counter() + WITHIN_S, lambda: False).answered
    assert ask.fixed_by == left
    assert len(server.requests) == 2 + len(refused)
    assert server.requests[-1][1].get("min_tokens") == (4 if left == "min_tokens" else None)


def test_a_later_refusal_says_nothing_about_the_field(server: Scheduled) -> None:
    ask = asking(server)
    question = Question(text="a", output_tokens=4)
    assert ask(question, time.perf_counter() + WITHIN_S, lambda: False).answered
    server.routes[ROUTE] = lambda handler: handler.reply(400, {"error": {"message": "the prompt is too long"}})
    late_s = time.perf_counter() + WITHIN_S
    assert ask(question, late_s, lambda: False).fault == "HTTP 400: 'the prompt is too long'"
    assert (ask.fixed_by, len(server.requests)) == ("ignore_eos", 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda events: [one for one in events if "usage" not in one], "no token `usage`"),
        (lambda events: [{**one, "choices": []} if isinstance(one, dict) else one for one in events], "no text"),
        (lambda events: events[:5], "without its end mark"),
        (lambda events: [*events[:3], {"error": {"message": "out of memory"}}], "streamed event is an error"),
        (lambda events: [*events[:3], "{broken"], "not JSON"),
        (lambda events: [*events[:3], "[1, 2]", *events[3:]], "streamed event is an error"),
        (lambda events: ["[DONE]"], "no text"),
        (lambda events: [], "without its end mark"),
        (lambda events: [*events[:-2], {"usage": {"prompt_tokens": -3, "completion_tokens": "9"}}, "[DONE]"], "usage"),
    ],
)
def test_hostile_answers_are_errors_with_a_sentence(server: Scheduled, change: Any, said: str) -> None:
    server.change = change
    found = asked(server)
    assert not found.answered
    assert not found.unfinished
    assert said in (found.fault or "")


def test_a_refusal_is_an_error_and_our_own_limit_is_none(server: Scheduled) -> None:
    server.routes["/v1/chat/completions"] = lambda handler: handler.reply(503, {"error": {"message": "overloaded"}})
    found = asked(server)
    assert (found.fault, found.unfinished) == ("HTTP 503: 'overloaded'", False)

    def silent(_: object) -> None:
        server.released.wait()

    server.routes["/v1/chat/completions"] = silent
    began_s = time.monotonic()
    late = asked(server, within_s=0.3)
    assert late.unfinished
    assert not late.answered
    assert time.monotonic() - began_s < 60  # the client's own limit is 120 s
    assert asked(server, within_s=-1.0).unfinished


def test_a_dead_server_is_an_error() -> None:
    ask = Asking(lambda: health.Client("http://127.0.0.1:1", None), "demo")
    found = ask(Question(text="a", output_tokens=4), time.perf_counter() + WITHIN_S, lambda: False)
    assert "connection refused" in (found.fault or "")


def test_who_stops_listening_lets_the_connection_go(server: Scheduled) -> None:
    read: list[int] = []

    def enough() -> bool:
        read.append(1)
        return len(read) >= 8

    server.gap_s = 0.05  # 50 minutes for the whole answer
    found = asking(server)(Question(text="a", output_tokens=60_000), time.perf_counter() + 600, enough)
    assert found.unfinished
    assert 1 <= len(found.pieces_s) <= 4
    until_s = time.monotonic() + WITHIN_S
    while server.busy and time.monotonic() < until_s:
        time.sleep(0.02)
    assert server.busy == 0
