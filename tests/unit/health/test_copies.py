"""Several copies of a model held to the same gate: each log, each layer, and the one that falls."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from deployer.errors import StartError
from deployer.health import gate
from deployer.health.copies import by_copy
from deployer.health.gpu_use import Evidence, layers_offloaded
from deployer.health.watch import Watch
from deployer.types import Offloaded, Plan, ServerState
from tests.unit.plans import build_plan

OFFLOADED = Offloaded(pattern=r"offloaded (?P<layers>\d+)/(?P<total>\d+) layers to GPU", source="its source")


def copied() -> Plan:
    plan = build_plan(copies=2)
    return msgspec.structs.replace(plan, settings=msgspec.structs.replace(plan.settings, gpu_layers=29))


def test_lines_are_told_apart_by_their_mark() -> None:
    lines = ("copy 1: a", "copy 2: b", "gateway: x", "copy 1: copy 2: c", "copy 3: d")
    assert by_copy(lines, 2) == (("a", "copy 2: c"), ("b",))
    assert by_copy(lines, 1) == (lines,)


@pytest.mark.parametrize(
    ("lines", "used", "words"),
    [
        (("copy 1: offloaded 29/29 layers to GPU", "copy 2: offloaded 29/29 layers to GPU"), True, "29 of 29"),
        (("copy 1: offloaded 29/29 layers to GPU", "copy 2: offloaded 0/29 layers to GPU"), False, "0 of 29"),
        (("copy 1: offloaded 0/29 layers to GPU", "copy 1: offloaded 29/29 layers to GPU"), None, "does not tell"),
    ],
)
def test_every_copy_has_its_layers_on_its_gpu(lines: tuple[str, ...], used: bool | None, words: str) -> None:
    found = layers_offloaded(copied(), Evidence(lines=lines), OFFLOADED)
    assert found.used is used
    assert words in found.detail


def test_a_copy_that_falls_while_all_start_is_a_fall_with_its_number() -> None:
    down = ServerState(
        name="demo",
        runtime="compose",
        status="degraded",
        container_id="c",
        exit_code=1,
        detail="copy 2 of 2 does not run",
    )
    with Watch(lambda: down) as watched:
        assert watched.fallen(60)
    assert watched.cause is not None
    assert watched.cause.startswith("copy 2 of 2 does not run: ")
    assert "1" in watched.cause.removeprefix("copy 2 of 2")


def ran() -> ServerState:
    return ServerState(name="demo", runtime="compose", status="running", container_id="c")


def gated(server: Any, chats: tuple[Callable[[Any], None], Callable[[Any], None]]) -> Any:
    """The gate before two copies that are ready and answer a chat as they are told to."""
    for number, chat in enumerate(chats, start=1):
        server.routes[f"/copies/{number}/health"] = lambda handler: handler.reply(200, {})
        server.routes[f"/copies/{number}/v1/chat/completions"] = chat
    return gate(build_plan(port=server.port, copies=2), server.key, ran, lambda _: None, 60.0)


def answering(server: Any, *, after_s: float = 0.0) -> Callable[[Any], None]:
    def chat(handler: Any) -> None:
        time.sleep(after_s)
        handler.reply(200, server.answer(handler.body))

    return chat


def test_each_copy_answers_and_the_slowest_counts(server: Any) -> None:
    report = gated(server, (answering(server), answering(server, after_s=0.5)))
    assert {"copy 1", "copy 2"} < {check.name for check in report.checks}
    assert report.tokens_per_s < 16 / 0.5


def test_a_copy_that_does_not_answer_is_a_failed_start(server: Any) -> None:
    with pytest.raises(StartError) as failed:
        gated(server, (answering(server), lambda handler: handler.reply(503, {"error": {"message": "busy"}})))
    assert failed.value.details["check"] == "copy 2"


def test_a_copy_that_is_never_ready_is_waited_for_in_vain(server: Any) -> None:
    server.routes["/copies/1/health"] = lambda handler: handler.reply(200, {})
    server.routes["/copies/2/health"] = lambda handler: handler.reply(503, {})
    with pytest.raises(StartError) as failed:
        gate(build_plan(port=server.port, copies=2), server.key, ran, lambda _: None, 0.5)
    assert failed.value.details["check"] == "ready"


def test_paths_of_copies() -> None:
    assert build_plan().copy_paths == ("",)
    assert copied().copy_paths == ("/copies/1", "/copies/2")
