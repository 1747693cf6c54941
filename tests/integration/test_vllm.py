"""vLLM for real on a CPU: in a container and as a program of the host, planned, started and proved like any other."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
import requests

from tests.integration.served import Served, arguments_of_all_processes, resident_mib, serving

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

# Compiling the model at the start would take longer than all tests.
ASKED = ("--engine", "vllm", "--users", "2", "--context", "2048", "--engine-arg=--enforce-eager")


@pytest.fixture(scope="module")
def served(docker_engine: "docker.DockerClient", vllm_image: str, safetensors_model: Path) -> Iterator[Served]:
    image = ("--image", f"cpu={vllm_image}", "--runtime", "compose")
    with serving(docker_engine, "vllm-container", str(safetensors_model), *ASKED, *image) as found:
        yield found


@pytest.fixture(scope="module")
def program(docker_engine: "docker.DockerClient", vllm_on_path: str, safetensors_model: Path) -> Iterator[Served]:
    asked = (str(safetensors_model), *ASKED, "--runtime", "process")
    with serving(docker_engine, "vllm-program", *asked, env={"PATH": vllm_on_path}) as found:
        yield found


def test_it_answers_the_openai_client_and_nobody_without_the_key(served: Served) -> None:
    assert served.document["engine"] == "vllm"
    assert "Paris" in served.ask()
    with pytest.raises(openai.AuthenticationError):
        served.ask(key="wrong")


def test_the_key_is_in_no_argument_list_description_log_or_file(
    served: Served, docker_engine: "docker.DockerClient"
) -> None:
    container = served.container(docker_engine)
    assert served.key not in arguments_of_all_processes()
    assert served.key not in str(container.attrs)
    assert served.key not in container.logs().decode()
    assert served.key not in served.logs()
    assert served.key not in served.files()
    assert oct(Path(served.document["key_file"]).stat().st_mode & 0o077) == "0o0"


def test_it_is_as_locked_down_as_any_engine_with_what_it_needs_more(
    served: Served, docker_engine: "docker.DockerClient"
) -> None:
    attributes: dict[str, Any] = served.container(docker_engine).attrs
    host, config = attributes["HostConfig"], attributes["Config"]
    assert config["User"] == "65532:65532"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["ShmSize"] == 4096 * 1024 * 1024
    assert "noexec" in host["Tmpfs"]["/tmp"]
    assert "noexec" not in host["Tmpfs"]["/var/tmp"]
    assert config["Entrypoint"] == ["python3"]


def test_the_plan_is_what_runs_and_its_memory_is_enough(served: Served, docker_engine: "docker.DockerClient") -> None:
    planned = served.run("plan", *served.asked)
    container = served.container(docker_engine)
    command = container.attrs["Config"]["Cmd"]
    assert command[-len(planned["command"]) :] == planned["command"]
    assert command[command.index("--max-model-len") + 1] == "2048"
    assert command[command.index("--max-num-seqs") + 1] == "2"
    assert "VLLM_CPU_KVCACHE_SPACE=1" in container.attrs["Config"]["Env"]
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
    works = {item["name"] for item in served.run("check", served.name)["checks"] if item["status"] == "works"}
    assert {"model info", "chat", "streaming", "token usage", "parallel requests", "key"} <= works


def test_down_removes_it(served: Served, docker_engine: "docker.DockerClient") -> None:
    container = served.container(docker_engine)
    assert served.run("down", served.name, "--yes")["changed"] is True
    assert container.id not in {other.id for other in docker_engine.containers.list(all=True)}
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{served.document['base_url']}/models", timeout=5)


def test_the_program_on_the_host_answers_too(program: Served) -> None:
    assert program.document["runtime"] == "process"
    assert program.document["image"]["profile"] == "vllm"
    assert "Paris" in program.ask()
    with pytest.raises(openai.AuthenticationError):
        program.ask(key="wrong")


def test_the_key_of_the_program_is_in_its_environment_alone(program: Served) -> None:
    assert program.key not in arguments_of_all_processes()
    assert program.key not in program.files()
    assert program.key not in program.logs()
    assert holders(program.key)
    assert all("vllm" in name or "python" in name for name in holders(program.key).values())


def test_the_program_ends_with_all_its_processes(program: Served) -> None:
    key = program.key
    assert len(holders(key)) > 1
    assert program.run("down", program.name, "--yes")["changed"] is True
    assert holders(key) == {}


def holders(key: str) -> dict[str, str]:
    """The processes of this machine that have the key in their environment: number to name."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if key in (folder / "environ").read_text(errors="replace"):
                found[folder.name] = (folder / "comm").read_text().strip().casefold()
    return found
