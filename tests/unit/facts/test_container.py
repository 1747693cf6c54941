"""The Docker probe against a real HTTP server on a real unix socket, with programs that are scripts on PATH."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from deployer.execution import Completed
from deployer.facts import container
from deployer.facts.docker_socket import Reply
from deployer.types import ContainerFacts

INFO = {
    "ServerVersion": "29.2.1",
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "nvidia": {"path": "nvidia-container-runtime"}},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}, {"Source": "cdi", "ID": "nvidia.com/gpu=0"}],
    "Labels": None,
}


class Engine(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    status = 200
    api_version = "1.52"
    body = b""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        engine = self.server
        assert isinstance(engine, Engine)
        assert self.path == "/info"
        self.send_response(engine.status)
        self.send_header("Api-Version", engine.api_version)
        self.end_headers()
        self.wfile.write(engine.body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return


@contextmanager
def engine_at(path: Path, info: object, *, status: int = 200, api_version: str = "1.52") -> Iterator[None]:
    with Engine(str(path), Handler) as server:
        server.status, server.api_version = status, api_version
        server.body = info if isinstance(info, bytes) else json.dumps(info).encode()
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A PATH with nothing on it but what the test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        path = folder / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    return write


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Callable[[str, str], None]) -> Path:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    return path


def test_an_engine_with_nvidia_and_cdi(at: Path, programs: Callable[[str, str], None]) -> None:
    programs("docker", 'test "$*" = "compose version --short" && echo v2.40.3\n')
    programs("nvidia-ctk", "echo 'NVIDIA Container Toolkit CLI version 1.18.1'; echo 'commit: 0123'\n")
    with engine_at(at, INFO):
        assert container.probe() == ContainerFacts(
            engine="docker",
            version="29.2.1",
            compose="2.40.3",
            rootless=False,
            nvidia_toolkit="1.18.1",
            nvidia_runtime=True,
            cdi=("nvidia.com/gpu=0", "nvidia.com/gpu=all"),
            cdi_spec_dirs=("/etc/cdi", "/var/run/cdi"),
            endpoint=f"unix://{at}",
            nvidia_injection=("runtime", "cdi"),
        )


def test_an_older_engine_cannot_list_cdi_devices(at: Path) -> None:
    old = {"ServerVersion": "26.1.5", "Runtimes": {"runc": {}}, "CDISpecDirs": ["/etc/cdi"]}
    with engine_at(at, old, api_version="1.45"):
        facts = container.probe()
    assert (facts.version, facts.nvidia_runtime, facts.cdi, facts.compose) == ("26.1.5", False, None, None)


@pytest.mark.parametrize(("dirs", "api_version"), [([], "1.45"), (["/etc/cdi"], "1.50"), (None, "1.43")])
def test_no_cdi_device(at: Path, dirs: list[str] | None, api_version: str) -> None:
    with engine_at(at, {"ServerVersion": "28.2.0", "CDISpecDirs": dirs}, api_version=api_version):
        assert container.probe().cdi == ()


def test_rootless(at: Path) -> None:
    with engine_at(at, {**INFO, "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}):
        assert container.probe().rootless is True


def test_podman_on_the_socket_of_docker(at: Path) -> None:
    with engine_at(
        at, {"ServerVersion": "5.4.2", "BuildahVersion": "1.39.4", "Rootless": True, "Runtimes": {"crun": {}}}
    ):
        facts = container.probe()
    assert (facts.engine, facts.version, facts.rootless) == ("podman", "5.4.2", True)


def test_absent(at: Path) -> None:
    facts = container.probe()
    assert facts.engine is None
    assert (facts.error or "").startswith("No container engine: install Docker Engine")


def test_installed_but_not_running(at: Path, programs: Callable[[str, str], None]) -> None:
    programs("docker", "echo 2.40.3\n")
    facts = container.probe()
    assert (facts.engine, facts.compose) == (None, "2.40.3")
    assert f"there is no socket {at}" in (facts.error or "")
    assert "sudo systemctl start docker" in (facts.error or "")


def test_a_socket_that_a_killed_daemon_left_behind(at: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(at))
    assert "does not answer ([Errno 111] Connection refused)" in (container.probe().error or "")


def test_podman_without_docker(at: Path, programs: Callable[[str, str], None]) -> None:
    programs("podman", "echo 4.3.1\n")
    facts = container.probe()
    assert (facts.engine, facts.version, facts.error) == ("podman", "4.3.1", None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_permission_denied_is_told_apart(open_folder: Path) -> None:
    """A process without rights asks: as another user when the tests are root, whom no file mode stops."""
    path = open_folder / "docker.sock"
    code = (
        "import os, sys\n"
        "from deployer.facts import container\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "print(container.probe().error)\n"
    )
    with engine_at(path, INFO):
        path.chmod(0o000)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "DOCKER_HOST": f"unix://{path}"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.startswith(f"Permission denied on {path}: this user may not use Docker. Run `sudo usermod")
    assert "as good as root; without that, set up rootless Docker" in done.stdout


def test_a_daemon_that_hangs_is_cut_off(at: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(at))
        silent.listen()
        facts = container.probe(timeout_s=0.3)
    assert "did not answer within 0.3 s" in (facts.error or "")


def test_a_daemon_that_drips_is_cut_off(at: Path) -> None:
    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            try:
                for _ in range(100):
                    connection.sendall(b"H")
                    time.sleep(0.05)
            except OSError:
                return

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(at))
        server.listen()
        thread = Thread(target=drip, args=(server,))
        thread.start()
        facts = container.probe(timeout_s=0.3)
        thread.join()
    assert "did not answer within 0.3 s" in (facts.error or "")


def test_a_program_that_hangs_is_cut_off(at: Path, programs: Callable[[str, str], None]) -> None:
    programs("docker", "/bin/sleep 600\n")
    with engine_at(at, INFO):
        for timeout_s in (0.4, 3.0, 20.0):  # on a busy machine the engine itself needs longer
            facts = container.probe(timeout_s=timeout_s)
            if facts.version is not None:
                break
    assert (facts.version, facts.compose) == ("29.2.1", None)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"<html>", 200, "is not a Docker Engine"),
        (b'{"ServerVersion": 5}', 200, "is not a Docker Engine"),
        (INFO, 403, "answered 403 Forbidden"),
        (INFO, 500, "answered 500 Internal Server Error"),
    ],
)
def test_answers_that_are_no_engine(at: Path, body: object, status: int, words: str) -> None:
    with engine_at(at, body, status=status):
        facts = container.probe()
    assert facts.engine is None
    assert words in (facts.error or "")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("fd://3", "DOCKER_HOST is fd://3, but the address must start with"),
        ("tcp://127.0.0.1:1", "does not answer ([Errno 111] Connection refused)"),
        ("tcp://127.0.0.1:notaport", "does not answer"),
        ("https://127.0.0.1:1", "does not answer"),
        ("unix://" + "/x" * 200, "does not answer (AF_UNIX path too long)"),
    ],
)
def test_other_addresses(at: Path, monkeypatch: pytest.MonkeyPatch, host: str, words: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert words in (container.probe(timeout_s=30).error or "")


def test_the_default_socket_is_used_without_docker_host() -> None:
    answers = container.Answers(Reply("unix:///var/run/docker.sock", failure="absent"), client=True, versions={})
    assert "there is no socket /var/run/docker.sock" in (container.read(answers).error or "")


@pytest.mark.parametrize(
    ("out", "status", "expected"),
    [
        ("2.26.1-4\n", 0, "2.26.1-4"),
        ("v2.40.3-desktop.1\n", 0, "2.40.3-desktop.1"),
        ("cli-version: 1.17.8\nlib-version: 1.17.8\n", 0, "1.17.8"),
        ("NVIDIA Container Toolkit CLI version 1.19.0-rc.1\n", 0, "1.19.0-rc.1"),
        ("2.26.1", 125, None),
        ("unknown flag", 0, None),
    ],
)
def test_versions(out: str, status: int, expected: str | None) -> None:
    assert container.read_version(Completed(returncode=status, stdout=out, stderr="")) == expected
