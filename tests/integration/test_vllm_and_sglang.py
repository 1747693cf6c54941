"""vLLM and SGLang for real on a CPU in containers: planned, started and proved like any other engine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
import requests

from tests.integration.served import Served, arguments_of_all_processes, resident_mib, serving

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

SETTINGS = ("--users", "2", "--context", "2048", "--runtime", "compose")


@dataclass(frozen=True)
class Engine:
    """What is particular to one of them."""

    profile: str
    flags: tuple[str, ...]
    """What is asked besides the common settings."""
    image: str
    """The fixture with its image."""
    shm_mib: int
    options: dict[str, str]
    environment: str
    logs_its_key: bool
    """The engine writes its key to its own log: there only a mark for it may be found."""


ENGINES = {
    # Compiling the model at the start would take longer than all tests.
    "vllm": Engine(
        profile="cpu",
        flags=("--engine-arg=--enforce-eager",),
        image="vllm_image",
        shm_mib=4096,
        options={"--max-model-len": "2048", "--max-num-seqs": "2"},
        environment="VLLM_CPU_KVCACHE_SPACE=1",
        logs_its_key=False,
    ),
    "sglang": Engine(
        profile="xeon",
        flags=(),
        image="sglang_image",
        shm_mib=32768,
        options={"--context-length": "2048", "--max-running-requests": "2", "--max-total-tokens": str(2 * 2048)},
        environment="SGLANG_USE_CPU_ENGINE=1",
        logs_its_key=True,
    ),
}


@pytest.fixture(scope="module", params=ENGINES)
def served(
    request: pytest.FixtureRequest, docker_engine: "docker.DockerClient", safetensors_model: Path
) -> Iterator[Served]:
    engine = ENGINES[request.param]
    image = f"{engine.profile}={request.getfixturevalue(engine.image)}"
    asked = (str(safetensors_model), "--engine", request.param, *SETTINGS, *engine.flags, "--image", image)
    with serving(docker_engine, f"{request.param}-container", *asked) as found:
        yield found


@pytest.fixture
def engine(served: Served) -> Engine:
    return ENGINES[served.document["engine"]]


def test_it_answers_the_openai_client_and_nobody_without_the_key(served: Served) -> None:
    assert f"{served.document['engine']}-container" == served.name
    assert "Paris" in served.ask()
    with pytest.raises(openai.AuthenticationError):
        served.ask(key="wrong")


def test_the_key_is_in_no_argument_list_description_log_or_file(
    served: Served, engine: Engine, docker_engine: "docker.DockerClient"
) -> None:
    container = served.container(docker_engine)
    log = container.logs().decode()
    assert served.key not in arguments_of_all_processes()
    assert served.key not in str(container.attrs)
    assert served.key not in log
    assert ("[key]" in log) is engine.logs_its_key
    assert served.key not in served.logs()
    assert served.key not in served.files()
    assert oct(Path(served.document["key_file"]).stat().st_mode & 0o077) == "0o0"


def test_it_is_as_locked_down_as_any_engine_with_what_it_needs_more(
    served: Served, engine: Engine, docker_engine: "docker.DockerClient"
) -> None:
    attributes: dict[str, Any] = served.container(docker_engine).attrs
    host, config = attributes["HostConfig"], attributes["Config"]
    assert config["User"] == "65532:65532"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["ShmSize"] == engine.shm_mib * 1024 * 1024
    assert "noexec" in host["Tmpfs"]["/tmp"]
    assert "noexec" not in host["Tmpfs"]["/var/tmp"]
    assert config["Entrypoint"] == ["python3"]


def test_the_plan_is_what_runs_and_its_memory_is_enough(
    served: Served, engine: Engine, docker_engine: "docker.DockerClient"
) -> None:
    planned = served.run("plan", *served.asked)
    container = served.container(docker_engine)
    command = container.attrs["Config"]["Cmd"]
    assert command[-len(planned["command"]) :] == planned["command"]
    assert {option: command[command.index(option) + 1] for option in engine.options} == engine.options
    assert engine.environment in container.attrs["Config"]["Env"]
    (memory,) = planned["memory"]["devices"]
    assert memory["total_mib"] / 2 < resident_mib(container) < memory["total_mib"] + memory["margin_mib"]


def test_it_stands_in_the_ledger_and_the_next_plan_uses_it(served: Served) -> None:
    (entry,) = served.run("images", "ls")["images"]
    assert entry["image_id"] == served.document["image"]["id"]
    planned = served.run("plan", *served.asked)
    assert planned["image"]["source"] == "verified"
    assert planned["image"]["image_id"] == served.document["image"]["id"]
    assert served.run("up", *served.asked, "--yes")["changed"] is False
    assert served.run("status")["deployments"][0]["answers"] is True


def test_what_it_can_do_is_shown(served: Served) -> None:
    checks = served.run("check", served.name, "--timeout", "600")["checks"]
    works = {item["name"] for item in checks if item["status"] == "works"}
    assert {"model info", "chat", "streaming", "token usage", "parallel requests", "key"} <= works


def test_down_removes_it(served: Served, docker_engine: "docker.DockerClient") -> None:
    container = served.container(docker_engine)
    assert served.run("down", served.name, "--yes")["changed"] is True
    assert container.id not in {other.id for other in docker_engine.containers.list(all=True)}
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{served.document['base_url']}/models", timeout=5)
