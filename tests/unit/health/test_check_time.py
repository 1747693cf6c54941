"""A check has an end, and says what it had no time for."""

import threading
import time
from typing import Any

from deployer.health import CapabilityResult
from tests.unit.health.capable import capable, chat_route, make_capable, report


def slow_from(server: Any, when: str) -> None:
    """From the first request with this field on, chat answers only when the test is over."""
    make_capable(server)
    hung = threading.Event()

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        if when in body:
            hung.set()
        if hung.is_set():
            server.released.wait(20)
        return capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)


def by_name(results: tuple[CapabilityResult, ...]) -> dict[str, CapabilityResult]:
    return {result.name: result for result in results}


def test_one_that_hangs_is_broken_and_the_next_goes_on(server: Any) -> None:
    make_capable(server)

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        if "stop" in body:
            server.released.wait(20)
        return capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    results = by_name(report(server, each_s=0.7).checks)
    assert results["stop"].status == "broken"
    assert "did not answer within" in results["stop"].detail
    assert results["seed"].status == "works"


def test_what_there_was_no_time_for_is_not_broken(server: Any) -> None:
    slow_from(server, "stop")
    began = time.monotonic()
    results = by_name(report(server, total_s=1.5, each_s=30).checks)
    assert time.monotonic() - began < 6
    assert results["token usage"].status == "works"
    assert results["stop"].status == "not run"
    assert (results["seed"].status, "--timeout" in results["seed"].detail) == ("not run", True)
    assert "broken" not in {result.status for result in results.values()}


def test_a_second_question_that_had_little_time_left_is_not_broken(server: Any) -> None:
    make_capable(server)
    asked: list[int] = []

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        if body.get("temperature") == 1:
            asked.append(1)
            server.released.wait(0.7 if len(asked) == 1 else 20)
        return capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    found = by_name(report(server, each_s=1.2).checks)["seed"]
    assert len(asked) > 1
    assert (found.status, "did not answer within" in found.detail) == ("not run", True)
