"""Faults that a shared machine really has: another user's deployment, a killed command, a damaged file."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import Deployer, Registry, free_port

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

MODEL = "smollm2-135m-instruct"


@pytest.fixture
def fake(registry: Registry, engine_image: Callable[..., str]) -> Callable[[str], tuple[str, ...]]:
    """`up` of a stand-in server that starts at once, on a port of its own."""

    def arguments(mode: str = "good") -> tuple[str, ...]:
        registry.push(engine_image(mode), f"engine-{mode}")
        image = f"debian={registry.address}/engine-{mode}:latest"
        return ("up", MODEL, "--runtime", "compose", "--yes", "--json", "--image", image, "--port", str(free_port()))

    return arguments


@pytest.fixture
def taken_down(deployer: Deployer) -> Iterator[None]:
    yield
    deployer("down", MODEL, "--yes")


def containers(engine: "docker.DockerClient") -> list[str]:
    found = engine.containers.list(all=True, filters={"label": f"io.deployer.name={MODEL}"})
    return [str(container.id) for container in found]


def wait_for_container(engine: "docker.DockerClient") -> None:
    deadline = time.monotonic() + 60
    while not containers(engine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert containers(engine)


@pytest.mark.usefixtures("taken_down")
def test_the_deployment_of_another_installation_is_not_touched(
    deployer: Deployer, fake: Callable[..., tuple[str, ...]], docker_engine: "docker.DockerClient", deployer_home: Path
) -> None:
    first = deployer(*fake()).ok().json()
    before = containers(docker_engine)
    other = deployer_home.parent / "other"
    other.mkdir(mode=0o755)
    error = deployer(*fake(), env={"DEPLOYER_HOME": str(other)}).exited(3).json()["error"]
    assert str(deployer_home) in error["message"]
    assert f"DEPLOYER_HOME={deployer_home} deployer down" in error["hint"]
    assert deployer("status", "--json", env={"DEPLOYER_HOME": str(other)}).ok().json()["deployments"] == []
    assert containers(docker_engine) == before
    assert deployer("down", MODEL, "--yes", env={"DEPLOYER_HOME": str(other)}).returncode in (0, 2)
    assert containers(docker_engine) == before
    assert deployer("status", "--json").ok().json()["deployments"][0]["answers"] is True
    assert first["changed"] is True


@pytest.mark.usefixtures("taken_down")
def test_a_killed_first_up_is_seen_and_the_next_one_takes_over(
    deployer: Deployer, fake: Callable[..., tuple[str, ...]], docker_engine: "docker.DockerClient"
) -> None:
    arguments = fake("slow-load")
    process = deployer.start(*arguments)
    wait_for_container(docker_engine)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    rows = deployer("status", "--json").ok().json()["deployments"]
    assert [row["name"] for row in rows] == [MODEL]
    again = deployer(*arguments).ok().json()
    assert again["changed"] is True
    assert len(containers(docker_engine)) == 1


def test_a_damaged_plan_blocks_neither_other_work_nor_down(
    deployer: Deployer, fake: Callable[..., tuple[str, ...]], docker_engine: "docker.DockerClient", deployer_home: Path
) -> None:
    release = deployer(*fake()).ok().json()["release"]
    plan = deployer_home / "deployments" / MODEL / "releases" / str(release) / "plan.json"
    plan.write_text("")
    assert [row["status"] for row in deployer("status", "--json").ok().json()["deployments"]] == ["damaged"]
    deployer("plan", MODEL, "--name", "other").ok()
    deployer("down", MODEL, "--yes").ok()
    assert containers(docker_engine) == []


def test_sigterm_while_starting_ends_with_143_and_leaves_nothing(
    deployer: Deployer, fake: Callable[..., tuple[str, ...]], docker_engine: "docker.DockerClient"
) -> None:
    process = deployer.start(*fake("never-ready"), "--timeout", "120")
    wait_for_container(docker_engine)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "nothing is serving" in stdout
    assert containers(docker_engine) == []


@pytest.mark.usefixtures("taken_down")
def test_a_lost_key_is_made_again(
    deployer: Deployer, fake: Callable[..., tuple[str, ...]], deployer_home: Path
) -> None:
    arguments = fake()
    deployer(*arguments).ok()
    shutil.rmtree(deployer_home / "secrets")
    assert deployer("status", "--json").ok().json()["deployments"][0]["answers"] is False
    assert deployer(*arguments).ok().json()["changed"] is True
    assert deployer("status", "--json").ok().json()["deployments"][0]["answers"] is True
