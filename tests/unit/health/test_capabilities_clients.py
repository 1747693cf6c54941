"""What clients ask beside chatting: one model by its name, one tool by its name, `/v1/responses`."""

from typing import Any

import pytest

from tests.unit.health.capable import capable, checked, make_capable


def test_one_model_is_told_by_its_name(server: Any) -> None:
    make_capable(server)
    found = checked(server)["model by name"]
    assert (found.status, found.detail) == ("works", "/v1/models/demo answers")


def test_a_name_that_no_path_can_hold_as_it_is(server: Any) -> None:
    make_capable(server)
    server.model = "org/my model?"
    server.routes["/v1/models/org/my%20model%3F"] = lambda handler: handler.reply(200, {"id": server.model})
    found = checked(server, model=server.model)["model by name"]
    assert (found.status, found.detail) == ("works", "/v1/models/org/my%20model%3F answers")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(404, {}, "not supported"), (405, {}, "not supported"), (200, {"id": "other"}, "broken"), (500, {}, "broken")],
)
def test_a_model_that_is_not_told_by_its_name(server: Any, status: int, body: Any, said: str) -> None:
    make_capable(server)
    server.routes["/v1/models/demo"] = lambda handler: handler.reply(status, body)
    assert checked(server)["model by name"].status == said


def test_the_name_of_a_tool_that_is_ignored(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        full = capable(body, answer)
        if isinstance(body.get("tool_choice"), dict):
            full["choices"][0]["message"] = {"content": "Hello."}
        return full

    make_capable(server, change)
    results = checked(server)
    assert (results["tool calling"].status, results["tool by name"].status) == ("works", "not supported")
    assert "ignored" in results["tool by name"].detail


def test_the_tool_that_was_named_is_evidence(server: Any) -> None:
    make_capable(server)
    assert checked(server)["tool by name"].detail.startswith('get_temperature({"city": "Paris"})')


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [
        (
            [{"content": [{"type": "output_text", "text": "Hi."}]}],
            "works",
            "a JSON schema is accepted and ignored",
        ),
        ([{"type": "reasoning", "content": None}, "x", {"content": [7, {"text": 7}]}], "broken", "without a text"),
        (None, "broken", "without a text"),
    ],
)
def test_what_the_newer_api_answers(server: Any, output: object, status: str, said: str) -> None:
    make_capable(server)
    server.routes["/v1/responses"] = lambda handler: handler.reply(200, {"output": output})
    found = checked(server)["responses"]
    assert found.status == status
    assert said in found.detail


def test_the_newer_api_where_there_is_none_or_no_schema(server: Any) -> None:
    make_capable(server)
    for status in (404, 500):
        server.routes["/v1/responses"] = lambda handler, status=status: handler.reply(status, {"error": "no"})
        assert checked(server)["responses"].status == "not supported"

    def refusing(handler: Any) -> None:
        good = {"output": [{"content": [{"type": "output_text", "text": "Hi."}]}]}
        handler.reply(*((400, {"error": "text.format"}) if "text" in handler.body else (200, good)))

    server.routes["/v1/responses"] = refusing
    found = checked(server)["responses"]
    assert (found.status, "a JSON schema is refused" in found.detail) == ("works", True)


def test_a_schema_that_is_obeyed(server: Any) -> None:
    make_capable(server)
    assert checked(server)["responses"].detail.endswith("a JSON schema is obeyed")
