"""Snippets are run as a person would paste them; names that come from foreign servers cannot break out of them."""

import getpass
import json
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from deployer.types import Adopted
from deployer.workflow import connecting
from deployer.workflow.endpoint import Endpoint, is_loopback
from tests.unit.health.conftest import Scripted
from tests.unit.plans import build_plan

HOSTILE = 'it\'s "so" $(touch pwned) `id` \\ {x} 모델'


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def found(server: Scripted, tmp_path: Path) -> Endpoint:
    key = tmp_path / "a 'quoted' $folder"
    key.mkdir()
    (key / "api_key").write_text(server.key)
    return Endpoint(
        name="demo", base_url=f"{server.url}/v1", model="demo", key_file=str(key / "api_key"), loopback=True
    )


def paste(client: str, found: Endpoint, folder: Path) -> str:
    text = connecting.snippet(found, client)
    argv = ("bash", "-euo", "pipefail", "-c", text) if client == "curl" else (sys.executable, "-c", text)
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", ["openai", "curl", "langchain"])
def test_a_snippet_is_answered_as_it_is_pasted(client: str, found: Endpoint, server: Scripted, tmp_path: Path) -> None:
    server.model = HOSTILE
    pasted = paste(client, msgspec.structs.replace(found, model=HOSTILE), tmp_path)
    assert "1 2 3" in pasted
    path, body, headers = server.requests[-1]
    assert (path, body["model"]) == ("/v1/chat/completions", HOSTILE)
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == f"Bearer {server.key}"
    assert not (tmp_path / "pwned").exists()
    assert server.key not in connecting.snippet(found, client)


@pytest.mark.parametrize("client", ["openai", "curl"])
def test_a_server_without_a_key_is_asked_without_its_file(
    client: str, found: Endpoint, server: Scripted, tmp_path: Path
) -> None:
    server.locked = False
    assert "1 2 3" in paste(client, msgspec.structs.replace(found, key_file=None), tmp_path)
    assert "api_key" not in connecting.snippet(msgspec.structs.replace(found, key_file=None), client).replace(
        "api_key=", ""
    )


@pytest.mark.parametrize("client", ["curl", "openai", "n8n"])
def test_a_reranker_is_asked_to_rank(client: str, found: Endpoint, server: Scripted, tmp_path: Path) -> None:
    scores = {"results": [{"index": 0, "relevance_score": 0.5}]}
    server.routes["/v1/rerank"] = lambda handler: handler.reply(200, scores)
    text = connecting.snippet(msgspec.structs.replace(found, reranker=True), client)
    done = subprocess.run(("bash", "-c", text), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == scores
    path, body, headers = server.requests[-1]
    assert (path, len(body["documents"]), "Paris" in body["documents"][0]) == ("/v1/rerank", 2, True)
    assert headers["Authorization"] == f"Bearer {server.key}"
    assert text.startswith("# demo ranks texts") is (client != "curl")


def test_the_tunnel_is_one_that_ssh_understands(found: Endpoint) -> None:
    port = found.base_url.rpartition(":")[2].removesuffix("/v1")
    line = next(line for line in connecting.snippet(found, "ssh").splitlines() if line.startswith("ssh"))
    words = shlex.split(line)
    assert words == ["ssh", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{port}", words[-1]]
    assert words[-1] == f"{getpass.getuser()}@{socket.gethostname()}"
    if shutil.which("ssh"):
        read = subprocess.run(("ssh", "-G", *words[1:]), capture_output=True, text=True, check=True).stdout
        assert f"localforward [127.0.0.1]:{port} [127.0.0.1]:{port}" in read.splitlines()
        assert f"user {getpass.getuser()}" in read.splitlines()


def test_the_tunnels_key_survives_two_shells(found: Endpoint, tmp_path: Path) -> None:
    """`ssh HOST words` gives the words, joined, to a shell there."""
    line = connecting.snippet(found, "ssh").splitlines()[-1]
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    program.chmod(0o755)
    subprocess.run(("bash", "-c", line), cwd=tmp_path, env={"PATH": f"{program.parent}:/usr/bin:/bin"}, check=True)
    copied = tmp_path / "demo.key"
    assert copied.read_text() == Path(found.key_file or "").read_text()
    assert copied.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("base_url", "tunnel", "there"),
    [
        ("http://[::1]:9000/v1", "127.0.0.1:9000:[::1]:9000", "http://127.0.0.1:9000/v1"),
        ("https://llm.example/api/v1", "127.0.0.1:8000:llm.example:443", "https://127.0.0.1:8000/api/v1"),
    ],
)
def test_the_tunnel_leads_to_where_the_server_is(base_url: str, tunnel: str, there: str, found: Endpoint) -> None:
    text = connecting.snippet(msgspec.structs.replace(found, base_url=base_url), "ssh")
    assert tunnel in shlex.split(text.splitlines()[1])
    assert there in text
    assert ("certificate" in text) is base_url.startswith("https")


def endpoint(address: str, runtime: str) -> Endpoint:
    return Endpoint.of(build_plan("chat", address=address, runtime=runtime, key_file="/k/api_key", container_port=8080))


@pytest.mark.parametrize(
    ("found", "networks", "inside"),
    [
        (endpoint("127.0.0.1", "compose"), ["deployer-chat_llm"], "http://deployer-chat-llm-1:8080/v1"),
        (endpoint("0.0.0.0", "compose"), ["deployer-chat_llm"], "http://deployer-chat-llm-1:8080/v1"),
        (endpoint("127.0.0.1", "process"), [], None),
        (endpoint("0.0.0.0", "process"), [], "http://host.docker.internal:8000/v1"),
        (endpoint("10.0.0.5", "process"), [], "http://10.0.0.5:8000/v1"),
        (Endpoint.of_adopted(Adopted(name="a", base_url="http://localhost:11434/v1", model="m")), [], None),
        (
            Endpoint.of_adopted(Adopted(name="a", base_url="https://llm.example/v1", model="m")),
            [],
            "https://llm.example/v1",
        ),
    ],
)
def test_where_a_container_finds_it(found: Endpoint, networks: list[str], inside: str | None) -> None:
    document = connecting.document(found)
    assert (document["networks"], document["container_base_url"]) == (networks, inside)
    for client, service in (("n8n", "n8n"), ("openwebui", "open-webui")):
        text = connecting.snippet(found, client)
        assert (inside or found.base_url) in text
        assert ("docker network connect" in text) is bool(networks)
        assert ("--network host" in text) is (inside is None)
        assert ("host-gateway" in text) is ("host.docker.internal:8000" in (inside or ""))
        assert (f"    {service}:" in text) is (bool(networks) or "host-gateway" in text)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_lines_for_compose_are_yaml(address: str) -> None:
    text = connecting.snippet(endpoint(address, "compose"), "openwebui")
    block = text[text.index("  services:") : text.index("Bring the server up")]
    assert yaml.safe_load(block) == {
        "services": {"open-webui": {"networks": ["default", "chat"]}},
        "networks": {"chat": {"name": "deployer-chat_llm", "external": True}},
    }
    assert ("no TLS" in text) is (address == "0.0.0.0")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.8.8.8", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1", False),
        ("https://localhost.example", False),
    ],
)
def test_loopback_is_told_from_other_addresses(url: str, local: bool) -> None:
    assert is_loopback(url) is local


def test_the_document_has_what_a_script_needs(found: Endpoint) -> None:
    assert json.loads(json.dumps(connecting.document(found))) == {
        "format_version": 1,
        "name": "demo",
        "base_url": found.base_url,
        "model": "demo",
        "models": ["demo"],
        "key_file": found.key_file,
        "networks": [],
        "container_base_url": None,
        "adopted": False,
        "reranker": False,
    }
    assert connecting.document(msgspec.structs.replace(found, reranker=True))["reranker"] is True
