"""Which engine answers, told by what the real ones answer."""

from typing import Any

import pytest

from deployer import catalog
from deployer.health import Client, detect
from tests.unit.health.capable import report

ENGINES = catalog.load_engines()


def found(server: Any) -> str | None:
    engine = detect(Client(server.url, server.key), ENGINES)
    return None if engine is None else engine.engine


@pytest.mark.parametrize(("owner", "engine"), [("llamacpp", "llama.cpp"), ("vllm", "vllm"), ("sglang", "sglang")])
def test_the_owner_of_the_listed_model_tells(server: Any, owner: str, engine: str) -> None:
    server.routes["/v1/models"] = lambda handler: handler.reply(200, {"data": [{"id": "demo", "owned_by": owner}]})
    assert found(server) == engine


def test_a_path_that_only_one_engine_has_tells(server: Any) -> None:
    server.routes["/api/version"] = lambda handler: handler.reply(200, {"version": "0.35.1"})
    assert found(server) == "ollama"


def test_a_value_goes_before_a_path(server: Any) -> None:
    server.routes["/api/version"] = lambda handler: handler.reply(200, {"version": "0.35.1"})
    server.routes["/v1/models"] = lambda handler: handler.reply(200, {"data": [{"id": "demo", "owned_by": "vllm"}]})
    assert found(server) == "vllm"


def test_a_foreign_server_is_of_no_known_kind(server: Any) -> None:
    assert found(server) is None


@pytest.mark.parametrize("answer", [b"[1]", b"{}", b'{"data": []}', b'{"data": [7]}', b"no json"])
def test_odd_answers_are_no_evidence(server: Any, answer: bytes) -> None:
    server.routes["/v1/models"] = lambda handler: handler.reply(200, answer)
    server.routes["/api/version"] = lambda handler: handler.reply(200, answer)
    assert found(server) is None


def test_a_server_that_is_not_there_is_of_no_known_kind() -> None:
    assert detect(Client("http://127.0.0.1:1", None), ENGINES) is None


def test_the_report_names_the_engine_and_its_context(server: Any) -> None:
    listed = {"data": [{"id": "demo", "owned_by": "vllm", "max_model_len": 777}]}
    server.routes["/v1/models"] = lambda handler: handler.reply(200, listed)
    checked = report(server, engine=None, engines=ENGINES, model=None)
    assert (checked.engine, checked.model, checked.context) == ("vllm", "demo", 777)
