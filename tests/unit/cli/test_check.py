"""`check`: one table or one document, whatever happens, and an exit code that a script can use."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.health.capabilities import CAPABILITIES
from tests.unit.cli.begun import begun
from tests.unit.cli.test_bad_input import deployer
from tests.unit.health.capable import capable, chat_route, make_capable
from tests.unit.health.conftest import Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    make_capable(scripted, owner="llamacpp")
    without = {"error": {"message": "This server does not support embeddings. Start it with `--embeddings`"}}
    scripted.routes |= dict.fromkeys(("/v1/rerank", "/v1/embeddings"), lambda handler: handler.reply(501, without))
    scripted.routes["/metrics"] = lambda handler: handler.reply(401, {})
    yield scripted
    scripted.close()


def started(server: Scripted, home: Path, *args: str) -> subprocess.Popen[str]:
    return begun("check", server.url, server.key, home, *args)


def check(server: Scripted, home: Path, *args: str) -> tuple[int, str, str]:
    process = started(server, home, *args)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def status(document: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["status"] for item in document["checks"]}


def test_a_server_that_does_everything_but_vectors(server: Scripted, tmp_path: Path) -> None:
    code, stdout, _ = check(server, tmp_path, "--json")
    document = json.loads(stdout)
    assert code == 0
    assert (document["engine"], document["model"], document["context"]) == ("llama.cpp", "demo", 2048)
    assert document["complete"] is True
    assert [name for name, found in status(document).items() if found != "works"] == [
        "rerank",
        "embeddings",
        "regex",
    ]
    assert {"name", "status", "detail", "seconds"} == set(document["checks"][0])


def test_the_table_and_the_progress_are_apart(server: Scripted, tmp_path: Path) -> None:
    code, stdout, stderr = check(server, tmp_path)
    assert code == 0
    assert stdout.splitlines()[0].split() == ["CAPABILITY", "STATUS", "SECONDS", "EVIDENCE"]
    assert len(stdout.splitlines()) == 1 + len(CAPABILITIES)
    assert stderr == ""
    rows = {line.split("  ")[0]: line for line in stdout.splitlines()}
    assert "✓ works" in rows["tool calling"]
    assert "- not supported" in rows["regex"]


def test_a_dead_port_is_one_error_and_a_wrong_key_another(server: Scripted, tmp_path: Path) -> None:
    nobody = deployer("check", "--url", "http://127.0.0.1:1", home=tmp_path)
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "nothing answers at http://127.0.0.1:1: connection refused" in nobody.stderr
    none = deployer("check", "--url", server.url, home=tmp_path)
    assert (none.returncode, none.stdout) == (2, "")
    assert "asks for a key, and none was given (HTTP 401)" in none.stderr
    assert f"next:  deployer check --url {server.url} --key-file FILE" in none.stderr
    (tmp_path / "wrong").write_text("not-this-one\n")
    wrong = deployer("check", "--url", server.url, "--key-file", str(tmp_path / "wrong"), "--json", home=tmp_path)
    assert wrong.returncode == 2
    assert "refuses this key" in json.loads(wrong.stdout)["error"]["message"]


def test_a_key_that_opens_the_list_of_models_alone_is_refused_too(server: Scripted, tmp_path: Path) -> None:
    server.routes["/v1/chat/completions"] = lambda handler: handler.reply(401, {})
    code, _, stderr = check(server, tmp_path)
    assert code == 2
    assert "refuses this key (HTTP 401)" in stderr


def test_what_is_broken_is_one_document_and_exit_6(server: Scripted, tmp_path: Path) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        full = capable(body, answer)
        if not isinstance(full, tuple):
            full["usage"]["total_tokens"] = 0
        return full

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    code, stdout, stderr = check(server, tmp_path, "--json")
    document = json.loads(stdout)
    assert code == 6
    assert (status(document)["token usage"], document["complete"]) == ("broken", True)
    assert document["error"]["message"] == "broken: token usage"
    assert "error: broken: token usage" in stderr
    code, stdout, stderr = check(server, tmp_path)
    assert code == 6
    assert "✗ broken" in stdout
    assert f"deployer check --url {server.url}" in stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interruption_shows_what_is_done(server: Scripted, tmp_path: Path, number: int, code: int) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        if "stop" in body:
            server.released.wait(120)
        return capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    process = started(server, tmp_path, "--json")
    until = time.monotonic() + 60
    while not any("stop" in body for _, body, _ in list(server.requests)):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=60)
    document = json.loads(stdout)
    assert process.returncode == code
    assert document["complete"] is False
    assert document["error"]["kind"] == "interrupted"
    assert status(document)["max_tokens"] == "works"
    assert "stop" not in status(document)


def test_no_key_is_shown_anywhere(server: Scripted, tmp_path: Path) -> None:
    server.locked = False
    code, stdout, stderr = check(server, tmp_path)
    assert code == 6
    assert server.key not in stdout + stderr


def test_a_name_and_a_url_are_too_much(server: Scripted, tmp_path: Path) -> None:
    code, stdout, _ = check(server, tmp_path, "demo", "--json")
    assert (code, json.loads(stdout)["error"]["kind"]) == (2, "bad-input")
