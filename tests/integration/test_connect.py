"""Every snippet of `connect` that can run is run against a real server, also from another container; and adoption."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.integration.conftest import free_port
from tests.integration.served import Served, serving

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

pytestmark = pytest.mark.integration

MODEL = "smollm2-135m-instruct"
# Two threads that spin wait for each other where others use the processor too.
ONE_THREAD = ("--engine-arg=--threads", "--engine-arg=1")
ASKED = (MODEL, "--engine", "llama.cpp", "--users", "2", "--context", "2048", *ONE_THREAD)
CLIENT = "deployer-test-client"


@pytest.fixture(scope="module")
def served(docker_engine: "docker.DockerClient") -> Iterator[Served]:
    with serving(docker_engine, "connect", *ASKED, "--runtime", "compose") as found:
        yield found


@pytest.fixture
def client(docker_engine: "docker.DockerClient", served: Served) -> Iterator["Container"]:
    """Another program's container: the server's image has curl, and nothing else of it is used."""
    image = served.document["image"]["id"]
    made: Any = docker_engine.containers.run(image, entrypoint=["sleep", "600"], detach=True, init=True)
    yield made
    made.remove(force=True)


def snippet(served: Served, client: str, name: str | None = None) -> str:
    text = served.deployer("connect", name or served.name, "--for", client).ok().stdout
    assert served.key not in text
    return text


def models_from(container: "Container", url: str, key: str) -> list[str]:
    """What `/models` below a URL lists when a container asks; the key goes through its standard input."""
    argv = ("docker", "exec", "-i", str(container.id), "curl", "-sS", "--fail-with-body", "--max-time", "20")
    asked = subprocess.run(
        (*argv, "-H", "@-", f"{url}/models"),
        input=f"Authorization: Bearer {key}",
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    return [entry["id"] for entry in json.loads(asked.stdout)["data"]]


@pytest.mark.parametrize("client_program", ["openai", "langchain", "curl"])
def test_a_pasted_snippet_answers(client_program: str, served: Served) -> None:
    text = snippet(served, client_program)
    argv = ("bash", "-euo", "pipefail", "-c", text) if client_program == "curl" else (sys.executable, "-c", text)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answer = done.stdout
    if client_program == "curl":
        document = json.loads(answer)
        assert document["model"] == "connect"
        answer = document["choices"][0]["message"]["content"]
    assert len(answer.split()) > 1  # a small model that may choose its words: it need not name Paris


def test_a_container_that_joins_the_network_reaches_it(served: Served, client: "Container") -> None:
    said = served.run("connect", served.name)
    (network,) = said["networks"]
    line = next(line for line in snippet(served, "openwebui").splitlines() if "docker network connect" in line)
    assert line.split() == ["docker", "network", "connect", network, "open-webui"]
    subprocess.run([*line.split()[:-1], str(client.id)], check=True)
    assert models_from(client, said["container_base_url"], served.key) == ["connect"]


def test_the_lines_for_compose_join_it_too(served: Served, tmp_path: Path) -> None:
    said, text = served.run("connect", served.name), snippet(served, "n8n")
    block = text[text.index("  services:") : text.index("Bring the server up")]
    own = {"services": {"n8n": {"image": served.document["image"]["id"], "pull_policy": "never", "init": True}}}
    own["services"]["n8n"] |= {"entrypoint": ["sleep", "600"]}
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "compose.override.yaml").write_text(block)
    compose = ("docker", "compose", "-p", CLIENT)
    try:
        subprocess.run((*compose, "up", "-d"), cwd=tmp_path, check=True, capture_output=True)
        found = subprocess.run((*compose, "ps", "-q"), cwd=tmp_path, check=True, capture_output=True, text=True)
        container: Any = type("Named", (), {"id": found.stdout.strip()})
        assert models_from(container, said["container_base_url"], served.key) == ["connect"]
    finally:
        subprocess.run((*compose, "down", "-t", "0"), cwd=tmp_path, check=True, capture_output=True)


def test_without_the_network_it_is_out_of_reach(served: Served, client: "Container") -> None:
    """What the text says: the port on the host's loopback is no way in."""
    port = served.document["base_url"].rpartition(":")[2]
    for host in ("deployer-connect-llm-1:8080", f"172.17.0.1:{port.removesuffix('/v1')}"):
        with pytest.raises(AssertionError):
            models_from(client, f"http://{host}/v1", served.key)


def test_a_client_in_the_network_finds_the_next_server_where_it_was(
    served: Served, client: "Container", docker_engine: "docker.DockerClient"
) -> None:
    said = served.run("connect", served.name)
    (name,) = said["networks"]
    docker_engine.networks.get(name).connect(client)
    try:
        assert served.run("down", served.name, "--yes")["changed"] is True
        assert docker_engine.networks.list(names=[name])
        again = served.run("up", *served.asked, "--yes")
        assert again["changed"] is True
        assert models_from(client, said["container_base_url"], served.key) == ["connect"]
    finally:
        docker_engine.networks.get(name).disconnect(client, force=True)


def test_a_running_server_is_adopted_and_let_go(served: Served, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(served.key)
    words = ("adopt", served.document["base_url"], "--name", "desk", "--key-file", str(key_file))
    found = served.run(*words, "--yes")
    assert (found["engine"], found["model"], found["changed"]) == ("llama.cpp", "connect", True)
    rows = {row["name"]: row for row in served.run("status")["deployments"]}
    assert (rows["desk"]["status"], rows["desk"]["answers"]) == ("adopted", True)
    checks = served.run("check", "desk", "--timeout", "600")["checks"]
    assert {"model info", "chat"} <= {item["name"] for item in checks if item["status"] == "works"}
    pasted = subprocess.run(
        (sys.executable, "-c", snippet(served, "openai", "desk")), capture_output=True, text=True, check=True
    )
    assert len(pasted.stdout.split()) > 1
    served.deployer("up", MODEL, "--name", "desk", "--port", str(free_port()), "--yes").exited(3)
    assert served.run("down", "desk", "--yes")["changed"] is True
    assert "Paris" in served.ask()
    assert [row["name"] for row in served.run("status")["deployments"]] == ["connect"]


def test_the_network_goes_with_the_server(served: Served, docker_engine: "docker.DockerClient") -> None:
    assert served.run("down", served.name, "--yes")["changed"] is True
    assert docker_engine.networks.list(names=["deployer-connect_llm"]) == []
