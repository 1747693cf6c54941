"""A scripted server that can do all that `check` asks for, and ways to take one thing from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from deployer import catalog
from deployer.health import CapabilityResult, CheckReport, Target, check
from deployer.types import EngineProfile

Change = Callable[[dict[str, Any], dict[str, Any]], Any]
CONTEXT = 2048


def general(name: str) -> EngineProfile:
    """The profile of an engine, as if it could chat where it makes vectors: the scripted server does both."""
    engine = catalog.load_engine(name)
    assert engine.capabilities is not None
    both = msgspec.structs.replace(engine.capabilities, vectors_alone=False, reranker=None, ranks_alone=False)
    return msgspec.structs.replace(engine, capabilities=both)


def chat_route(server: Any, change: Change) -> Any:
    """A chat route behind the key whose whole answers go through `change(body, answer)`."""

    def route(handler: Any) -> None:
        if server.locked and handler.headers.get("Authorization") != f"Bearer {server.key}":
            handler.reply(401, {})
        elif handler.body.get("stream"):
            handler.stream(["1 ", "2 ", "3 ", "4 "], pause_s=0.01)
        else:
            answer = server.answer(handler.body)
            changed = change(handler.body, answer)
            handler.reply(*changed) if isinstance(changed, tuple) else handler.reply(200, changed)

    return route


def capable(body: dict[str, Any], answer: dict[str, Any]) -> Any:
    """What a full server does to the plain answer."""
    message, prompt_tokens = answer["choices"][0]["message"], answer["usage"]["prompt_tokens"]
    if body.get("model") != "demo":
        return (404, {"error": {"message": "no such model"}})
    if prompt_tokens > CONTEXT:
        return (400, {"error": {"message": "exceeds the available context size"}})
    if body.get("temperature") == 1 and "seed" in body:
        message["content"] = f"a story for seed {body['seed']}"
    if body.get("logprobs"):
        answer["choices"][0]["logprobs"] = {"content": [{"token": "1", "logprob": -0.5}] * 8}
    answer["choices"] *= body.get("n", 1)
    bound(body, message)
    answer["timings"] = {"prompt_per_second": 5000.0}
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": prompt_tokens - 4}
    return answer


def bound(body: dict[str, Any], message: dict[str, Any]) -> None:
    if "response_format" in body:
        message["content"] = json.dumps({"city": "Paris", "large": True})
    if body.keys() & {"regex", "ebnf", "grammar", "structured_outputs"}:
        message["content"] = "teal-42"
    if "tools" in body and body["messages"][-1]["role"] != "tool":
        function = {"name": "get_temperature", "arguments": '{"city": "Paris"}'}
        message |= {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


def make_capable(server: Any, change: Change = capable, *, owner: str = "sglang") -> None:
    """Let the scripted server do everything, as an engine of `owner`; its chat answers go through `change`."""

    def behind_key(answer: Callable[[dict[str, Any]], Any]) -> Any:
        def route(handler: Any) -> None:
            right = not server.locked or handler.headers.get("Authorization") == f"Bearer {server.key}"
            handler.reply(200, answer(handler.body)) if right else handler.reply(401, {})

        return route

    def texts(body: dict[str, Any]) -> Any:
        given: list[str] = body.get("prompt", [])
        return {"choices": [{"index": place, "text": "four"} for place in range(len(given))]}

    def responded(body: dict[str, Any]) -> Any:
        text = json.dumps({"city": "Paris", "large": True}) if "text" in body else "Hello."
        return {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]}

    def vectors(body: dict[str, Any]) -> Any:
        if not isinstance(given := body.get("input"), list):
            raise TypeError("input")
        return {"data": [{"index": place, "embedding": vector(text)} for place, text in enumerate(given)]}

    def scores(body: dict[str, Any]) -> Any:
        if not isinstance(texts := body.get("documents"), list):
            raise TypeError("documents")
        return [{"index": place, "score": float("Paris" in text)} for place, text in enumerate(texts)]

    listed = {"data": [{"id": server.model, "max_model_len": CONTEXT, "owned_by": owner}]}
    server.routes["/v1/chat/completions"] = chat_route(server, change)
    server.routes["/v1/completions"] = behind_key(texts)
    server.routes["/v1/embeddings"] = behind_key(vectors)
    server.routes["/v1/rerank"] = behind_key(scores)
    server.routes["/v1/models"] = behind_key(lambda _: listed)
    server.routes["/v1/models/demo"] = behind_key(lambda _: listed["data"][0] | {"id": "demo"})
    server.routes["/v1/responses"] = behind_key(responded)
    server.routes["/metrics"] = lambda handler: handler.reply(200, b'sglang:cached_tokens_total{a="b"} 7\n')


def vector(text: str) -> list[float]:
    return [float(text.count(letter)) for letter in "aeiou"]


def report(server: Any, **options: Any) -> CheckReport:
    """Check the server as one of SGLang's, unless told otherwise."""
    known = {"key": server.key, "model": "demo", "engine": general("sglang")}
    named = [name for name in ("key", "model", "engine", "engines", "context") if name in options]
    target: dict[str, Any] = {**known, **{name: options.pop(name) for name in named}}
    return check(Target(base_url=server.url, **target), **options)


def checked(server: Any, **options: Any) -> dict[str, CapabilityResult]:
    """Results by name."""
    return {result.name: result for result in report(server, **options).checks}
