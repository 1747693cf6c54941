#!/usr/bin/env python3
"""A stand-in for Ollama (standard library only): `serve`, `create`, `run` and `ls`, by its API's paths and statuses.

It answers with fixed words instead of computing. `FAKE_MODE` `bad-model`: `create` refuses every file.
Paths and bodies are those of Ollama 0.33.0-rc2 server/routes.go and cmd/cmd.go.
"""

import hashlib
import json
import os
import select
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODE = os.environ.get("FAKE_MODE", "good")
HOST, _, PORT = os.environ["OLLAMA_HOST"].rpartition(":")
STORE = Path(os.environ.get("OLLAMA_MODELS", "/root/.ollama/models"))
SENTENCE = "The capital of France is Paris. Once upon a time there was a river and a bridge of stone"
ANSWER = SENTENCE.split()
LOADED: dict[str, str] = {}


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def called(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def manifest(name: str) -> Path:
    return STORE / "manifests" / called(name).replace(":", "@")


def size_of(name: str) -> int:
    blob: str = json.loads(manifest(name).read_text())["blob"]
    return (STORE / "blobs" / blob).stat().st_size


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        log(f"[GIN] {format % args} authorization={self.headers.get('Authorization', 'none')}")

    def say(self, status: int, body: Any) -> None:
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        names = [file.name.replace("@", ":") for file in sorted((STORE / "manifests").glob("*"))]
        match self.path:
            case "/":
                self.say(200, "Ollama is running")
            case "/api/version":
                self.say(200, {"version": "0.35.1"})
            case "/api/tags":
                self.say(200, {"models": [{"name": name} for name in names]})
            case "/api/ps":
                held = [{"name": name, "size": size_of(name), "size_vram": 0, "keep": LOADED[name]} for name in LOADED]
                self.say(200, {"models": held})
            case "/v1/models":
                self.say(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
            case path if path.startswith("/api/blobs/"):
                self.say(200 if (STORE / "blobs" / path.rpartition("/")[2]).exists() else 404, "")
            case _:
                self.say(404, "404 page not found")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        whole, size = b"", int(self.rfile.readline(), 16)
        while size:
            whole += self.rfile.read(size)
            self.rfile.readline()
            size = int(self.rfile.readline(), 16)
        self.rfile.readline()
        return whole

    def do_POST(self) -> None:
        body = self.body()
        if self.path.startswith("/api/blobs/"):
            (STORE / "blobs").mkdir(parents=True, exist_ok=True)
            (STORE / "blobs" / self.path.rpartition("/")[2]).write_bytes(body)
            self.say(201, "")
            return
        try:
            asked = json.loads(body)
            assert isinstance(asked["model"], str)
            assert isinstance(asked.get("messages", []), list)
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            self.say(400, {"error": {"message": f"invalid request: {error}", "type": "invalid_request_error"}})
            return
        if self.path == "/api/create":
            self.create(asked)
        elif not manifest(asked["model"]).exists():
            self.say(404, {"error": {"message": f"model '{asked['model']}' not found", "type": "not_found_error"}})
        elif self.path == "/api/generate":
            LOADED[called(asked["model"])] = str(asked.get("keep_alive"))
            self.say(200, {"model": asked["model"], "response": "", "done": True, "done_reason": "load"})
        elif self.path == "/v1/chat/completions":
            self.chat(asked)
        else:
            self.say(404, "404 page not found")

    def create(self, asked: Any) -> None:
        if MODE == "bad-model":
            self.say(400, {"error": "invalid file magic"})
            return
        (STORE / "manifests").mkdir(parents=True, exist_ok=True)
        (blob,) = asked["files"].values()
        manifest(asked["model"]).write_text(json.dumps({"blob": blob, "parameters": asked["parameters"]}))
        self.say(200, {"status": "success"})

    def chat(self, asked: Any) -> None:
        text = " ".join(str(message["content"]) for message in asked["messages"])
        stop = {asked.get("stop")} if isinstance(asked.get("stop"), str) else set(asked.get("stop") or [])
        whole = ANSWER[: next((place for place, word in enumerate(ANSWER) if word in stop), len(ANSWER))]
        words = whole[: asked.get("max_tokens", 16)]
        reason = "stop" if words == whole else "length"
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        if "slowly" in text and not self.waited(20):
            return
        if asked.get("stream"):
            self.stream(words, usage)
            return
        message = {"role": "assistant", "content": " ".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        self.say(200, {"object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": usage})

    def stream(self, words: list[str], usage: dict[str, int]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in words:
            delta = {"choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
            self.chunk(f"data: {json.dumps(delta)}\n\n")
            time.sleep(0.1)
        self.chunk(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n")
        self.chunk("")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())

    def waited(self, seconds: float) -> bool:
        """False when the client goes away before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ready, _, _ = select.select([self.connection], [], [], 0.1)
            if ready:
                log("aborting completion request due to client closing the connection")
                self.close_connection = True
                return False
        return True


def ask(path: str, body: Any = None, method: str | None = None) -> str:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def create(name: str, modelfile: str) -> None:
    said = dict(line.split(" ", 1) for line in Path(modelfile).read_text().splitlines())
    content = Path(said["FROM"]).read_bytes()
    digest = f"sha256-{hashlib.sha256(content).hexdigest()}"
    try:
        ask(f"/api/blobs/{digest}", method="HEAD")
        print("using existing layer")
    except urllib.error.HTTPError:
        print("copying file")
        ask(f"/api/blobs/{digest}", content)
    parameter, _, value = said["PARAMETER"].partition(" ")
    print(ask("/api/create", {"model": name, "files": {"m": digest}, "parameters": {parameter: value}}))


def main(argv: list[str]) -> int:
    try:
        match argv:
            case ["serve"]:
                log(f"Listening on {HOST}:{PORT} (version 0.35.1)")
                ThreadingHTTPServer((HOST, int(PORT)), Handler).serve_forever()
            case ["create", name, "-f", modelfile]:
                create(name, modelfile)
            case ["run", name, "--keepalive", keep, prompt]:
                ask("/api/generate", {"model": name, "prompt": prompt, "keep_alive": keep})
            case ["ls"]:
                print(ask("/api/tags"))
            case _:
                print(f"Error: unknown command {argv}")
                return 1
    except urllib.error.HTTPError as error:
        print(f"Error: {json.loads(error.read())['error']}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
