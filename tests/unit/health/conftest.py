from __future__ import annotations

import contextlib
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deployer.health import probes
from deployer.health.watch import Watch
from deployer.types import Plan
from tests.unit.plans import build_plan


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    return build_plan


class Scripted:
    """A real HTTP server whose behaviour is set per path; by default a proper OpenAI-compatible one named `demo`."""

    key = "right-key"

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.ready_after_s = 0.0
        self.model = "demo"
        self.locked = True
        self.routes: dict[str, Callable[[Handler], None]] = {}
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.released = threading.Event()
        scripted = self

        class Bound(Handler):
            server_script = scripted

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def ready(self) -> bool:
        return time.monotonic() >= self.began + self.ready_after_s

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(body.get("messages", []), list):
            raise TypeError("messages")
        words = sum(len(str(message.get("content")).split()) for message in body.get("messages", []))
        tokens = min(body.get("max_tokens", 16), 16)
        text = " ".join(str(number) for number in range(1, tokens + 1))
        for stop in body.get("stop", []):
            text = text.partition(stop)[0]
        return {
            "model": self.model,
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": words, "completion_tokens": tokens, "total_tokens": words + tokens},
        }


class Handler(BaseHTTPRequestHandler):
    server_script: Scripted
    body: dict[str, Any] = {}

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle({})

    def do_POST(self) -> None:
        try:
            self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        except (TypeError, ValueError):
            self.reply(400, {"error": {"message": "not JSON"}})

    def _handle(self, body: dict[str, Any]) -> None:
        script = self.server_script
        self.body = body
        script.requests.append((self.path, body, dict(self.headers)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self.path in script.routes:
                script.routes[self.path](self)
            elif self.path == "/health":
                self.reply(200 if script.ready else 503, {"status": "ok"})
            elif script.locked and self.headers.get("Authorization") != f"Bearer {script.key}":
                self.reply(401, {"error": {"message": "Invalid API Key"}})
            elif self.path == "/v1/models":
                self.reply(200, {"data": [{"id": script.model, "meta": {"n_ctx": 2048}}]})
            elif self.path == "/v1/chat/completions" and body.get("stream"):
                self.stream(["1 ", "2 ", "3 ", "4 ", "5 "], pause_s=0.02)
            elif self.path == "/v1/chat/completions":
                self.reply(200, script.answer(body))
            elif self.path == "/v1/embeddings":
                self.reply(200, {"data": [{"embedding": [0.5, 0.25]}]})
            else:
                self.reply(404, {"error": {"message": "no such path"}})

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with this body; a whole answer is streamed to those who asked for that."""
        if self.body.get("stream") and isinstance(body, dict) and "choices" in body:
            self.stream_whole(body)
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def stream_whole(self, answer: dict[str, Any]) -> None:
        """A piece for each word, and a last event with all that is not `choices`."""
        message = answer["choices"][0]["message"]
        kind = "content" if message.get("content") else "reasoning_content"
        deltas = [{kind: f"{word} "} for word in (message.get(kind) or "").split()]
        events = [{"choices": [{"delta": delta}]} for delta in ({"role": "assistant"}, *deltas)]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in (*events, {**answer, "choices": []}):
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def stream(self, pieces: list[str], *, pause_s: float, done: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in pieces:
            event = {"choices": [{"delta": {"content": piece}}]}
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()
            time.sleep(pause_s)
        if done:
            self.wfile.write(b"data: [DONE]\n\n")


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


class Leaps:
    """The clock of these modules; a test lets a long time pass by setting it ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def only_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate asks for an answer alone: where an answer has little time, nothing before it runs out of that time."""
    module = importlib.import_module("deployer.health.gate")
    asked = module.probes
    one = [probes.ANSWER]
    monkeypatch.setattr(module, "probes", lambda plan, key: [probe for probe in asked(plan, key) if probe.name in one])


@pytest.fixture
def leaps(monkeypatch: pytest.MonkeyPatch) -> Leaps:
    clock = Leaps()
    for name in ("check", "client", "gate", "wire"):
        monkeypatch.setattr(importlib.import_module(f"deployer.health.{name}"), "time", clock)
    return clock


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the gate waited for a fall, each time."""
    found: list[float] = []
    fallen = Watch.fallen

    def remembered(watch: Watch, within_s: float = 0.0) -> bool:
        found.append(within_s)
        return fallen(watch, within_s)

    monkeypatch.setattr(Watch, "fallen", remembered)
    return found


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's hold, cut from 4 s to 1 s: every passing gate waits for it."""
    monkeypatch.setattr(importlib.import_module("deployer.health.gate"), "HOLD_S", 1.0)
