"""A model hub on 127.0.0.1 that speaks what huggingface_hub 2.4 asks, with switches for what can go wrong."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1024  # files from this size on are "LFS": they have a sha256


@dataclass
class Repo:
    """One repository with one commit."""

    files: dict[str, bytes]
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)
    gated: bool = False
    tags: tuple[str, ...] = ("license:apache-2.0",)


@dataclass
class Faults:
    """Switches. `times` is how many file answers are spoiled; then the server behaves."""

    status: int | None = None
    error_code: str = ""
    error_message: str = ""
    on_files_only: bool = False
    cut_after: int | None = None
    stall_after: int | None = None
    times: int = 10**9
    wrong_hash: bool = False
    no_ranges: bool = False
    redirect: bool = False
    extra_bytes: int = 0
    pause_s: float = 0.0
    api_body: bytes | None = None


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    host: str
    range: str | None
    authorization: str | None


@dataclass
class State:
    repos: dict[str, Repo]
    faults: Faults = field(default_factory=Faults)
    seen: list[Seen] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    port: int = 0


class HubServer:
    """`with HubServer({"org/repo": Repo({...})}) as hub:` serves at `hub.url`."""

    def __init__(self, repos: dict[str, Repo]) -> None:
        self.state = State(repos)
        state = self.state

        class Bound(_Handler):
            hub = state

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.port: int = self._server.server_address[1]
        state.port = self.port
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def faults(self) -> Faults:
        return self.state.faults

    @property
    def seen(self) -> list[Seen]:
        return self.state.seen

    def file_requests(self) -> list[Seen]:
        return [request for request in self.seen if "/resolve/" in request.path or request.path.startswith("/cdn/")]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.state.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def git_oid(data: bytes) -> str:
    """SHA-1 of the git blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: State
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append(
            Seen(
                self.command,
                path,
                self.headers.get("Host", ""),
                self.headers.get("Range"),
                self.headers.get("Authorization"),
            )
        )
        faults = self.hub.faults
        is_file = "/resolve/" in path or path.startswith("/cdn/")
        if faults.status is not None and (is_file or not faults.on_files_only):
            self._error(faults.status, faults.error_code, faults.error_message)
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        elif is_file:
            self._file(path.removeprefix("/cdn").removeprefix("/"), is_cdn=path.startswith("/cdn/"))
        else:
            self._error(404, "", "")

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code} if code else {}
        if message:
            headers["X-Error-Message"] = message
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _api(self, rest: str) -> None:
        name = "/".join(rest.split("/")[:2])
        kind, _, revision = "/".join(rest.split("/")[2:]).partition("/")
        repo = self.hub.repos.get(name)
        if repo is None:
            self._error(401, "RepoNotFound", "Repository not found")
        elif revision and revision not in {*repo.branches, repo.commit}:
            self._error(404, "RevisionNotFound", "Invalid rev id")
        elif self.hub.faults.api_body is not None:
            self._send(200, self.hub.faults.api_body, {"Content-Type": "application/json"})
        else:
            listed = [self._listed(name, data) for name, data in repo.files.items()]
            document = listed if kind == "tree" else self._model(name, repo, listed)
            self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _model(self, name: str, repo: Repo, listed: list[dict[str, object]]) -> dict[str, object]:
        return {
            "_id": "1",
            "id": name,
            "modelId": name,
            "sha": repo.commit,
            "private": False,
            "gated": "manual" if repo.gated else False,
            "tags": list(repo.tags),
            "siblings": [
                {"rfilename": item["path"], "size": item["size"], "blobId": item["oid"], "lfs": item["lfs"]}
                for item in listed
            ],
        }

    def _listed(self, name: str, data: bytes) -> dict[str, object]:
        sha256 = hashlib.sha256(data).hexdigest()
        oid = git_oid(data)
        if self.hub.faults.wrong_hash:
            sha256, oid = sha256[::-1], oid[::-1]
        lfs = {"sha256": sha256, "oid": sha256, "size": len(data), "pointerSize": 134} if len(data) >= LARGE else None
        return {"type": "file", "path": name, "size": len(data), "oid": oid, "lfs": lfs}

    def _file(self, path: str, *, is_cdn: bool) -> None:
        name, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self.hub.repos.get(name)
        if repo is None or revision not in {*repo.branches, repo.commit}:
            self._error(404, "RepoNotFound" if repo is None else "RevisionNotFound", "")
        elif file not in repo.files:
            self._error(404, "EntryNotFound", "Entry not found")
        elif self.hub.faults.redirect and not is_cdn:
            location = f"http://localhost:{self.hub.port}/cdn/{path}"
            self._send(302, b"", {"Location": location, **self._file_headers(repo, repo.files[file])})
        else:
            self._bytes(repo, repo.files[file])

    def _file_headers(self, repo: Repo, data: bytes) -> dict[str, str]:
        sha256 = hashlib.sha256(data).hexdigest()
        etag = sha256 if len(data) >= LARGE else git_oid(data)
        return {
            "X-Repo-Commit": repo.commit,
            "ETag": f'"{etag}"',
            "X-Linked-ETag": f'"{etag}"',
            "X-Linked-Size": str(len(data)),
            "Accept-Ranges": "bytes",
        }

    def _bytes(self, repo: Repo, data: bytes) -> None:
        headers = self._file_headers(repo, data)
        asked = self.headers.get("Range")
        status = 200
        if asked and not self.hub.faults.no_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(data) - 1), len(data) - 1)
            if start >= len(data):
                self._error(416, "", "")
                return
            headers["Content-Range"] = f"bytes {start}-{stop}/{len(data)}"
            status, data = 206, data[start : stop + 1]
        self._send(status, data + b"\0" * self.hub.faults.extra_bytes, headers, spoil=self.command == "GET")

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, spoil: bool = False) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        faults = self.hub.faults
        limit = faults.cut_after if faults.cut_after is not None else faults.stall_after
        if not spoil or limit is None or faults.times <= 0 or limit >= len(body):
            self._write(body, faults.pause_s if spoil else 0.0)
            return
        faults.times -= 1
        self._write(body[:limit], 0.0)
        if faults.stall_after is not None:
            self.hub.closing.wait(20)
        self.close_connection = True

    def _write(self, body: bytes, pause_s: float) -> None:
        try:
            for start in range(0, len(body), 1 << 16):
                self.wfile.write(body[start : start + (1 << 16)])
                if pause_s:
                    self.hub.closing.wait(pause_s)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
