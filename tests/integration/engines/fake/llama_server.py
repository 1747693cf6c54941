#!/usr/bin/env python3
"""A stand-in for llama-server that misbehaves on request (standard library only).

It takes llama-server's flags, obeys `--alias`, `--host`, `--port` and `--api-key-file`, and ignores the others.
`FAKE_MODE` names the fault; `FAKE_LOAD_S` is how long `slow-load` answers 503, in seconds.
Bodies and status codes are those of llama-server b11669.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODES = (
    *("good", "never-ready", "crash-loop", "dies-after-ready", "wrong-model"),
    *("no-key", "dead-engine", "oom", "slow-load", "hangs"),
)
MODE = os.environ.get("FAKE_MODE", "good")
STARTED = time.monotonic()
LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
NO_KEY = {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}
NO_ROUTE = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}
BAD_BODY = {"error": {"message": "'messages' is required", "type": "invalid_request_error", "code": 400}}
BROKEN = {"error": {"message": "Compute error.", "type": "server_error", "code": 500}}
OOM_CEILING_MIB = 16384


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def loading() -> bool:
    if MODE == "never-ready":
        return True
    return MODE == "slow-load" and time.monotonic() - STARTED < float(os.environ.get("FAKE_LOAD_S", "5"))


def memory_limit_mib() -> int:
    """The container's ceiling, from either version of cgroups; a huge number when there is none."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(name).read_text().strip() if Path(name).exists() else "max"
        if text != "max":
            return int(text) >> 20
    return 1 << 30


def allocate_until_killed() -> None:
    if memory_limit_mib() > OOM_CEILING_MIB:
        log(f"oom: refused, the container has no memory limit below {OOM_CEILING_MIB} MiB")
        sys.exit(4)
    held = []
    while True:
        held.append(bytearray(b"x" * (16 << 20)))


def die_later(seconds: float) -> None:
    def die() -> None:
        log("terminate called after throwing an instance of 'std::runtime_error'")
        os._exit(1)

    timer = threading.Timer(seconds, die)
    timer.daemon = True
    timer.start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    alias = "model"
    keys: tuple[str, ...] = ()
    dying = threading.Event()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        log(f"srv  log_server_r: {format % args}")

    def reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if status == 200 and MODE == "dies-after-ready" and not self.dying.is_set():
            self.dying.set()
            die_later(1)

    def refused(self) -> bool:
        """Reply 401 or 503 where llama-server does; `/health` needs no key."""
        public = self.path in {"/health", "/v1/health"}
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not public and self.keys and MODE != "no-key" and given not in self.keys:
            self.reply(401, NO_KEY)
        elif loading():
            self.reply(503, LOADING)
        else:
            return False
        return True

    def do_GET(self) -> None:
        name = "another-model" if MODE == "wrong-model" else self.alias
        documents: dict[str, dict[str, Any]] = {
            "/health": {"status": "ok"},
            "/v1/health": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "llamacpp"}]},
            "/props": {"build_info": "b0-fake", "total_slots": 1, "model_alias": name},
        }
        if not self.refused():
            self.reply(200 if self.path in documents else 404, documents.get(self.path, NO_ROUTE))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.refused():
            return
        if self.path != "/v1/chat/completions":
            self.reply(404, NO_ROUTE)
            return
        request = body_of(text)
        if not request.get("messages"):
            self.reply(400, BAD_BODY)
        elif MODE == "dead-engine":
            self.reply(500, BROKEN)
        elif request.get("stream"):
            self.stream(request)
        else:
            self.reply(200, completion(self.alias, request))

    def stream(self, request: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in chunks(self.alias, request):
            self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True


def body_of(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def answer(request: dict[str, Any]) -> list[str]:
    """The words of the answer, at most `max_tokens` of them."""
    asked = str(request["messages"][-1].get("content", ""))
    words = "The capital of France is Paris." if "France" in asked else "I am ready to help with that."
    ceiling = request.get("max_tokens") or request.get("max_completion_tokens") or 100
    return [word if index == 0 else f" {word}" for index, word in enumerate(words.split())][:ceiling]


def usage(request: dict[str, Any], words: list[str]) -> dict[str, int]:
    prompt = sum(len(str(message.get("content", "")).split()) for message in request["messages"])
    return {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}


def completion(alias: str, request: dict[str, Any]) -> dict[str, Any]:
    words = answer(request)
    message = {"role": "assistant", "content": "".join(words)}
    return {
        **head(alias, "chat.completion"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": usage(request, words),
    }


def chunks(alias: str, request: dict[str, Any]) -> list[str]:
    words = answer(request)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}, *({"content": word} for word in words), {}]
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "finish_reason": None if delta else "stop", "delta": delta}]} for delta in deltas
    ]
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append({"choices": [], "usage": usage(request, words)})
    return [json.dumps({**head(alias, "chat.completion.chunk"), **event}) for event in events] + ["[DONE]"]


def head(alias: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "object": kind, "created": int(time.time()), "model": alias}


def main() -> None:
    if MODE not in MODES:
        sys.exit(f"FAKE_MODE={MODE} is none of {', '.join(MODES)}")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--version", action="version", version="version: 0.7.0 (build 11669, commit fake)")
    parser.add_argument("-m", "--model", default="")
    parser.add_argument("-a", "--alias")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--api-key-file", type=Path)
    flags, _ignored = parser.parse_known_args()
    if MODE in {"crash-loop", "hangs"}:
        log(f"srv    load_model: failed to load model, '{flags.model}'")
        log("srv  llama_server: exiting due to model loading error")
        if MODE == "hangs":
            signal.pause()
        sys.exit(3)
    if MODE == "oom":
        allocate_until_killed()
    Handler.alias = flags.alias or Path(flags.model).name or "model"
    if flags.api_key_file:
        Handler.keys = tuple(flags.api_key_file.read_text().split())
    log(f"main: server is listening on http://{flags.host}:{flags.port}")
    ThreadingHTTPServer((flags.host, flags.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
