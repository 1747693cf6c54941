from typing import Any

import pytest

from deployer import catalog
from deployer.errors import BadInputError
from deployer.health import CapabilityResult, Target, check
from tests.unit.health.capable import capable, chat_route, checked, make_capable, report


def test_a_capable_server_can_do_everything(server: Any) -> None:
    make_capable(server)
    results = checked(server)
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(results, "works")
    assert len(results) == 30
    assert all(result.detail for result in results.values())


def test_the_first_model_is_taken_where_none_is_named(server: Any) -> None:
    results = checked(server, model=None)
    assert results["chat"].status == "works"
    asked = {body["model"] for _, body, _ in server.requests if "model" in body}
    assert asked == {"demo", "demo-that-is-not-here"}


def test_results_come_one_by_one(server: Any) -> None:
    seen: list[CapabilityResult] = []
    begun: list[str] = []
    results = report(server, on_start=begun.append, on_result=seen.append).checks
    assert tuple(seen) == results
    assert begun == [result.name for result in results]


def test_a_plain_server_ignores_schemas_and_tools(server: Any) -> None:
    results = checked(server)
    assert results["structured output"].status == "not supported"
    assert "ignored" in results["structured output"].detail
    assert results["tool calling"].status == "not supported"
    assert "template" in results["tool calling"].detail
    assert results["too long prompt"].status == "not supported"
    assert "in silence" in results["too long prompt"].detail


@pytest.mark.parametrize(("status", "expected"), [(400, "not supported"), (501, "not supported"), (500, "broken")])
def test_a_refusal_is_not_a_fault(server: Any, status: int, expected: str) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        return (status, {"error": {"message": "no"}}) if "tools" in body or "response_format" in body else answer

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    results = checked(server)
    assert results["structured output"].status == expected
    assert results["tool calling"].status == expected


def test_a_call_that_comes_only_when_required(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        return answer if body.get("tool_choice") == "auto" else capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    result = checked(server)["tool calling"]
    assert (result.status, "only when the call is required" in result.detail) == ("works", True)


def test_a_call_that_comes_only_after_others_like_it(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        return answer if "tools" in body and len(body["messages"]) == 1 else capable(body, answer)

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    result = checked(server)["tool calling"]
    assert (result.status, "after two calls like it" in result.detail) == ("works", True)


def test_arguments_that_are_not_json_are_no_call(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        changed = capable(body, answer)
        for call in answer["choices"][0]["message"].get("tool_calls", []):
            call["function"]["arguments"] = "{broken"
        return changed

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    assert checked(server)["tool calling"].status == "not supported"


def test_a_schema_that_is_not_followed_is_broken(server: Any) -> None:
    def change(body: dict[str, Any], answer: dict[str, Any]) -> Any:
        answer["choices"][0]["message"]["content"] = '{"town": "Paris"}'
        return answer

    server.routes["/v1/chat/completions"] = chat_route(server, change)
    assert checked(server)["structured output"].status == "broken"


def broken_by(server: Any, change: Any) -> set[str]:
    make_capable(server, lambda body, answer: change(body, capable(body, answer)))
    return {name for name, result in checked(server).items() if result.status == "broken"}


def changed(answer: Any, **fields: Any) -> Any:
    if isinstance(answer, dict):
        answer["usage"] |= {name: value for name, value in fields.items() if name != "content"}
        if "content" in fields:
            answer["choices"][0]["message"]["content"] = fields["content"]
    return answer


def test_a_server_that_forgets_earlier_turns(server: Any) -> None:
    assert "history" in broken_by(server, lambda body, answer: changed(answer, prompt_tokens=5))


def test_a_server_that_ignores_max_tokens(server: Any) -> None:
    assert "max_tokens" in broken_by(server, lambda body, answer: changed(answer, completion_tokens=99))


def test_counts_that_do_not_add_up(server: Any) -> None:
    assert broken_by(server, lambda body, answer: changed(answer, total_tokens=1)) == {"token usage"}


def test_a_stop_word_that_is_ignored(server: Any) -> None:
    whole = "one two three four"
    assert "stop" in broken_by(server, lambda body, answer: changed(answer, content=whole))


def test_answers_that_differ(server: Any) -> None:
    seen: list[int] = []

    def change(body: dict[str, Any], answer: Any) -> Any:
        seen.append(1)
        return changed(answer, content=f"answer {len(seen)}")

    assert "repeatable" in broken_by(server, change)


def test_an_open_server_that_was_given_a_key_is_broken(server: Any) -> None:
    server.locked = False
    assert checked(server)["key"].status == "broken"
    assert checked(server, key=None)["key"].status == "not supported"


def test_a_stream_that_something_buffers(server: Any) -> None:
    def route(handler: Any) -> None:
        if handler.body.get("stream"):
            server.released.wait(0.3)
            event = b'data: {"choices": [{"delta": {"content": "1 "}}]}\n\n'
            handler.reply(200, event * 20 + b"data: [DONE]\n\n")
        else:
            handler.reply(200, server.answer(handler.body))

    server.routes["/v1/chat/completions"] = route
    result = checked(server)["streaming"]
    assert (result.status, "buffers" in result.detail) == ("broken", True)


def test_a_stream_that_had_to_wait_for_others_first_is_not_buffered(server: Any) -> None:
    """Nine tenths of the time for the first piece, as where others are served before: the rest come one by one."""

    def route(handler: Any) -> None:
        if handler.body.get("stream"):
            server.released.wait(1.2)
            handler.stream(["1 ", "2 ", "3 ", "4 ", "5 "], pause_s=0.03)
        else:
            handler.reply(200, server.answer(handler.body))

    server.routes["/v1/chat/completions"] = route
    assert checked(server)["streaming"].status == "works"


def test_a_stream_without_an_end(server: Any) -> None:
    def route(handler: Any) -> None:
        if handler.body.get("stream"):
            handler.stream(["1 "], pause_s=0, done=False)
        else:
            handler.reply(200, server.answer(handler.body))

    server.routes["/v1/chat/completions"] = route
    assert "[DONE]" in checked(server)["streaming"].detail


def test_a_server_that_is_not_there_is_broken_everywhere() -> None:
    known = Target(base_url="http://127.0.0.1:1", model="demo", context=512, engine=catalog.load_engine("vllm"))
    results = {result.name: result for result in check(known).checks}
    assert {result.status for name, result in results.items() if name != "open paths"} == {"broken"}
    assert results["open paths"].status == "not supported"
    assert "connection refused" in results["chat"].detail


def test_a_wrong_address_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="address"):
        check(Target(base_url="not a url"))
