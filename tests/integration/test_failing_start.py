"""A server that says that it cannot start, and goes on running, is not waited for: the cause is told early."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.integration.conftest import NAME_LABEL, Deployer, Registry, free_port

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

MODEL = "smollm2-135m-instruct"
ENGINE = Path(__file__).parent / "engines/fake/llama_server.py"
PATIENCE_S = 900
"""What `up` would wait; all of these tests end long before, and their errors are other ones than that it has passed."""


def containers(engine: "docker.DockerClient", name: str) -> list[Any]:
    return engine.containers.list(all=True, filters={"label": f"{NAME_LABEL}={name}"})


def test_a_container_that_hangs_after_its_last_word_is_ended_early(
    deployer: Deployer, registry: Registry, engine_image: Callable[..., str], docker_engine: "docker.DockerClient"
) -> None:
    def up(mode: str, users: str) -> Any:
        registry.push(engine_image(mode), f"engine-{mode}")
        words = ("--image", f"debian={registry.address}/engine-{mode}:latest", "--users", users, "--port", port)
        return deployer("up", MODEL, "--runtime", "compose", "--yes", "--json", "--timeout", str(PATIENCE_S), *words)

    port, began = str(free_port()), time.monotonic()
    error = up("hangs", "1").exited(8).json()["error"]
    assert time.monotonic() - began < PATIENCE_S / 2
    assert "The model could not be loaded" in error["message"]
    assert "cannot start, and it does not end: srv  llama_server: exiting due to" in error["details"]["observed"]
    assert error["details"]["check"] == "ready"
    assert containers(docker_engine, MODEL) == []
    assert up("good", "1").ok().json()["changed"] is True
    assert "release 2 serves again" in up("hangs", "2").exited(7).json()["error"]["message"]
    assert deployer("status", "--json").ok().json()["deployments"][0]["answers"] is True
    deployer("down", MODEL, "--yes").ok()


def test_the_last_word_of_an_earlier_process_is_not_this_ones(deployer: Deployer, tmp_path: Path) -> None:
    def up(mode: str, timeout_s: int) -> Any:
        program.write_text(f'#!/bin/sh\nFAKE_MODE={mode} exec {ENGINE} "$@"\n')
        program.chmod(0o755)
        env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        words = ("--runtime", "process", "--image", "llama-server", "--port", port, "--timeout", str(timeout_s))
        return deployer("up", MODEL, *words, "--yes", "--json", env=env).exited(8).json()["error"]

    program, port, began = tmp_path / "llama-server", str(free_port()), time.monotonic()
    assert "cannot start, and it does not end" in up("hangs", PATIENCE_S)["details"]["observed"]
    assert time.monotonic() - began < PATIENCE_S / 2
    error = up("never-ready", 12)
    assert "not ready within 12 s" in error["message"]
    assert not any("model loading error" in line for line in error["details"]["log_tail"])


@pytest.fixture
def damaged_model(safetensors_model: Path) -> Iterator[Path]:
    """Its config.json says what its weights are not: a plan can be made, and the engine fails while it loads them."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-test-model-", dir="/var/tmp"))
    folder.chmod(0o755)
    copy = folder / "damaged"
    shutil.copytree(safetensors_model, copy)
    config = copy / "config.json"
    document = msgspec.json.decode(config.read_bytes())
    config.write_bytes(msgspec.json.encode({**document, "hidden_size": document["hidden_size"] * 2}))
    yield copy
    shutil.rmtree(folder)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_real_engine_whose_worker_fails_is_ended_early(
    engine: str,
    deployer: Deployer,
    damaged_model: Path,
    request: pytest.FixtureRequest,
    docker_engine: "docker.DockerClient",
) -> None:
    profile, fixture = {"vllm": ("cpu", "vllm_image"), "sglang": ("xeon", "sglang_image")}[engine]
    image = f"{profile}={request.getfixturevalue(fixture)}"
    asked = ("--engine", engine, "--image", image, "--runtime", "compose", "--name", "damaged", "--users", "1")
    words = (*asked, "--context", "512", "--port", str(free_port()), "--timeout", str(PATIENCE_S), "--yes", "--json")
    began = time.monotonic()
    error = deployer("up", str(damaged_model), *words, timeout_s=PATIENCE_S + 60).exited(8).json()["error"]
    assert time.monotonic() - began < PATIENCE_S
    assert "The engine could not start (" in error["message"], error
    assert "Error: " in error["message"]  # what the engine itself has to say
    assert containers(docker_engine, "damaged") == []
