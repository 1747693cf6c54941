import re
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from deployer.errors import PreconditionError, StartError
from deployer.health import gate, server_url
from deployer.health.probes import long_text
from deployer.types import HealthReport, Plan, ServerState, ServerStatus
from tests.unit.health.conftest import Leaps, only_the_answer

Make = Callable[..., Plan]


def running() -> ServerState:
    return state("running")


def state(status: ServerStatus, **changes: Any) -> ServerState:
    return ServerState(name="demo", runtime="compose", status=status, **{"container_id": "c1", **changes})


def passing(
    server: Any, make_plan: Make, *, watch: Callable[[], ServerState] = running, **options: Any
) -> HealthReport:
    steps: list[str] = options.pop("steps", [])
    timeout_s = options.pop("timeout_s", 60.0)
    key = options.pop("key", server.key)
    return gate(make_plan(port=server.port, **options.pop("plan", {})), key, watch, steps.append, timeout_s, **options)


def failing(server: Any, make_plan: Make, **options: Any) -> StartError:
    with pytest.raises(StartError) as caught:
        passing(server, make_plan, **options)
    return caught.value


def asked_for_health(server: Any) -> int:
    return [path for path, _, _ in server.requests].count("/health")


def test_a_proper_server_passes_every_check(server: Any, make_plan: Make, waits: list[float]) -> None:
    steps: list[str] = []
    began = time.monotonic()
    report = passing(server, make_plan, steps=steps)
    assert [check.name for check in report.checks] == [
        *("ready", "model", "key", "answer", "speed", "long prompt", "hold"),
    ]
    assert report.passed
    assert report.tokens_per_s is not None
    assert time.monotonic() - began >= 1.0  # the hold
    *proofs, hold = report.checks[1:]
    assert hold.seconds >= 1.0
    assert waits[-1] <= max(1.0 - sum(check.seconds for check in proofs) + 0.01, 0.0)  # the checks run inside it
    assert steps[0].startswith("ready after")


def test_the_long_prompt_is_as_long_as_the_context_allows_and_never_the_same(server: Any, make_plan: Make) -> None:
    for context in (2048, 512):
        small = make_plan().settings
        settings = {"context": context, "slots": 1, "gpu_layers": 0, "tensor_parallel": 1, "threads": 1}
        passing(server, make_plan, plan={"settings": {**settings, "kv_cache_type": small.kv_cache_type}})
    bodies = [body for path, body, _ in server.requests if path.endswith("completions")]
    words = [len(body["messages"][0]["content"].split()) for body in bodies]
    assert max(words) in range(800, 1024)
    assert words[-1] in range(300, 384)


def test_a_slow_host_gets_a_shorter_prompt() -> None:
    assert len(long_text(32_768, 20.0)) == int(160 * 0.8)
    assert len(long_text(32_768, 1.0)) == int(128 * 0.8)
    assert len(long_text(32_768, 5000.0)) == len(long_text(32_768, None)) == int(1024 * 0.8)
    assert long_text(4096, None) != long_text(4096, None)


def test_slow_proofs_do_not_count_against_the_wait_for_readiness(server: Any, make_plan: Make, leaps: Leaps) -> None:
    def slow(handler: Any) -> None:
        if "Authorization" in handler.headers:
            leaps.ahead_s += 70.0
            handler.reply(200, server.answer(handler.body))
        else:
            handler.reply(401, {})

    server.routes["/v1/chat/completions"] = slow
    assert passing(server, make_plan, timeout_s=60.0).passed
    assert leaps.ahead_s > 60.0


def test_ready_is_reported_by_the_next_poll_and_polls_are_close(
    server: Any, make_plan: Make, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["deployer.health.gate"], "POLL_TIMEOUT_S", 60.0)
    polls: list[int] = []
    seen: list[tuple[int, list[float]]] = []

    def health(handler: Any) -> None:
        polls.append(1)
        handler.reply(200 if len(polls) > 5 else 503, {})

    server.routes["/health"] = health
    gate(make_plan(port=server.port), server.key, running, lambda _: seen.append((len(polls), [*waits])), 60.0)
    count, waited = seen[0]
    assert count == 6
    assert len(waited) == 5
    assert max(waited) <= 0.1


def test_a_health_path_that_computes_before_it_answers_is_given_more_time(server: Any, make_plan: Make) -> None:
    def computes(handler: Any) -> None:
        time.sleep(1.4)  # longer than the first poll waits
        handler.reply(200, {"status": "ok"})

    server.routes["/health"] = computes
    report = passing(server, make_plan)
    assert report.ready_after_s >= 2.4
    assert asked_for_health(server) >= 2


def test_nobody_listens(make_plan: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else gets this port
        plan = make_plan(port=taken.getsockname()[1])
        with pytest.raises(StartError) as caught:
            gate(plan, None, running, print, 0.4)
    assert caught.value.details["check"] == "ready"
    assert "connection refused" in caught.value.message


def test_never_ready_ends_by_the_timeout(
    server: Any, make_plan: Make, leaps: Leaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["deployer.health.gate"], "POLL_TIMEOUT_S", 60.0)
    polls: list[int] = []

    def loading(handler: Any) -> None:
        polls.append(1)
        leaps.ahead_s += 601.0 if len(polls) == 4 else 1.0
        handler.reply(503, {})

    server.routes["/health"] = loading
    error = failing(server, make_plan, timeout_s=600.0)
    assert "within 600 s" in error.message
    assert "503" in error.message
    assert len(polls) == 4


def test_a_silent_port_does_not_hide_the_timeout(server: Any, make_plan: Make) -> None:
    server.routes["/health"] = lambda handler: server.released.wait()
    error = failing(server, make_plan, timeout_s=0.6)
    assert re.search(r"not ready within 0\.6 s; last: /health did not answer within 0\.[0-6]\d* s", error.message)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"status": "exited", "exit_code": 1}, "exit status 1"),
        ({"status": "exited", "exit_code": 137, "oom_killed": True}, "memory limit"),
        ({"status": "exited", "exit_code": 132}, "SIGILL"),
        ({"status": "restarting", "restarts": 1, "exit_code": 3}, "crashes"),
        ({"status": "running", "restarts": 2, "exit_code": 3}, "crashes"),
        ({"status": "running", "container_id": "c2"}, "another container"),
        ({"status": "missing", "container_id": None}, "gone"),
    ],
)
def test_a_dead_server_is_known_long_before_the_timeout(
    server: Any, make_plan: Make, later: dict[str, Any], words: str
) -> None:
    server.ready_after_s = 1e9
    looks: list[int] = []

    def watch() -> ServerState:
        looks.append(1)
        return running() if len(looks) < 3 else state(**later)

    error = failing(server, make_plan, watch=watch, timeout_s=600)
    assert len(looks) == 3
    assert words in error.message
    assert error.details["container_exit_code"] == later.get("exit_code")


def test_a_server_that_dies_during_the_hold(server: Any, make_plan: Make) -> None:
    steps: list[str] = []

    def watch() -> ServerState:
        proved = any(step.startswith("long prompt") for step in steps)
        return state("exited", exit_code=139) if proved else running()

    error = failing(server, make_plan, watch=watch, steps=steps)
    assert error.details["check"] == "hold"
    assert "SIGSEGV" in error.message


def test_a_restart_before_the_gate_is_forgiven(server: Any, make_plan: Make) -> None:
    assert passing(server, make_plan, watch=lambda: state("running", restarts=2)).passed


def test_one_silent_look_is_forgiven(server: Any, make_plan: Make) -> None:
    looks: list[int] = []

    def watch() -> ServerState:
        looks.append(1)
        if len(looks) == 2:
            raise PreconditionError("Docker does not answer")
        return running()

    server.routes["/health"] = lambda handler: handler.reply(200 if len(looks) >= 3 else 503, {})
    assert passing(server, make_plan, watch=watch).passed
    assert len(looks) > 3


def test_another_model_holds_the_port(server: Any, make_plan: Make) -> None:
    server.model = "other"
    error = failing(server, make_plan)
    assert error.details["check"] == "model"
    assert "other" in error.message


def test_a_server_that_answers_without_the_key(server: Any, make_plan: Make) -> None:
    server.locked = False
    error = failing(server, make_plan)
    assert error.details["check"] == "key"
    assert "HTTP 200 without a key" in error.message


def test_without_a_key_the_lock_is_not_checked(server: Any, make_plan: Make) -> None:
    server.locked = False
    assert "key" not in [check.name for check in passing(server, make_plan, key=None).checks]


def test_a_wrong_key_never_shows(server: Any, make_plan: Make) -> None:
    error = failing(server, make_plan, key="wrong-but-secret")
    assert "401" in error.message
    assert "wrong-but-secret" not in error.message + str(error.details) + error.hint


def reply(status: int, body: Any) -> Callable[[Any], None]:
    """Answer every request that has the key, and refuse the others."""

    def route(handler: Any) -> None:
        if "Authorization" in handler.headers:
            handler.reply(status, body)
        else:
            handler.reply(401, {})

    return route


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, {"error": {"message": "engine is dead"}}, "engine is dead"),
        (200, b"<html>hello</html>", "did not answer with server-sent events"),
        (200, b"data: hello\n\n", "not JSON"),
        (
            200,
            {"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            "empty",
        ),
    ],
)
def test_answers_that_are_none(server: Any, make_plan: Make, status: int, body: Any, words: str) -> None:
    server.routes["/v1/chat/completions"] = reply(status, body)
    error = failing(server, make_plan)
    assert error.details["check"] == "answer"
    assert words in error.message


def test_an_answer_without_token_usage(server: Any, make_plan: Make) -> None:
    server.routes["/v1/chat/completions"] = reply(200, {"choices": [{"message": {"content": "Paris"}}]})
    error = failing(server, make_plan)
    assert error.details["check"] == "long prompt"
    assert "usage" in error.message


def test_reasoning_alone_is_an_answer(server: Any, make_plan: Make) -> None:
    message = {"content": "", "reasoning_content": "Let me think"}
    usage = {"prompt_tokens": 999, "completion_tokens": 32}
    server.routes["/v1/chat/completions"] = reply(200, {"choices": [{"message": message}], "usage": usage})
    assert passing(server, make_plan).passed


def test_a_prompt_that_is_cut_in_silence(server: Any, make_plan: Make) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 4}
    body = {"choices": [{"message": {"content": "yes"}}], "usage": usage}
    server.routes["/v1/chat/completions"] = reply(200, body)
    error = failing(server, make_plan)
    assert error.details["check"] == "long prompt"
    assert "only 20 tokens" in error.message


def test_an_answer_that_never_ends_ends_by_its_own_timeout(
    server: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_the_answer(monkeypatch)
    server.routes["/v1/chat/completions"] = lambda handler: server.released.wait()
    error = failing(server, make_plan, answer_timeout_s=0.8)
    assert error.details["check"] == "answer"
    assert "did not answer within 0.8 s" in error.message


def test_a_server_that_dies_while_it_answers(server: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the machine is so busy that the last look of the second thread is an old one."""
    monkeypatch.setattr(sys.modules["deployer.health.watch"], "LOOK_S", 3600.0)
    monkeypatch.setattr(sys.modules["deployer.health.gate"], "_SETTLE_S", 0.1)
    died: list[int] = []

    def die(handler: Any) -> None:
        if "Authorization" not in handler.headers:
            handler.reply(401, {})
            return
        died.append(1)
        handler.connection.close()

    server.routes["/v1/chat/completions"] = die
    error = failing(server, make_plan, watch=lambda: state("exited", exit_code=134) if died else running())
    assert "SIGABRT" in error.message


def test_the_engines_last_line_is_shown_while_it_loads(
    server: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["deployer.health.gate"], "SAY_EVERY_S", 0.2)
    steps: list[str] = []
    server.routes["/health"] = lambda handler: handler.reply(200 if steps else 503, {})
    passing(server, make_plan, steps=steps, last_line=lambda: "  loading tensors 40 %\n")
    assert "loading tensors 40 %" in steps[0]


def test_an_embedding_server_is_asked_for_vectors(server: Any, make_plan: Make) -> None:
    request = {"model": "m", "users": 1, "context": 512, "workload": "embedding"}
    report = passing(server, make_plan, plan={"request": request})
    assert report.passed
    assert "completions" not in "".join(path for path, _, _ in server.requests)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("192.168.1.5", "http://192.168.1.5:8000"),
    ],
)
def test_where_the_server_is_asked(make_plan: Make, address: str, url: str) -> None:
    assert server_url(make_plan(address=address)) == url
