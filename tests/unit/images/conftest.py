import base64
import hashlib
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Any

    def do_GET(self) -> None:
        self.site.requests.append((self.command, self.path, dict(self.headers)))
        status, headers, body = self.site.answer(self.command, self.path, self.headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


class Site:
    """A small HTTP server; `answer` says what each request gets."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        handler = type("SiteHandler", (Handler,), {"site": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def answer(self, command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class FakeRegistry(Site):
    """The distribution API v2 for repositories held in memory, with the token flow where `login` asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.login: str | None = None
        self.user: str | None = None
        self.status: int | None = None
        self.delay_s = 0.0
        self.digest_header = True
        self.head_allowed = True
        self.realm: str | None = None

    def put(self, name: str, media_type: str, data: bytes) -> str:
        """Store a document under `repository/manifests/tag` (or blobs), and under its digest; returns the digest."""
        place, _, _ = name.rpartition("/")
        self.documents[f"/v2/{name}"] = (media_type, data)
        self.documents[f"/v2/{place}/{digest_of(data)}"] = (media_type, data)
        return digest_of(data)

    def image(self, repository: str, tag: str, environment: list[str], architecture: str = "amd64") -> str:
        """Store one image: config, manifest, index; returns the digest of the index."""
        config = {"architecture": architecture, "os": "linux", "config": {"Env": environment, "Labels": {"a": "b"}}}
        blob = json.dumps(config).encode()
        config_digest = self.put(f"{repository}/blobs/config-{tag}", OCI_CONFIG, blob)
        layer = {"digest": "sha256:" + "1" * 64, "size": 3 * 1024 * 1024 + 1}
        manifest = json.dumps(
            {"schemaVersion": 2, "config": {"digest": config_digest, "size": len(blob)}, "layers": [layer]}
        ).encode()
        manifest_digest = self.put(f"{repository}/manifests/m-{tag}", OCI_MANIFEST, manifest)
        entries = [
            {"digest": "sha256:" + "2" * 64, "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": manifest_digest, "platform": {"os": "linux", "architecture": architecture}},
        ]
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        return self.put(f"{repository}/manifests/{tag}", OCI_INDEX, index)

    def answer(self, command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        time.sleep(self.delay_s)
        parts = urlsplit(path)
        if parts.path == "/token":
            return self._token(parse_qs(parts.query), headers)
        if self.status is not None:
            return self.status, {}, b"{}"
        if self.login and headers.get("Authorization") != self._expected():
            realm = self.realm or f"http://{self.host}/token"
            challenge = f'Bearer realm="{realm}",service="test"' if self.login == "bearer" else 'Basic realm="x"'
            return 401, {"WWW-Authenticate": challenge}, b"{}"
        if command == "HEAD" and not self.head_allowed:
            return 200, {}, b""
        if parts.path not in self.documents:
            return 404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
        kind, data = self.documents[parts.path]
        found = {"Content-Type": kind}
        if self.digest_header:
            found["Docker-Content-Digest"] = digest_of(data)
        return 200, found, data

    def _expected(self) -> str:
        if self.login == "bearer":
            return "Bearer the-token"
        return f"Basic {base64.b64encode(str(self.user).encode()).decode()}"

    def _token(self, query: dict[str, list[str]], headers: Any) -> tuple[int, dict[str, str], bytes]:
        if self.user and headers.get("Authorization") != f"Basic {base64.b64encode(self.user.encode()).decode()}":
            return 401, {}, b"{}"
        if query["scope"][0].startswith("repository:") and query["service"] == ["test"]:
            return 200, {}, b'{"token": "the-token"}'
        return 400, {}, b"{}"


class FakeEngine(Site):
    """The Engine's API as far as it is read: version, info, and images by name."""

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, dict[str, Any]] = {}
        self.broken = False
        self.info: dict[str, Any] = {
            "Architecture": "x86_64",
            "DockerRootDir": "/",
            "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}, "Mirrors": []},
        }

    def add(self, *names: str, digests: tuple[str, ...] = (), architecture: str = "amd64") -> str:
        found = {
            "Id": "sha256:" + "e" * 64,
            "RepoDigests": list(digests),
            "RepoTags": [],
            "Size": 5 * 1024 * 1024,
            "Architecture": architecture,
            "Config": {"Env": ["CUDA_VERSION=12.8.1", "ODD"], "Labels": None},
        }
        self.images |= dict.fromkeys((*names, "sha256:" + "e" * 64), found)
        return "sha256:" + "e" * 64

    def answer(self, command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        path = unquote(urlsplit(path).path)
        if path == "/version":
            return 200, {}, b'{"ApiVersion": "1.45"}'
        if self.broken:
            return 500, {}, b'{"message": "it broke"}'
        if path.endswith("/info"):
            return 200, {}, json.dumps(self.info).encode()
        name = path.partition("/images/")[2].removesuffix("/json")
        if name in self.images:
            return 200, {"Content-Type": "application/json"}, json.dumps(self.images[name]).encode()
        if name == "BAD":
            return 400, {}, b'{"message": "invalid reference format"}'
        return 404, {}, b'{"message": "No such image"}'


class FakeDocker:
    """A program `docker` on PATH: each call runs the next script, the last one again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        program = folder / "docker"
        program.write_text(
            '#!/bin/sh\nprintf "%s\\n" "$*" >> "$FAKE_DOCKER/calls"\n[ "$1" = tag ] && exit 0\n'
            'n=$(cat "$FAKE_DOCKER/n" 2>/dev/null || echo 0); n=$((n + 1)); echo "$n" > "$FAKE_DOCKER/n"\n'
            'while [ ! -f "$FAKE_DOCKER/$n.sh" ]; do n=$((n - 1)); done\n. "$FAKE_DOCKER/$n.sh"\n'
        )
        program.chmod(0o755)

    def then(self, script: str) -> None:
        self.count += 1
        (self.folder / f"{self.count}.sh").write_text(script + "\n")

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registries of these tests answer at once, but for the machine: it may stand still for some seconds."""
    monkeypatch.setattr("deployer.images.acquire.PREFLIGHT_S", 60.0)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    site = FakeRegistry()
    yield site
    site.stop()


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    site = FakeEngine()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{site.host}")
    yield site
    site.stop()


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOCKER", str(folder))
    return FakeDocker(folder)
