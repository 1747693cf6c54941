"""vLLM for real as a program of the host: planned, started and proved like a server in a container."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest

from tests.integration.served import Served, arguments_of_all_processes, serving

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

# Compiling the model at the start would take longer than all tests.
ASKED = ("--engine", "vllm", "--users", "2", "--context", "2048", "--engine-arg=--enforce-eager")


@pytest.fixture(scope="module")
def program(docker_engine: "docker.DockerClient", vllm_on_path: str, safetensors_model: Path) -> Iterator[Served]:
    asked = (str(safetensors_model), *ASKED, "--runtime", "process")
    with serving(docker_engine, "vllm-program", *asked, env={"PATH": vllm_on_path}) as found:
        yield found


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
