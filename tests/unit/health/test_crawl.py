"""An answer that crawls is cut off, and what held the server back is said."""

import importlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from deployer.errors import StartError
from deployer.health import gate
from deployer.health.answers import Answering
from deployer.health.speed_floor import CRAWL_AFTER_S, crawls
from deployer.types import Plan, Processor, ServerState
from tests.unit.health.conftest import only_the_answer

Make = Callable[..., Plan]
SPEED = {"prompt_tokens_per_s": None, "decode_tokens_per_s": 153.0, "total_tokens_per_s": None, "basis": ""}
LIMITED = (
    Processor(at_s=0, busy_s=0, own_s=0, throttled_s=0, processors=2),
    Processor(at_s=10, busy_s=1, own_s=1, throttled_s=9, processors=2),
)


def came(pieces: int, *, first_s: float, last_s: float) -> Answering:
    answering = Answering()
    step = (last_s - first_s) / max(pieces - 1, 1)
    answering.arrived_s = [first_s + step * piece for piece in range(pieces)]
    answering.last_s = last_s
    return answering


@pytest.mark.parametrize(
    ("answering", "speed", "cut"),
    [
        (came(21, first_s=90, last_s=100), SPEED, True),  # 2.1 a second, below half of the floor
        (came(22, first_s=90, last_s=100), SPEED, False),
        (came(19, first_s=0, last_s=CRAWL_AFTER_S - 0.1), SPEED, False),  # it may still compile
        (came(0, first_s=0, last_s=100), SPEED, False),
        (came(2, first_s=0, last_s=100), {**SPEED, "decode_tokens_per_s": None}, False),
    ],
)
def test_when_an_answer_is_cut_off(make_plan: Make, answering: Answering, speed: Any, cut: bool) -> None:
    assert crawls(make_plan(speed=speed), answering) is cut


def crawling(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a piece a second for hours, where 0.6 s are enough to judge."""
    monkeypatch.setattr(importlib.import_module("deployer.health.speed_floor"), "CRAWL_AFTER_S", 0.6)

    def chat(handler: Any) -> None:
        if "Authorization" not in handler.headers:
            handler.reply(401, {})
        elif handler.body.get("stream"):
            handler.stream(["word "] * 10_000, pause_s=1.0)
        else:
            handler.reply(200, server.answer(handler.body))

    server.routes["/v1/chat/completions"] = chat


def refused(server: Any, plan: Plan, *, answer_timeout_s: float, words: str) -> StartError:
    state, left = ServerState(name="demo", runtime="compose", status="running", container_id="c1"), iter(LIMITED)
    with pytest.raises(StartError, match=words) as failed:
        gate(
            plan,
            server.key,
            lambda: state,
            print,
            60.0,
            processor=lambda: next(left),
            answer_timeout_s=answer_timeout_s,
        )
    return failed.value


def test_a_server_that_crawls_fails_long_before_it_has_answered(
    server: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawling(server, monkeypatch)
    plan = make_plan(port=server.port, speed=SPEED)
    error = refused(server, plan, answer_timeout_s=20_000, words=r"too slow: .* the floor is 4\.33")
    assert error.details["check"] == "speed"
    assert "its limit of processors held it back" in error.message
    checks: Any = error.details["checks"]
    (answer,) = (check["detail"] for check in checks if check["name"] == "answer")
    assert re.match(r"[2-9]\d? tokens in [1-9]\d?\.\d\d s, cut off there", answer)


def test_no_answer_at_all_says_what_held_it_back(server: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    only_the_answer(monkeypatch)
    server.routes["/v1/chat/completions"] = lambda handler: server.released.wait()
    plan = make_plan(port=server.port, speed=SPEED)
    error = refused(server, plan, answer_timeout_s=0.6, words=r"did not answer within 0\.6 s; its limit of processors")
    assert error.details["check"] == "answer"
    assert "`cpus`" in error.hint
