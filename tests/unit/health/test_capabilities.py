"""Each capability on a server that can do everything but that."""

from collections.abc import Callable
from typing import Any

import pytest

from deployer import catalog
from deployer.health import Target, check
from tests.unit.health.capable import capable, checked, general, make_capable


def without(server: Any, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> dict[str, tuple[str, str]]:
    """Status and evidence of all that does not work when `change` is made to the answers of a capable server."""

    def changed(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        full = capable(body, answer)
        return full if isinstance(full, tuple) else change(body, full)

    make_capable(server, changed)
    return {name: (item.status, item.detail) for name, item in checked(server).items() if item.status != "works"}


def say(answer: dict[str, Any], text: str) -> dict[str, Any]:
    answer["choices"][0]["message"]["content"] = text
    return answer


def test_a_seed_that_is_ignored(server: Any) -> None:
    said: list[int] = []

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        said.append(1)
        return say(answer, f"text {len(said)}") if body.get("temperature") == 1 and "seed" in body else answer

    found = without(server, change)
    assert {name: status for name, (status, _) in found.items()} == {"seed": "not supported"}
    assert "ignored" in found["seed"][1]


def test_a_first_answer_that_differs_is_still_repeatable(server: Any) -> None:
    said: list[object] = []

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        said.append(body.get("max_tokens"))
        return say(answer, "another") if said.count(24) == 1 and body.get("max_tokens") == 24 else answer

    make_capable(server, lambda body, answer: change(body, capable(body, answer)))
    result = checked(server)["repeatable"]
    assert (result.status, "second and third" in result.detail) == ("works", True)


def test_n_and_logprobs_that_are_ignored(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        answer["choices"] = answer["choices"][:1]
        answer["choices"][0]["logprobs"] = None
        return answer

    found = without(server, change)
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(("n", "logprobs"), "not supported")


@pytest.mark.parametrize("name", ["choice", "regex", "grammar"])
def test_an_answer_that_is_not_bound_is_broken(server: Any, name: str) -> None:
    field = {"choice": "regex", "regex": "regex", "grammar": "ebnf"}[name]
    found = without(server, lambda body, answer: say(answer, "It is Paris.") if field in body else answer)
    assert found[name][0] == "broken"
    assert "It is Paris." in found[name][1]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("llama.cpp", {"choice": {"grammar": 'root ::= "mauve-17" | "teal-42"'}, "regex": None}),
        ("vllm", {"choice": {"structured_outputs": {"choice": ["mauve-17", "teal-42"]}}}),
        ("sglang", {"choice": {"regex": "(mauve-17|teal-42)"}}),
        ("ollama", {"choice": None, "regex": None, "grammar": None}),
    ],
)
def test_every_engine_is_asked_in_its_own_words(server: Any, engine: str, expected: dict[str, Any]) -> None:
    make_capable(server)
    results = checked(server, engine=general(engine))
    sent = [body for _, body, _ in server.requests]
    for name, words in expected.items():
        if words is None:
            assert results[name].status == "not supported"
            assert engine in results[name].detail
        else:
            assert any(words.items() <= body.items() for body in sent)
            assert results[name].status == "works"


def test_a_server_of_an_unknown_kind_is_not_asked_in_foreign_words(server: Any) -> None:
    make_capable(server)
    results = checked(server, engine=None)
    assert {results[name].status for name in ("choice", "regex", "grammar")} == {"not supported"}
    assert "not known" in results["choice"].detail


def test_a_cache_that_counts_nothing(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        answer["usage"]["prompt_tokens_details"]["cached_tokens"] = 0
        return answer

    found = without(server, change)
    assert found["prefix cache"][0] == "not supported"
    assert "0 of" in found["prefix cache"][1]


def test_a_cache_that_only_the_metrics_tell(server: Any) -> None:
    asked: list[int] = []

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        asked.append(answer["usage"]["prompt_tokens"])
        del answer["usage"]["prompt_tokens_details"]
        return answer

    without(server, change)
    asked.clear()
    series = '# TYPE x counter\nsglang:cached_tokens_total{{a="1"}} {0}\nsglang:cached_tokens_total{{a="2"}} 1.0\n'
    server.routes["/metrics"] = lambda handler: handler.reply(200, series.format(float(sum(asked))).encode())
    result = checked(server)["prefix cache"]
    assert result.status == "works"
    assert "by the engine's metrics" in result.detail


def test_a_prompt_that_is_cut_in_silence(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        answer["usage"]["prompt_tokens"] = min(answer["usage"]["prompt_tokens"], 1000)
        return answer

    found = without(server, change)
    assert found["long prompt"] == (
        "broken",
        "of a prompt of about 2040 tokens only 1000 were read: it cuts in silence",
    )


def test_a_long_prompt_needs_a_known_context(server: Any) -> None:
    make_capable(server)
    server.routes["/v1/models"] = lambda handler: handler.reply(200, {"data": [{"id": "demo"}]})
    found = checked(server)["long prompt"]
    assert (found.status, "--context" in found.detail) == ("not supported", True)
    told = checked(server, context=1024)["long prompt"]
    assert (told.status, "of 1024 tokens" in told.detail) == ("works", True)


def test_a_context_that_would_take_too_long_is_not_read(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        return {**answer, "timings": {"prompt_per_second": 10.0}}

    found = without(server, change)
    assert found["long prompt"][0] == "not run"
    assert "about 204 s at 10 tokens/s" in found["long prompt"][1]


def test_a_server_that_falls_over_a_long_prompt(server: Any) -> None:
    fallen: list[bool] = []

    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        full = capable(body, answer)
        if isinstance(full, tuple) and full[0] == 400:
            fallen.append(True)
        return (503, {"error": {"message": "gone"}}) if fallen and full is answer else full

    make_capable(server, change)
    result = checked(server)["too long prompt"]
    assert (result.status, "does not answer: HTTP 503" in result.detail) == ("broken", True)


def test_a_route_that_the_profile_does_not_call_open(server: Any) -> None:
    make_capable(server)
    server.routes["/get_server_info"] = lambda handler: handler.reply(200, {"api_key": "right-key"})
    results = checked(server)
    assert results["key"].status == "works"
    assert results["open paths"].status == "broken"
    assert "GET /get_server_info" in results["open paths"].detail


def test_an_api_route_that_takes_any_key(server: Any) -> None:
    make_capable(server)
    server.routes["/v1/completions"] = lambda handler: handler.reply(
        200 if "Authorization" in handler.headers else 401, {}
    )
    result = checked(server)["key"]
    assert (result.status, "POST /v1/completions" in result.detail) == ("broken", True)


def test_paths_that_are_known_to_be_open_are_listed(server: Any) -> None:
    make_capable(server)
    server.routes["/invocations"] = lambda handler: handler.reply(400, {})
    result = checked(server, engine=catalog.load_engine("vllm"))["open paths"]
    assert result.status == "works"
    assert "GET /metrics, GET /health" in result.detail
    assert "work can be asked there without it: POST /invocations" in result.detail


def test_an_engine_without_a_key_of_its_own_has_everything_closed_before_it(server: Any) -> None:
    make_capable(server)
    engine = catalog.load_engine("ollama")
    assert checked(server, engine=engine)["open paths"].status == "works"
    server.routes["/api/tags"] = lambda handler: handler.reply(200, {})
    assert checked(server, engine=engine)["open paths"].status == "broken"


def test_nonsense_that_is_a_server_error(server: Any) -> None:
    make_capable(server)
    whole = server.routes["/v1/chat/completions"]
    server.routes["/v1/chat/completions"] = lambda handler: (
        whole(handler) if isinstance(handler.body.get("messages"), list) else handler.reply(500, {})
    )
    result = checked(server)["malformed request"]
    assert (result.status, "HTTP 500" in result.detail) == ("broken", True)


def test_a_refusal_of_the_key_is_no_proof_of_anything_else(server: Any) -> None:
    make_capable(server)
    whole = server.routes["/v1/chat/completions"]

    def route(handler: Any) -> None:
        body = handler.body
        sound = isinstance(body.get("messages"), list) and body.get("model") == "demo"
        whole(handler) if sound and len(str(body)) < 9000 else handler.reply(403, {})

    server.routes["/v1/chat/completions"] = route
    results = checked(server)
    assert (results["malformed request"].status, results["unknown model"].status) == ("not run", "not run")
    assert "HTTP 403 tells of the key" in results["unknown model"].detail
    assert results["too long prompt"].status == "broken"


def test_any_model_name_is_answered(server: Any) -> None:
    make_capable(server, lambda body, answer: capable({**body, "model": "demo"}, answer))
    result = checked(server)["unknown model"]
    assert (result.status, "any name" in result.detail) == ("not supported", True)


def test_a_list_of_prompts_of_which_one_is_answered(server: Any) -> None:
    make_capable(server)
    server.routes["/v1/completions"] = lambda handler: handler.reply(200, {"choices": [{"text": "four"}]})
    assert checked(server)["batch"].status == "broken"


def test_an_embedding_server_does_not_chat(server: Any) -> None:
    make_capable(server, lambda body, answer: (501, {"error": {"message": "start it without --embeddings"}}))
    results = checked(server)
    assert results["embeddings"].status == "works"
    assert "5 numbers" in results["embeddings"].detail
    assert (results["chat"].status, results["streaming"].status) == ("not supported", "not supported")
    assert results["streaming"].detail == "it does not chat"
    assert results["key"].status == "works"
    assert results["unknown model"].status == "not supported"
    assert {"broken"} & {result.status for result in results.values()} == set()


def chats_asked(server: Any) -> list[Any]:
    asked = [body for path, body, _ in server.requests if path == "/v1/chat/completions"]
    return [body for body in asked if "messages" in body]


def test_an_engine_that_dies_of_a_chat_is_not_asked_to(server: Any) -> None:
    make_capable(server)
    results = checked(server, engine=catalog.load_engine("sglang"))
    assert results["embeddings"].status == "works"
    assert (results["chat"].status, "not asked" in results["chat"].detail) == ("not supported", True)
    assert chats_asked(server) == []


def test_a_deployment_for_vectors_is_not_asked_to_chat(server: Any) -> None:
    make_capable(server)
    known = Target(base_url=server.url, key=server.key, model="demo", embedding=True, engines=catalog.load_engines())
    results = {result.name: result.status for result in check(known).checks}
    assert (results["embeddings"], results["key"], results["chat"]) == ("works", "works", "not supported")
    assert chats_asked(server) == []


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ([[1.0, 2.0]], "3 texts gave 1"),
        ([[1.0], [1.0, 2.0], [1.0]], "1, 2 numbers"),
        ([[0.0], [0.0], [0.0]], "zeros"),
        ([[-1.0, 9.0], [1.0, 2.0], [1.0, 2.0]], "another vector"),
    ],
)
def test_vectors_that_cannot_be_used(server: Any, answer: list[list[float]], word: str) -> None:
    make_capable(server)

    def route(handler: Any) -> None:
        given = handler.body.get("input", [])
        vectors = answer if len(given) > 1 else [[1.0, 2.0][: len(answer[0])]]
        handler.reply(200, {"data": [{"index": place, "embedding": one} for place, one in enumerate(vectors)]})

    server.routes["/v1/embeddings"] = route
    result = checked(server)["embeddings"]
    assert (result.status, word in result.detail) == ("broken", True), result
