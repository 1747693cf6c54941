"""Which engines may be started: those to which the key can be handed over without showing it."""

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer import ledger
from deployer.errors import PreconditionError
from deployer.paths import Home
from deployer.types import Bundle, Plan, Request, ServerState
from deployer.workflow import planning, preflight, running
from tests.unit.plans import build_plan


def plan(engine: str, **changes: Any) -> Plan:
    return build_plan(engine=engine, **changes)


@pytest.mark.parametrize(
    "made",
    [
        plan("llama.cpp"),
        plan("vllm", launcher=["python3"]),
        plan("sglang", launcher=["python3"]),
        plan("vllm", runtime="process"),
        plan("sglang", runtime="process"),
        plan("ollama", gateway={"why": "no key", "routes": ["POST /v1/completions"], "image": "x"}),
        plan("tgi", gateway={"why": "half a key", "routes": ["POST /v1/completions"], "image": "x"}),
    ],
    ids=lambda made: f"{made.engine} {made.runtime}",
)
def test_an_engine_that_can_be_given_its_key_is_started(made: Plan) -> None:
    preflight.startable(made)
    assert made.engine


@pytest.mark.parametrize(("engine", "why"), [("vllm", "hand over"), ("tgi", "hand over"), ("ollama", "has no API key")])
def test_one_that_cannot_is_refused_with_the_reason(engine: str, why: str) -> None:
    with pytest.raises(PreconditionError, match=why) as caught:
        preflight.startable(plan(engine))
    assert "--engine llama.cpp" in caught.value.hint


def test_a_new_deployment_gets_a_port_on_which_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(planning, "FIRST_PORT", port)
        assert preflight.is_taken("127.0.0.1", port)
        found = planning.on_free_port(Request(model="m"), home).port
        assert found is not None
        assert found > port
        asked = Request(model="m", port=port)
        assert planning.on_free_port(asked, home) == asked
        ledger.create(home, build_plan("m", port=port), Bundle(files={}))
        assert planning.on_free_port(Request(model="m"), home).port == port  # its own server listens there


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


@pytest.mark.parametrize(
    ("before", "wanted", "status"),
    [
        ("127.0.0.1", "127.0.0.1", "running"),
        ("127.0.0.1", "0.0.0.0", "running"),  # the server that is replaced is in its own way there too
        ("0.0.0.0", "127.0.0.1", "starting"),
        ("127.0.0.2", "127.0.0.1", None),
        ("127.0.0.1", "127.0.0.1", "exited"),
    ],
)
def test_a_port_is_free_for_the_successor_of_the_server_that_holds_it(
    before: str, wanted: str, status: str | None, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = status in ("running", "starting")
    with socket.create_server((wanted, 0)) as holder:
        port = holder.getsockname()[1]
        ledger.create(home, build_plan("m", port, address=before), Bundle(files={}))
        found = msgspec.convert({"name": "m", "runtime": "compose", "status": status or "running"}, ServerState)
        monkeypatch.setattr(running, "state", lambda *_: found)
        if own:
            preflight.port("m", wanted, port, home)
        with pytest.raises(PreconditionError, match=f"port {port} on {wanted} is taken by another program"):
            preflight.port("m" if not own else "other", wanted, port, home)


def test_a_host_without_the_program_docker_is_refused(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    model = tmp_path / "m.gguf"
    model.touch(mode=0o644)
    made = plan("llama.cpp")
    made = msgspec.structs.replace(made, model=msgspec.structs.replace(made.model, path=str(model)))
    with pytest.raises(PreconditionError, match="the program docker with its Compose plugin is not on PATH") as caught:
        preflight.check(made, home)
    assert "docker-compose-plugin" in caught.value.hint
