"""From a bare host to a verified server, and back to it after every kind of failure. All parts are real."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import Deployer, Outcome, Registry, free_port

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"
# Two threads that spin wait for each other where others use the processor too.
ONE_THREAD = ("--engine-arg=--threads", "--engine-arg=1")
AS_PLANNED = ("up", MODEL, "--runtime", "compose", "--yes", "--json")
UP = (*AS_PLANNED, *ONE_THREAD)
CAPITAL: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


@pytest.fixture
def port() -> str:
    return str(free_port())


@pytest.fixture
def up(deployer: Deployer, port: str) -> Iterator[Callable[..., Outcome]]:
    """`up` on a port of its own; whatever runs at the end is taken down."""

    def run(*args: str, **kwargs: Any) -> Outcome:
        return deployer(*UP, "--port", port, *args, **kwargs)

    yield run
    deployer("down", MODEL, "--yes")


def ask(document: dict[str, Any]) -> str:
    """The OpenAI Python client's answer to the capital of France."""
    from openai import OpenAI

    with OpenAI(base_url=document["base_url"], api_key=Path(document["key_file"]).read_text().strip()) as client:
        answer = client.chat.completions.create(model=document["model"], messages=CAPITAL, max_tokens=32, temperature=0)
    return answer.choices[0].message.content or ""


def status_without_key(document: dict[str, Any]) -> int:
    import openai

    with openai.OpenAI(base_url=document["base_url"], api_key="wrong", max_retries=0) as client:
        try:
            client.chat.completions.create(model=document["model"], messages=CAPITAL)
        except openai.APIStatusError as error:
            return error.status_code
    return 200


def container(engine: "docker.DockerClient", name: str = MODEL) -> dict[str, Any]:
    found = engine.containers.list(all=True, filters={"label": f"io.deployer.name={name}"})
    assert len(found) == 1, found
    attributes: dict[str, Any] = found[0].attrs
    return attributes


def no_container(engine: "docker.DockerClient", name: str = MODEL) -> bool:
    return not engine.containers.list(all=True, filters={"label": f"io.deployer.name={name}"})


def test_up_builds_what_cannot_be_pulled_answers_and_is_locked_down(
    up: Callable[..., Outcome], docker_engine: "docker.DockerClient", deployer: Deployer
) -> None:
    document = up().ok().json()
    assert "server" in document["unavailable"]
    assert document["image"]["profile"] == "debian"
    assert document["changed"] is True
    assert "Paris" in ask(document)
    assert status_without_key(document) == 401

    found = container(docker_engine)
    host, config = found["HostConfig"], found["Config"]
    assert found["Image"] == document["image"]["id"]
    assert config["User"] == "65532:65532"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["Privileged"] is False
    bindings = [binding for bound in host["PortBindings"].values() for binding in bound]
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]
    key = Path(document["key_file"]).read_text().strip()
    assert key not in str(found)
    assert oct(Path(document["key_file"]).stat().st_mode & 0o077) == "0o0"

    ledger = deployer("images", "ls", "--json").ok().json()["images"]
    assert [entry["image_id"] for entry in ledger] == [document["image"]["id"]]
    assert deployer("status", "--json").ok().json()["deployments"][0]["answers"] is True
    assert deployer("images", "verify", "--json").ok().json()["images"][0]["presence"] == "present"
    snippet = deployer("connect", MODEL, "--for", "openai").ok().stdout
    answered = subprocess.run((sys.executable, "-c", snippet), capture_output=True, text=True, check=True)
    assert answered.stdout.strip()
    assert key not in snippet
    checks = deployer("check", MODEL, "--timeout", "240", "--json").ok().json()["checks"]
    assert {"chat", "streaming", "key"} <= {item["name"] for item in checks if item["status"] == "works"}


@pytest.mark.usefixtures("up")
def test_threads_and_slots_follow_the_host_and_the_users(
    port: str, docker_engine: "docker.DockerClient", deployer: Deployer
) -> None:
    cores = deployer("probe", "--json").ok().json()["cpu"]["available_cores"]
    deployer(*AS_PLANNED, "--port", port, "--users", "3", "--context", "2048").ok()
    command = container(docker_engine)["Args"]
    assert command[command.index("--threads") + 1] == str(cores)
    assert command[command.index("--parallel") + 1] == "3"
    assert command[command.index("--ctx-size") + 1] == str(3 * 2048)


def test_up_again_changes_nothing(up: Callable[..., Outcome], docker_engine: "docker.DockerClient") -> None:
    up().ok()
    before = container(docker_engine)
    again = up().ok().json()
    after = container(docker_engine)
    assert again["changed"] is False
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] == before["State"]["StartedAt"]


def test_an_image_verified_here_is_used_without_pull_or_build(
    up: Callable[..., Outcome], deployer: Deployer, no_network: Callable[[], None]
) -> None:
    first = up().ok().json()
    deployer("down", MODEL, "--yes").ok()
    no_network()
    again = up().ok().json()
    assert again["image"]["source"] == "verified"
    assert again["image"]["id"] == first["image"]["id"]
    assert again["unavailable"] == {}
    assert again["warnings"] == first["warnings"]


@pytest.fixture
def no_network(docker_engine: "docker.DockerClient") -> Iterator[Callable[[], None]]:
    """Cut containers and builds from the network (Docker's own hook in the firewall), until the test ends."""
    rule = ("DOCKER-USER", "-j", "DROP")
    cut = []

    def cut_now() -> None:
        subprocess.run(("iptables", "-I", *rule), check=True)
        cut.append(rule)

    yield cut_now
    for done in cut:
        subprocess.run(("iptables", "-D", *done), check=True)


@pytest.fixture
def broken_upgrade(tmp_path: Path) -> dict[str, str]:
    """A newer copy of this program whose Dockerfile cannot be built."""
    copy = tmp_path / "upgrade"
    for name in ("deployer", "templates", "profiles"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    dockerfile = copy / "templates/engines/llama.cpp/debian.Dockerfile.j2"
    text = dockerfile.read_text()
    assert "llama.cpp-tools" in text
    dockerfile.write_text(text.replace("llama.cpp-tools", "llama.cpp-no-such-package"))
    return {"PYTHONPATH": str(copy)}


def test_a_failed_build_ends_with_the_verified_image_serving(
    up: Callable[..., Outcome], deployer: Deployer, no_network: Callable[[], None], broken_upgrade: dict[str, str]
) -> None:
    first = up().ok().json()
    deployer("down", MODEL, "--yes").ok()
    no_network()
    rescued = up(env=broken_upgrade).ok()
    document = rescued.json()
    assert document["image"]["id"] == first["image"]["id"]
    assert {"server", "debian"} <= set(document["unavailable"])
    assert "verified" in " ".join(document["warnings"])
    assert document["image"]["id"][7:19] in " ".join(document["warnings"])
    assert "debian" in rescued.stderr
    assert "Paris" in ask(document)


def test_a_failed_build_without_any_verified_image_says_so_and_stops_nothing(
    deployer: Deployer, port: str, broken_upgrade: dict[str, str], docker_engine: "docker.DockerClient"
) -> None:
    failed = deployer(*UP, "--port", port, env=broken_upgrade).exited(3).json()
    assert failed["error"]["kind"] == "image-unavailable"
    assert "no-such-package" in failed["error"]["message"]
    assert no_container(docker_engine)


def test_a_pinned_digest_survives_a_moved_tag(
    up: Callable[..., Outcome],
    deployer: Deployer,
    registry: Registry,
    llama_image: str,
    engine_image: Callable[..., str],
) -> None:
    pinned = registry.push(llama_image, "llama.cpp", "stable")
    reference = f"{registry.address}/llama.cpp:stable"
    first = up("--image", f"debian={reference}").ok().json()
    assert first["image"]["digest"] == pinned.partition("@")[2]
    deployer("down", MODEL, "--yes").ok()

    registry.push(engine_image("good"), "llama.cpp", "stable")
    words = ("plan", MODEL, "--runtime", "compose", "--image", f"debian={reference}", "--json")
    deadline = time.monotonic() + 60
    while True:
        document = deployer(*words).ok().json()
        assert document["image"]["digest"] == first["image"]["digest"]
        if any("tag" in warning and "now" in warning for warning in document["warnings"]):
            break
        assert time.monotonic() < deadline, document["warnings"]  # a registry that is slow is not waited for
    again = up("--image", f"debian={reference}").ok().json()
    assert again["image"]["id"] == first["image"]["id"]
    assert "Paris" in ask(again)


def test_a_verified_image_serves_while_its_registry_is_down(
    up: Callable[..., Outcome], deployer: Deployer, own_registry: Registry, llama_image: str
) -> None:
    own_registry.push(llama_image, "llama.cpp", "stable")
    image = ("--image", f"debian={own_registry.address}/llama.cpp:stable")
    first = up(*image).ok().json()
    deployer("down", MODEL, "--yes").ok()
    own_registry.go_down()
    again = up(*image).ok().json()
    assert again["image"]["id"] == first["image"]["id"]


@pytest.fixture
def misbehaving(registry: Registry, engine_image: Callable[..., str]) -> Callable[[str], tuple[str, str]]:
    def image(mode: str) -> tuple[str, str]:
        registry.push(engine_image(mode), f"engine-{mode}")
        return "--image", f"debian={registry.address}/engine-{mode}:latest"

    return image


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("never-ready", "not ready"),
        ("crash-loop", "crashes|exit status"),
        ("dies-after-ready", ""),
        ("wrong-model", "another-model"),
        ("no-key", "key"),
        ("dead-engine", "500"),
    ],
)
def test_a_server_that_misbehaves_is_refused_and_removed(
    mode: str,
    words: str,
    up: Callable[..., Outcome],
    misbehaving: Callable[[str], tuple[str, str]],
    docker_engine: "docker.DockerClient",
) -> None:
    failed = up(*misbehaving(mode), "--timeout", "6" if mode == "never-ready" else "120").exited(8)
    error = failed.json()["error"]
    assert error["kind"] == "not-serving"
    assert re.search(words, error["message"] + error["details"]["observed"])
    assert error["details"]["log_tail"]
    assert no_container(docker_engine)


def test_a_bad_flag_is_named_with_the_engines_own_words(
    up: Callable[..., Outcome], docker_engine: "docker.DockerClient"
) -> None:
    error = up("--engine-arg", "--no-such-flag").exited(8).json()["error"]
    assert "--no-such-flag" in error["message"]
    assert any("invalid argument" in line for line in error["details"]["log_tail"])
    assert no_container(docker_engine)


def test_a_missing_model_file_is_bad_input(deployer: Deployer, docker_engine: "docker.DockerClient") -> None:
    error = deployer("up", "/nope/model.gguf", "--yes", "--json").exited(2).json()["error"]
    assert "/nope/model.gguf" in error["message"]
    assert no_container(docker_engine)


def test_a_taken_port_is_refused_before_anything_is_stopped(
    up: Callable[..., Outcome], docker_engine: "docker.DockerClient", deployer: Deployer
) -> None:
    import socket

    up().ok()
    before = container(docker_engine)["Id"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = str(taken.getsockname()[1])
        error = deployer(*UP, "--port", other).exited(3).json()["error"]
    assert other in error["message"]
    assert container(docker_engine)["Id"] == before


def test_a_failed_change_brings_the_old_release_back(
    up: Callable[..., Outcome], docker_engine: "docker.DockerClient", deployer: Deployer
) -> None:
    first = up().ok().json()
    failed = up("--engine-arg", "--no-such-flag").exited(7).json()
    assert failed["error"]["kind"] == "rolled-back"
    assert "Paris" in ask(first)
    releases = deployer("history", MODEL, "--json").ok().json()["releases"]
    assert [release["status"] for release in releases] == ["failed", "healthy"]
    assert container(docker_engine)["State"]["Running"]


def test_rollback_serves_an_earlier_release_again(up: Callable[..., Outcome], deployer: Deployer) -> None:
    first = up().ok().json()
    up("--users", "2").ok()
    back = deployer("rollback", "--yes", "--json").ok().json()
    assert back["release"] == first["release"] + 2
    assert "Paris" in ask(back)


def test_an_interrupt_while_starting_leaves_nothing(
    deployer: Deployer,
    port: str,
    misbehaving: Callable[[str], tuple[str, str]],
    docker_engine: "docker.DockerClient",
) -> None:
    process = deployer.start(*UP, "--port", port, *misbehaving("never-ready"), "--timeout", "120")
    deadline = time.monotonic() + 60
    while no_container(docker_engine) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not no_container(docker_engine)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert no_container(docker_engine)


def test_two_at_once_one_proceeds_and_the_other_says_who(
    deployer: Deployer, port: str, misbehaving: Callable[[str], tuple[str, str]], docker_engine: "docker.DockerClient"
) -> None:
    slow = deployer.start(*UP, "--port", port, *misbehaving("never-ready"), "--timeout", "600")
    deadline = time.monotonic() + 60
    while no_container(docker_engine) and time.monotonic() < deadline:
        time.sleep(0.1)
    second = deployer(*UP, "--port", str(free_port()), "--name", "another").exited(5).json()["error"]
    assert second["kind"] == "locked"
    assert str(slow.pid) in second["message"] + str(second["details"])
    docker_engine.containers.get(container(docker_engine)["Id"]).kill()  # what would go on for minutes ends by itself
    slow.communicate(timeout=120)
    assert slow.returncode == 8


def test_without_docker_the_process_runtime_answers_the_same_client(deployer: Deployer, port: str) -> None:
    env = {"DOCKER_HOST": "unix:///nonexistent.sock"}
    document = deployer("up", MODEL, "--port", port, "--yes", "--json", env=env).ok().json()
    assert document["runtime"] == "process"
    assert "Paris" in ask(document)
    assert status_without_key(document) == 401
    again = deployer("up", MODEL, "--port", port, "--yes", "--json", env=env).ok().json()
    assert again["changed"] is False
    assert deployer("logs", MODEL, env=env).ok().stdout
    assert deployer("status", "--json", env=env).ok().json()["deployments"][0]["status"] == "running"
    assert deployer("down", MODEL, "--yes", "--json", env=env).ok().json()["changed"] is True
    assert status_after_down(document) is None


def status_after_down(document: dict[str, Any]) -> int | None:
    import requests

    try:
        return requests.get(f"{document['base_url']}/models", timeout=60).status_code
    except requests.ConnectionError:
        return None
