"""The test bed itself: what the other integration tests stand on is what it claims to be."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from tests.integration.conftest import Deployer, Registry

pytestmark = pytest.mark.integration

ALIAS = "smol"
KEY = "a-key-for-tests"
HARDENED: dict[str, Any] = {
    "user": "65532:65532",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "init": True,
}


@dataclass(frozen=True)
class Server:
    """A started engine: its container, and its routes through the published port."""

    container: "Container"
    url: str

    def get(self, path: str, key: str = KEY) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers=bearer(key), timeout=60)

    def chat(self, *, key: str = KEY, **options: Any) -> requests.Response:
        # With its own system prompt the small model answers nonsense at temperature 0; with this one it is right.
        system = {"role": "system", "content": "You are a helpful assistant."}
        messages = [system, {"role": "user", "content": "What is the capital of France?"}]
        body = {"messages": messages, "temperature": 0, "max_tokens": 16, **options}
        return requests.post(f"{self.url}/v1/chat/completions", json=body, headers=bearer(key), timeout=240)

    def status_of(self, path: str) -> int:
        """HTTP status, or 0 when nothing answers."""
        try:
            return self.get(path).status_code
        except (requests.ConnectionError, requests.Timeout):
            return 0

    def exit_code(self, timeout_s: float = 120) -> int:
        return int(self.container.wait(timeout=timeout_s)["StatusCode"])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s} s"
        time.sleep(0.1)


Start = Callable[..., Server]


@pytest.fixture
def start(docker_engine: "docker.DockerClient", deployer_home: Path, model_file: Path) -> Iterator[Start]:
    """Start an image the way a deployment does: not root, read-only, key in a file, port on loopback."""
    key_file = deployer_home / "api_key"
    key_file.write_text(KEY)
    key_file.chmod(0o444)
    flags = [
        "--model",
        "/models/model.gguf",
        "--alias",
        ALIAS,
        "--host",
        "0.0.0.0",
        "--port",
        "8080",
        "--ctx-size",
        "2048",
    ]
    mounts = {
        str(model_file): {"bind": "/models/model.gguf", "mode": "ro"},
        str(key_file): {"bind": "/run/secrets/api_key", "mode": "ro"},
    }
    with contextlib.ExitStack() as stack:

        def run(image: str, **options: Any) -> Server:
            container = docker_engine.containers.run(
                image,
                [*flags, "--api-key-file", "/run/secrets/api_key", "--no-ui"],
                detach=True,
                ports={"8080/tcp": ("127.0.0.1", 0)},
                volumes=mounts,
                **{**HARDENED, **options},
            )
            stack.callback(container.remove, force=True)
            container.reload()
            published = container.ports.get("8080/tcp")
            return Server(container, f"http://127.0.0.1:{published[0]['HostPort']}" if published else "")

        yield run


def test_registry_gives_a_digest_and_the_image_back(
    docker_engine: "docker.DockerClient", registry: "Registry", engine_image: Callable[..., str]
) -> None:
    image = engine_image("good")
    reference = registry.push(image, "engine")
    assert reference.startswith(f"{registry.address}/engine@sha256:")
    pulled = docker_engine.images.pull(reference)
    assert pulled.id == docker_engine.images.get(image).id
    assert reference in pulled.attrs["RepoDigests"]
    docker_engine.images.remove(reference)


def test_registry_goes_down_and_comes_back(own_registry: "Registry", docker_engine: "docker.DockerClient") -> None:
    reference = own_registry.push("debian:trixie-slim", "base/trixie")
    own_registry.go_down()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{own_registry.address}/v2/", timeout=5)
    own_registry.come_back()
    assert docker_engine.images.pull(reference).id == docker_engine.images.get("debian:trixie-slim").id
    docker_engine.images.remove(reference)


def test_real_llama_cpp_answers(start: Start, llama_image: str) -> None:
    server = start(llama_image, tmpfs={"/tmp": ""})
    until(lambda: server.status_of("/health") == 200)
    assert server.chat(key="").status_code == 401
    assert "Paris" in server.chat().json()["choices"][0]["message"]["content"]


def test_good_answers_as_llama_server_does(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("good"))
    until(lambda: server.status_of("/health") == 200)
    assert server.get("/v1/models").json()["data"][0]["id"] == ALIAS
    answer = server.chat().json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 6
    assert server.chat(max_tokens=2).json()["usage"]["completion_tokens"] == 2
    assert [server.chat(key="wrong").status_code, server.chat(key="").status_code] == [401, 401]
    assert server.chat(messages=[]).status_code == 400
    assert server.get("/nowhere").status_code == 404


def test_good_streams(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("good"))
    until(lambda: server.status_of("/health") == 200)
    text = server.chat(stream=True, stream_options={"include_usage": True}).text
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    documents = [json.loads(event) for event in events[:-1]]
    words = [choice["delta"].get("content") or "" for document in documents for choice in document["choices"]]
    assert events[-1] == "[DONE]"
    assert "".join(words) == "The capital of France is Paris."
    assert documents[-1]["usage"]["completion_tokens"] == 6


def test_good_stops_on_sigterm(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("good"), init=False)
    until(lambda: server.status_of("/health") == 200)
    server.container.stop(timeout=60)
    assert server.exit_code() == 0  # and not 137, as when it is killed


def test_never_ready_stays_at_503(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("never-ready"))
    until(lambda: server.status_of("/health") == 503)
    assert server.chat().status_code == 503


def test_slow_load_is_503_and_then_ready(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("slow-load"))
    until(lambda: server.status_of("/health") == 503)
    until(lambda: server.status_of("/health") == 200)
    assert server.chat().status_code == 200


def test_crash_loop_exits_3_with_a_reason(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("crash-loop"))
    assert server.exit_code() == 3
    assert b"failed to load model, '/models/model.gguf'" in server.container.logs()


def test_dies_after_ready_ends_by_itself(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("dies-after-ready"))
    until(lambda: server.status_of("/health") == 200)
    assert server.exit_code() == 1
    assert b"terminate called after throwing" in server.container.logs()


def test_wrong_model_lists_another_name(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("wrong-model"))
    until(lambda: server.status_of("/health") == 200)
    assert [model["id"] for model in server.get("/v1/models").json()["data"]] == ["another-model"]


def test_no_key_answers_anyone(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("no-key"))
    until(lambda: server.status_of("/health") == 200)
    assert server.chat(key="").status_code == 200


def test_dead_engine_is_healthy_and_cannot_answer(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("dead-engine"))
    until(lambda: server.status_of("/health") == 200)
    assert server.chat().status_code == 500


def test_oom_is_killed_by_the_kernel(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("oom"), mem_limit="128m", memswap_limit="128m")
    assert server.exit_code() == 137
    server.container.reload()
    assert server.container.attrs["State"]["OOMKilled"] is True


def test_oom_without_a_limit_refuses(start: Start, engine_image: Callable[..., str]) -> None:
    server = start(engine_image("oom"))
    assert server.exit_code() == 4


def test_engine_program_is_found_on_path(engine_program: Path) -> None:
    path = f"{engine_program}:/usr/bin:/bin"
    text = subprocess.check_output(["llama-server", "--version"], env={"PATH": path}, text=True)
    assert text.strip() == "version: 0.7.0 (build 11669, commit fake)"


def test_deployer_runs_the_command_line_in_its_own_home(deployer: "Deployer", deployer_home: Path) -> None:
    assert deployer("--version").ok().stdout.strip()
    assert list(deployer_home.iterdir()) == []
