"""Trials of what some clients ask beside chatting: one model by its name, one tool by its name, the newer API."""

import json
from typing import Any
from urllib.parse import quote

from deployer.health.answers import ProtocolError
from deployer.health.features import SCHEMA, TOOL
from deployer.health.trial import Broken, Live, NotSupported, refused, user

_TOKENS = 48
_FAILS = 500
"""What SGLang 0.5.23 answers at `/v1/responses` where its package openai-harmony is missing: it says so in its log."""


def model_by_name(live: Live) -> str:
    """`GET /v1/models/NAME` tells of the model: clients ask whether a name that they were given is there."""
    path = f"/v1/models/{quote(live.model, safe='/:@')}"
    try:
        told = live.client.get(path).get("id")
    except ProtocolError as error:
        raise refused(error, path) from error
    if told != live.model:
        raise Broken(f"{path} tells of {told!a}")
    return f"{path} answers"


def tool_by_name(live: Live) -> str:
    """A `tool_choice` that names a tool is obeyed, also where the model would not call it."""
    named = {"type": "function", "function": {"name": TOOL["function"]["name"]}}
    try:
        answer = live.ask("Say hello.", max_tokens=_TOKENS, tools=[TOOL], tool_choice=named)
    except ProtocolError as error:
        raise refused(error, "tool_choice with the name of a tool") from error
    if not answer.tool_calls:
        raise NotSupported("the field is accepted and ignored: no call came, though one tool was named")
    call = answer.tool_calls[0]
    return f"{call.name}({call.arguments[:60]}), which was not what the question asked for"


def responses(live: Live) -> str:
    """`/v1/responses`, which newer clients ask first; whether it keeps to a schema is told beside."""
    try:
        text = _output(live, "Say hello.")
    except ProtocolError as error:
        if error.status == _FAILS:
            raise NotSupported(f"/v1/responses is there, and fails: {error.message}") from error
        raise refused(error, "/v1/responses") from error
    if not text.strip():
        raise Broken("/v1/responses answers without a text")
    form = {"type": "json_schema", "name": "city", "strict": True, "schema": SCHEMA}
    try:
        bound = _is_city(_output(live, "What is the capital of France? Is it large?", text={"format": form}))
    except ProtocolError as error:
        return f"{len(text)} characters; a JSON schema is refused: {error.message}"
    return f"{len(text)} characters; a JSON schema is " + ("obeyed" if bound else "accepted and ignored")


def _output(live: Live, question: str, **options: object) -> str:
    body = {"model": live.model, "input": [user(question)], "max_output_tokens": _TOKENS, "temperature": 0, **options}
    items = live.client.post("/v1/responses", body).get("output")
    parts = [part for item in _objects(items) for part in _objects(item.get("content"))]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _is_city(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(value) == {"city", "large"}
