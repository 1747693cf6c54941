"""A reranker is asked for scores and for nothing else, and its answer is read strictly."""

import json
from typing import Any

import pytest

from deployer import catalog
from deployer.errors import StartError
from deployer.health import Client, ProtocolError, Target, check, ranks_alone
from deployer.health.scores import read_scores
from tests.unit.health.test_gate import Make, passing

FAMILY = {"is_generation": False, "embedding": {"family": "sequence_classification"}}


def results(*scores: object, key: str = "relevance_score", order: tuple[int, ...] = (2, 0, 1)) -> list[dict[str, Any]]:
    return [{"index": index, key: scores[index]} for index in order]


def route(answer: Any) -> Any:
    """Answer with the key, 401 without."""

    def reply(handler: Any) -> None:
        right = handler.headers.get("Authorization") == f"Bearer {handler.server_script.key}"
        found = answer(handler.body) if right else (401, {})
        handler.reply(*found) if isinstance(found, tuple) else handler.reply(200, found)

    return reply


def ranking(body: dict[str, Any]) -> Any:
    if not isinstance(body.get("documents"), list):
        return 400, {"error": {"message": "no documents"}}
    return {"results": [{"index": n, "relevance_score": -n / 2} for n in range(len(body["documents"]))]}


def refuse(status: int) -> Any:
    return route(lambda _: (status, {"error": {"message": "not here"}}))


def make_reranker(server: Any, engine: str = "llamacpp") -> None:
    server.routes |= {"/v1/rerank": route(ranking), "/v1/embeddings": refuse(404), "/v1/chat/completions": refuse(500)}
    listed = {"data": [{"id": "demo", "owned_by": engine, "max_model_len": 512}]}
    server.routes["/v1/models"] = route(lambda _: listed)


def asked(server: Any) -> set[str]:
    """Paths that work was asked for on: a request with an empty body, or none, only tries the door."""
    return {path for path, body, _ in server.requests if body} - {"/v1/models"}


@pytest.mark.parametrize(
    "document",
    [
        {"results": results(0.1, 0.9, -3)},
        results(0.1, 0.9, -3, key="score"),
        {"results": results(0.1, 0.9, -3, order=(0, 1, 2))},
    ],
)
def test_scores_are_in_the_order_of_the_texts(document: Any) -> None:
    assert read_scores(json.dumps(document).encode(), 3) == (0.1, 0.9, -3.0)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"results": results(0.1, 0.9, order=(1, 0))}, "2 scores for 3 texts"),
        ({"results": [*results(0.1, 0.9, 0.2), {"index": 3, "relevance_score": 1}]}, "4 scores for 3 texts"),
        ({"results": results(0.1, None, 0.2)}, "a score each"),
        ({"results": results(0.1, "0.9", 0.2)}, "a score each"),
        ({"results": results(0.1, True, 0.2)}, "a score each"),
        ({"results": results(0.1, float("nan"), 0.2)}, "no finite number"),
        ({"results": results(0.1, float("inf"), 0.2)}, "no finite number"),
        ({"results": {}}, "list of results"),
        ({"data": []}, "list of results"),
        ("a text", "list of results"),
        ([{"index": "0", "score": 1}], "list of results"),
    ],
)
def test_an_answer_that_is_no_list_of_scores(document: Any, said: str) -> None:
    body = json.dumps(document).encode() if not isinstance(document, str) else document.encode()
    with pytest.raises(ProtocolError, match=said):
        read_scores(body, 3)


def reranker_plan(make_plan: Make) -> dict[str, Any]:
    model = {**make_plan_model(make_plan), "reranker": True}
    return {"request": {"model": "m", "users": 1, "context": 512, "workload": "embedding"}, "model": model}


def make_plan_model(make_plan: Make) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(make_plan().model)
    return found


def test_the_gate_asks_for_scores(server: Any, make_plan: Make) -> None:
    make_reranker(server)
    report = passing(server, make_plan, plan=reranker_plan(make_plan))
    found = {item.name: item.detail for item in report.checks}
    assert found["answer"] == "3 texts, scores 0, -0.5, -1"
    assert found["key"] == "HTTP 401 without a key"
    assert found["long prompt"].endswith("words, score 0")
    assert asked(server) == {"/v1/rerank"}


def test_a_reranker_that_anyone_may_ask_does_not_pass(server: Any, make_plan: Make) -> None:
    make_reranker(server)
    server.routes["/v1/rerank"] = lambda handler: handler.reply(200, ranking(handler.body))
    with pytest.raises(StartError, match="/v1/rerank answered HTTP 200 without a key"):
        passing(server, make_plan, plan=reranker_plan(make_plan))


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_score_that_is_none_does_not_pass(server: Any, make_plan: Make, score: object) -> None:
    make_reranker(server)
    server.routes["/v1/rerank"] = route(
        lambda body: {"results": [{"index": n, "relevance_score": score} for n in range(len(body["documents"]))]}
    )
    with pytest.raises(StartError, match="score"):
        passing(server, make_plan, plan=reranker_plan(make_plan))


def checked(server: Any, engine: str, *, told: bool = False) -> dict[str, tuple[str, str]]:
    target = Target(
        base_url=server.url, key=server.key, model="demo", reranker=told, engine=catalog.load_engine(engine)
    )
    return {item.name: (item.status, item.detail) for item in check(target).checks}


@pytest.mark.parametrize(
    ("engine", "told"), [("llama.cpp", True), ("llama.cpp", False), ("vllm", True), ("vllm", False)]
)
def test_check_reports_scores_and_asks_no_chat(server: Any, engine: str, told: bool) -> None:
    make_reranker(server)
    found = checked(server, engine, told=told)
    status, detail = found["rerank"]
    assert status == "works"
    assert detail.endswith("the highest is not (the model's skill, not the server's) that of the one that answers")
    assert (found["embeddings"][0], found["chat"][0], found["key"][0]) == ("not supported", "not supported", "works")
    assert "/v1/chat/completions" not in asked(server)


def test_a_reranker_of_an_unknown_kind_is_told_by_what_it_cannot(server: Any) -> None:
    make_reranker(server, "somebody")
    server.routes["/v1/chat/completions"] = refuse(404)
    target = Target(base_url=server.url, key=server.key, model="demo")
    found = {item.name: item.status for item in check(target).checks}
    assert (found["rerank"], found["embeddings"], found["chat"]) == ("works", "not supported", "not supported")
    assert "broken" not in found.values()


def test_check_sees_the_answer_on_top(server: Any) -> None:
    make_reranker(server)
    scores = {"results": [{"index": n, "relevance_score": float(n == 1)} for n in range(3)]}
    server.routes["/v1/rerank"] = route(lambda _: scores)
    assert checked(server, "llama.cpp")["rerank"][1] == (
        "scores 0, 1, 0 for 3 texts; the highest is that of the one that answers"
    )


def test_a_reranker_that_was_deployed_and_does_not_rank_is_broken(server: Any) -> None:
    make_reranker(server)
    server.routes["/v1/rerank"] = refuse(501)
    assert checked(server, "llama.cpp", told=True)["rerank"][0] == "broken"
    assert checked(server, "llama.cpp")["rerank"] == ("not supported", "/v1/rerank is refused: HTTP 501: 'not here'")


def test_sglang_is_asked_only_where_it_says_that_it_ranks(server: Any) -> None:
    make_reranker(server, "sglang")
    assert checked(server, "sglang")["rerank"] == ("not supported", "sglang says that its model is no reranker")
    assert "/v1/rerank" not in asked(server)
    server.requests.clear()
    server.routes["/model_info"] = route(lambda _: FAMILY)
    assert checked(server, "sglang")["rerank"][0] == "works"
    assert asked(server) == {"/v1/rerank"}


@pytest.mark.parametrize(
    ("engine", "vectors", "expected"),
    [("llama.cpp", True, True), ("vllm", False, True), ("vllm", True, False), ("ollama", False, False)],
)
def test_what_only_ranks(server: Any, engine: str, vectors: bool, expected: bool) -> None:
    """An engine for vectors may score texts by them; llama.cpp answers zeros where it ranks."""
    make_reranker(server)
    if vectors:
        del server.routes["/v1/embeddings"]
    client = Client(server.url, server.key)
    assert ranks_alone(client, catalog.load_engine(engine), "demo") is expected
    assert not ranks_alone(client, None, "demo")
    server.routes["/v1/rerank"] = refuse(404)
    assert not ranks_alone(client, catalog.load_engine(engine), "demo")


def test_one_that_says_that_it_ranks_and_does_not_is_an_error(server: Any) -> None:
    server.routes |= {"/model_info": route(lambda _: FAMILY), "/v1/rerank": refuse(500)}
    with pytest.raises(ProtocolError, match="500"):
        ranks_alone(Client(server.url, server.key), catalog.load_engine("sglang"), "demo")
