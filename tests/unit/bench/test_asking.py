"""Our numbers against a real server of a known schedule, and against servers that do it wrong."""

import statistics
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


@pytest.fixture
def server() -> Iterator[Scheduled]:
    with scheduled() as one:
        yield one


def asking(server: Scheduled) -> Asking:
    return Asking(lambda: health.Client(server.url, server.key), "demo")


def asked(server: Scheduled, tokens: int = 20, within_s: float = 10.0) -> Reply:
    return asking(server)(Question(text="one two", output_tokens=tokens), time.perf_counter() + within_s, lambda: False)


def test_the_schedule_of_one_answer_is_seen_as_it_was(server: Scheduled) -> None:
    found = [asked(server) for _ in range(8)][3:]
    sent = server.sent_s[3:]
    assert all(len(reply.pieces_s) == reply.output_tokens == 20 for reply in found)
    late = [seen - made for reply, moments in zip(found, sent, strict=True)
            for seen, made in zip(reply.pieces_s, moments, strict=True)]  # fmt: skip
    assert min(late) > -0.001
    assert statistics.median(late) < 0.01
    assert statistics.median(reply.ttft_s for reply in found) == pytest.approx(TTFT_S, abs=0.02)
    assert statistics.median(reply.tpot_s or 0.0 for reply in found) == pytest.approx(GAP_S, abs=0.003)


def test_the_latency_suite_tells_the_schedule(server: Scheduled) -> None:
    kept: list[LatencyResult] = []
    session = Session(load(seconds=2.0, output_tokens=16), asking(server))
    session.warm_up()
    latency(session, kept.append)
    (found,) = kept
    assert found.tally.failed == 0
    assert found.ttft_s.n >= 3
    assert found.ttft_s.p50 == pytest.approx(TTFT_S, abs=0.02)
    assert found.tpot_s.p50 == pytest.approx(GAP_S, abs=0.003)
    assert found.e2e_s.p50 == pytest.approx(TTFT_S + 15 * GAP_S, abs=0.04)
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
        assert ask(Question(text="a", output_tokens=4), time.perf_counter() + 5, lambda: False).answered
    assert ask.fixed_by == left
    assert len(server.requests) == 2 + len(refused)
    assert server.requests[-1][1].get("min_tokens") == (4 if left == "min_tokens" else None)


def test_a_later_refusal_says_nothing_about_the_field(server: Scheduled) -> None:
    ask = asking(server)
    question = Question(text="a", output_tokens=4)
    assert ask(question, time.perf_counter() + 5, lambda: False).answered
    server.routes[ROUTE] = lambda handler: handler.reply(400, {"error": {"message": "the prompt is too long"}})
    assert ask(question, time.perf_counter() + 5, lambda: False).fault == "HTTP 400: 'the prompt is too long'"
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
    assert time.monotonic() - began_s < 2
    assert asked(server, within_s=-1.0).unfinished


def test_a_dead_server_is_an_error() -> None:
    ask = Asking(lambda: health.Client("http://127.0.0.1:1", None), "demo")
    found = ask(Question(text="a", output_tokens=4), time.perf_counter() + 5, lambda: False)
    assert "connection refused" in (found.fault or "")


def test_who_stops_listening_lets_the_connection_go(server: Scheduled) -> None:
    stop = threading.Event()
    server.gap_s = 0.05
    threading.Timer(0.3, stop.set).start()
    began_s = time.monotonic()
    found = asking(server)(Question(text="a", output_tokens=1000), time.perf_counter() + 60, stop.is_set)
    assert time.monotonic() - began_s < 5
    assert found.unfinished
    assert found.pieces_s
