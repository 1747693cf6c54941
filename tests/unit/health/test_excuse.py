"""A slow answer beside other work says nothing about the server; one that its own limit held back does."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deployer.errors import StartError
from deployer.health import gate
from deployer.health.speed_floor import excuse, held_back
from deployer.types import Plan, Processor, ServerState


def reading(at_s: float, *, busy: float = 0.0, own: float = 0.0, throttled: float | None = 0.0) -> Processor:
    return Processor(at_s=at_s, busy_s=busy, own_s=own, throttled_s=throttled, processors=2)


@pytest.mark.parametrize(
    ("after", "excused", "limited"),
    [
        (reading(10, busy=20, own=19), False, False),  # all its own
        (reading(10, busy=20, own=6), True, False),  # others had 14 of 20 seconds
        (reading(10, busy=6, own=0.9), True, False),  # a quarter
        (reading(10, busy=5, own=0.9), False, False),
        (reading(10, busy=1, own=0.9, throttled=9.1), False, True),
        (reading(10, busy=20, own=0.9, throttled=9.1), False, True),  # its own limit, whatever others do
        (reading(10, busy=20, own=6, throttled=None), True, False),
        (reading(0, busy=1), False, False),
        (None, False, False),
    ],
)
def test_who_used_the_processors(after: Processor | None, excused: bool, limited: bool) -> None:
    before = reading(0)
    assert (excuse(before, after) is not None, held_back(before, after) is not None) == (excused, limited)
    assert excuse(None, after) is None


def slow_gate(server: Any, make_plan: Callable[..., Plan], *readings: Processor | None) -> Any:
    def chat(handler: Any) -> None:
        answer = {**server.answer(handler.body), "timings": {"predicted_per_second": 1.0}}
        handler.reply(200 if "Authorization" in handler.headers else 401, answer)

    server.routes["/v1/chat/completions"] = chat
    speed = {"prompt_tokens_per_s": None, "decode_tokens_per_s": 153.0, "total_tokens_per_s": None, "basis": ""}
    state = ServerState(name="demo", runtime="compose", status="running", container_id="c1")
    left: Iterator[Processor | None] = iter(readings)
    return gate(
        make_plan(port=server.port, speed=speed), server.key, lambda: state, print, 60.0, processor=lambda: next(left)
    )


def test_beside_other_work_slow_is_not_measured(server: Any, make_plan: Callable[..., Plan]) -> None:
    report = slow_gate(server, make_plan, reading(0), reading(10, busy=20, own=5))
    (check,) = (check for check in report.checks if check.name == "speed")
    assert check.passed
    assert check.detail.startswith("not measured: 1 tokens/s, the floor is 4.33")
    assert check.detail.endswith("other programs used 75% of the processors meanwhile")


@pytest.mark.parametrize(
    ("after", "words", "hint"),
    [
        (reading(10, busy=20, own=19), "too slow: 1 tokens/s", "what else uses the processor"),
        (reading(10, busy=20, own=1, throttled=9), "its limit of processors held it back", "`cpus`"),
        (None, "too slow", "what else uses the processor"),
    ],
)
def test_on_a_quiet_machine_slow_is_a_failure(
    server: Any, make_plan: Callable[..., Plan], after: Processor | None, words: str, hint: str
) -> None:
    with pytest.raises(StartError, match=words) as caught:
        slow_gate(server, make_plan, reading(0), after)
    assert hint in caught.value.hint
