"""A real HTTP server that streams by a known schedule, and remembers when it really sent each piece."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.unit.health.conftest import Handler, Scripted

TTFT_S, GAP_S = 0.05, 0.01
ROUTE = "/v1/chat/completions"


class Scheduled(Scripted):
    """First token after 50 ms, then one each 10 ms; as many as are asked for. `sent_s`: moments of each answer.

    `change` may turn the events of an answer into others. `ignores_length`: answers have four tokens. `taken`, where it
    is set, is waited for after each line (an event has two): the client says that it has read it. `began_s`: when each
    answer began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent_s: list[list[float]] = []
        self.began_s: list[float] = []
        self.taken: threading.Semaphore | None = None
        self.change: Callable[[list[Any]], list[Any]] = lambda events: events
        self.refused: tuple[str, ...] = ()
        self.ignores_length = False
        self.ttft_s, self.gap_s = TTFT_S, GAP_S
        self.busy = 0
        self.most = 0
        self._turn = threading.Lock()
        self.routes[ROUTE] = self._answer

    def _answer(self, handler: Handler) -> None:
        began_s = time.monotonic()
        body = handler.body
        if self.locked and handler.headers.get("Authorization") != f"Bearer {self.key}":
            handler.reply(401, {"error": {"message": "Invalid API Key"}})
            return
        for field in self.refused:
            if field in body:
                handler.reply(400, {"error": {"message": f"unknown field {field}"}})
                return
        with self._turn:
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            self._stream(handler, began_s, body)
        finally:
            with self._turn:
                self.busy -= 1

    def _stream(self, handler: Handler, began_s: float, body: dict[str, Any]) -> None:
        words = len(str(body["messages"][0]["content"]).split())
        count = 4 if self.ignores_length else int(body["max_tokens"])
        events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": None}}]}]
        events += [{"choices": [{"delta": {"content": f"{number} "}}]} for number in range(count)]
        events += [{"choices": [{"delta": {}, "finish_reason": "length"}]}]
        usage = {"prompt_tokens": 20 + words, "completion_tokens": count, "total_tokens": 20 + words + count}
        events += [{"choices": [], "usage": usage}, "[DONE]"]
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        moments: list[float] = []
        for event in self.change(events):
            if _has_text(event):
                due_s = began_s + self.ttft_s + self.gap_s * len(moments)
                time.sleep(max(due_s - time.monotonic(), 0.0))
                moments.append(time.monotonic() - began_s)
            text = event if isinstance(event, str) else json.dumps(event)
            handler.wfile.write(f"data: {text}\n\n".encode())
            handler.wfile.flush()
            if self.taken is not None and not all(self.taken.acquire(timeout=60) for _ in range(2)):
                return
        self.began_s.append(began_s)
        self.sent_s.append(moments)


def _has_text(event: Any) -> bool:
    if not isinstance(event, dict) or not event.get("choices"):
        return False
    return bool(event["choices"][0].get("delta", {}).get("content"))


@contextlib.contextmanager
def scheduled() -> Iterator[Scheduled]:
    """Start one, and end it."""
    server = Scheduled()
    try:
        yield server
    finally:
        server.close()
