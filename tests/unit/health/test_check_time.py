"""A check has an end, and says what it had no time for."""

from typing import Any

from deployer.health import CapabilityResult
from tests.unit.health.capable import capable, chat_route, make_capable, report
from tests.unit.health.conftest import Leaps

LONG_S = 10_000.0


def slow_at(server: Any, leaps: Leaps, when: str) -> None:
    """An answer to a request with this field comes hours later, by the clock of the check."""
    make_capable(server)

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        if when in body:
            leaps.ahead_s += LONG_S
        return capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)


def by_name(results: tuple[CapabilityResult, ...]) -> dict[str, CapabilityResult]:
    return {result.name: result for result in results}


def test_one_that_takes_too_long_is_broken_and_the_next_goes_on(server: Any, leaps: Leaps) -> None:
    slow_at(server, leaps, "stop")
    results = by_name(report(server, total_s=10 * LONG_S, each_s=60).checks)
    assert results["stop"].status == "broken"
    assert "did not end in time" in results["stop"].detail
    assert results["seed"].status == "works"


def test_one_that_hangs_is_broken(server: Any) -> None:
    make_capable(server)
    answer, asked = server.routes["/v1/chat/completions"], list[int]()

    def hang(handler: Any) -> None:
        if "stop" in handler.body:
            asked.append(1)
            server.released.wait()
        answer(handler)

    server.routes["/v1/chat/completions"] = hang
    result = by_name(report(server, each_s=4.0).checks)["stop"]
    assert len(asked) == 1
    assert (result.status, "did not answer within" in result.detail) == ("broken", True)


def test_what_there_was_no_time_for_is_not_broken(server: Any, leaps: Leaps) -> None:
    slow_at(server, leaps, "stop")
    results = by_name(report(server, total_s=100, each_s=300).checks)
    assert results["token usage"].status == "works"
    assert results["stop"].status == "not run"
    assert (results["seed"].status, "--timeout" in results["seed"].detail) == ("not run", True)
    assert "broken" not in {result.status for result in results.values()}


def test_a_second_question_that_had_little_time_left_is_not_broken(server: Any, leaps: Leaps) -> None:
    make_capable(server)
    asked: list[int] = []

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        if body.get("temperature") == 1 and "seed" in body:
            asked.append(1)
            if len(asked) == 1:
                leaps.ahead_s += 100.0
            else:
                server.released.wait()
        return capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    found = by_name(report(server, total_s=LONG_S, each_s=104).checks)["seed"]
    assert len(asked) > 1
    assert (found.status, "did not answer within" in found.detail) == ("not run", True)
