"""What a server was started for is told without asking it to chat."""

from typing import Any

import pytest

from deployer import catalog
from deployer.health import Client, ProtocolError, makes_vectors_alone
from tests.unit.health.capable import report


def alone(server: Any, engine: str | None) -> bool:
    profile = None if engine is None else catalog.load_engine(engine)
    return makes_vectors_alone(Client(server.url, server.key), profile, "demo")


def says(value: Any) -> Any:
    return lambda handler: handler.reply(200, {"is_generation": value, "model_path": "/model"})


def refuse(handler: Any) -> None:
    handler.reply(501, {"error": {"message": "This server does not support embeddings"}})


def paths(server: Any) -> list[str]:
    return [path for path, _, _ in server.requests]


def test_the_model_info_tells_it(server: Any) -> None:
    server.routes["/model_info"] = says(False)
    assert alone(server, "sglang")
    assert paths(server) == ["/model_info", "/v1/embeddings"]


@pytest.mark.parametrize("answer", [True, None, 0, "false"])
def test_only_the_very_value_tells_it(server: Any, answer: Any) -> None:
    server.routes |= {"/model_info": says(answer), "/v1/embeddings": refuse}
    assert not alone(server, "sglang")


@pytest.mark.parametrize("engine", ["llama.cpp", "vllm", "sglang"])
def test_else_a_vector_tells_it_where_an_engine_does_one_of_both(server: Any, engine: str) -> None:
    assert alone(server, engine)
    server.routes["/v1/embeddings"] = refuse
    assert not alone(server, engine)
    assert "/v1/chat/completions" not in paths(server)


@pytest.mark.parametrize("engine", [None, "ollama", "lm-studio"])
def test_a_vector_tells_nothing_of_an_engine_that_does_both(server: Any, engine: str | None) -> None:
    assert not alone(server, engine)


def test_one_that_was_made_for_vectors_and_makes_none_is_an_error(server: Any) -> None:
    server.routes |= {
        "/model_info": says(False),
        "/v1/embeddings": lambda handler: handler.reply(200, {"data": [{"embedding": []}]}),
    }
    with pytest.raises(ProtocolError, match="empty"):
        alone(server, "sglang")


def test_a_check_of_one_never_asks_it_to_chat_even_when_its_vectors_fail(server: Any) -> None:
    server.routes |= {
        "/model_info": says(False),
        "/v1/embeddings": lambda handler: handler.reply(500, {"error": {"message": "the engine is busy"}}),
    }
    found = {item.name: item.status for item in report(server, engine=catalog.load_engine("sglang")).checks}
    assert (found["embeddings"], found["chat"], found["streaming"]) == ("broken", "not supported", "not supported")
    asked = [body for path, body, _ in server.requests if path == "/v1/chat/completions"]
    assert [body for body in asked if body.get("messages")] == []
