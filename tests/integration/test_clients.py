"""Clients that others wrote, against all three engines: the `openai` package, and LangChain's ChatOpenAI."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import openai
import pytest
import requests
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from tests.integration.conftest import Deployer
from tests.integration.served import CAPITAL, Served
from tests.integration.three import KEY, MODEL, Embedding

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1200),
    # SGLang 0.5.23 answers with a `metadata` that holds a list, where OpenAI has texts: pydantic tells so, and goes on.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_temperature",
        "description": "Get the temperature of a city now, in degrees Celsius.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def asking(city: str) -> Any:
    return {"role": "user", "content": f"What is the temperature in {city} now? Use the tool."}


def called(call: Any, celsius: int) -> list[Any]:
    """A call, and its result."""
    result = {"role": "tool", "tool_call_id": call["id"], "content": f'{{"celsius": {celsius}}}'}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, result]


def example(city: str, celsius: int) -> list[Any]:
    function = {"name": "get_temperature", "arguments": f'{{"city": "{city}"}}'}
    answer = {"role": "assistant", "content": f"It is {celsius} degrees in {city}."}
    return [asking(city), *called({"id": f"call-{city}", "type": "function", "function": function}, celsius), answer]


# A required call may come after any text on llama.cpp: a model this small has to be shown what to write.
CONVERSATION: Any = [*example("Rome", 25), *example("Oslo", 9), asking("Paris")]


class City(BaseModel):
    """What structured output has to become."""

    name: Literal["Paris", "Rome", "Oslo"]
    large: bool


@pytest.fixture
def client(each_engine: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=each_engine.document["base_url"], api_key=each_engine.key, timeout=240) as made:
        yield made


@pytest.fixture
def model(each_engine: Served) -> str:
    return str(each_engine.document["model"])


def test_openai_chats_and_counts(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=CAPITAL, max_tokens=16, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert model in {listed.id for listed in client.models.list()}


def test_openai_streams(client: openai.OpenAI, model: str) -> None:
    options: Any = {"stream_options": {"include_usage": True}}
    with client.chat.completions.create(
        model=model, messages=CAPITAL, max_tokens=16, temperature=0, stream=True, **options
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = client.chat.completions.create(model=model, messages=CAPITAL, max_tokens=16, temperature=0)
    assert text
    assert text.strip()[:8] == (whole.choices[0].message.content or "").strip()[:8]
    assert any(chunk.usage is not None for chunk in chunks)


def test_openai_calls_a_tool_and_comes_back(client: openai.OpenAI, model: str) -> None:
    asked = client.chat.completions.create(
        model=model, messages=CONVERSATION, tools=[TOOL], tool_choice="required", max_tokens=64, temperature=0
    )
    call = next(iter(asked.choices[0].message.tool_calls or ()), None)
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "get_temperature"
    assert call.function.arguments.replace(" ", "") in {f'{{"city":"{city}"}}' for city in ("Paris", "Rome", "Oslo")}
    told = {"id": call.id, "type": "function", "function": call.function.model_dump()}
    turns: Any = [*CONVERSATION, *called(told, 21)]
    last = client.chat.completions.create(model=model, messages=turns, max_tokens=16, temperature=0)
    assert last.choices[0].message.content


def test_openai_parses_structured_output(client: openai.OpenAI, model: str) -> None:
    parsed = client.chat.completions.parse(
        model=model, messages=CAPITAL, response_format=City, max_tokens=48, temperature=0
    )
    assert isinstance(parsed.choices[0].message.parsed, City)


def test_openai_raises_what_it_should(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong", max_retries=0).models.list()
    words: Any = [{"role": "user", "content": "red " * 4096}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=words, max_tokens=4)


def test_messages_are_read_in_every_form_that_clients_write(client: openai.OpenAI, model: str) -> None:
    """Of each the prompt's tokens are the measure: what is left out would cost none."""
    part: Any = [{"type": "text", "text": "What is the capital of France?"}]
    plain = prompt_tokens(client, model, [{"role": "user", "content": part[0]["text"]}])
    assert prompt_tokens(client, model, [{"role": "user", "content": part, "name": "anna"}]) == plain
    told = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]
    for turns in (
        [{"role": "developer", "content": "Be short."}, told[1]],
        [{"role": "system", "content": [{"type": "text", "text": "Be short."}]}, told[1]],
    ):
        assert (
            abs(prompt_tokens(client, model, turns) - prompt_tokens(client, model, told)) < 40
        )  # a default system turn
    asking_turn, call, result = CONVERSATION[:3]
    with_call = prompt_tokens(client, model, [asking_turn, call, result], tools=[TOOL])
    for written in ({**call, "content": ""}, {name: call[name] for name in ("role", "tool_calls")}):
        assert prompt_tokens(client, model, [asking_turn, written, result], tools=[TOOL]) == with_call
    parts = {**result, "content": [{"type": "text", "text": result["content"]}]}
    assert prompt_tokens(client, model, [asking_turn, call, parts], tools=[TOOL]) == with_call


def prompt_tokens(client: openai.OpenAI, model: str, turns: Any, **fields: Any) -> int:
    answer = client.chat.completions.create(
        model=model, messages=turns, max_completion_tokens=1, user="anna", response_format={"type": "text"}, **fields
    )
    assert answer.usage is not None
    return int(answer.usage.prompt_tokens)


def test_twenty_at_once_are_answered_after_four_went_away(client: openai.OpenAI, model: str) -> None:
    def left(number: int) -> int:
        asked: Any = [{"role": "user", "content": f"Tell a long story about {number}."}]
        with client.chat.completions.create(model=model, messages=asked, max_tokens=1500, stream=True) as stream:
            return len(list(itertools.islice(stream, 3)))

    def answered(number: int) -> str | None:
        asked: Any = [{"role": "user", "content": f"{number}?"}]
        return client.chat.completions.create(model=model, messages=asked, max_tokens=2).choices[0].finish_reason

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(left, range(4))) == [3] * 4
        assert set(pool.map(answered, range(20))) <= {"length", "stop"}


def test_a_page_in_a_browser_may_ask_with_the_key(each_engine: Served) -> None:
    url, origin = f"{each_engine.document['base_url']}/chat/completions", "http://localhost:3000"
    words = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = requests.options(url, headers={"Origin": origin, **words}, timeout=20)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] in {"*", origin}
    named = {word.strip().lower() for word in allowed.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "*"} & named
    answer = requests.post(url, json=one_word(each_engine), headers=key(each_engine, Origin=origin), timeout=120)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in {"*", origin}
    assert requests.post(url, json={}, headers={"Origin": origin}, timeout=20).status_code == 401


def test_a_body_in_chunks_is_read(each_engine: Served) -> None:
    """As .NET's and Java's clients send theirs."""
    body = json.dumps(one_word(each_engine)).encode()
    pieces = (body[start : start + 20] for start in range(0, len(body), 20))
    url = f"{each_engine.document['base_url']}/chat/completions"
    answer = requests.post(
        url, data=pieces, headers=key(each_engine, **{"Content-Type": "application/json"}), timeout=120
    )
    assert answer.json()["usage"]["completion_tokens"] == 1


def test_clients_of_anthropics_api_are_answered(each_engine: Served) -> None:
    url, asked = f"{each_engine.document['base_url']}/messages", one_word(each_engine)
    answer = requests.post(url, json=asked, headers=key(each_engine), timeout=120).json()
    assert (answer["type"], answer["role"]) == ("message", "assistant")
    counted = requests.post(f"{url}/count_tokens", json=asked, headers=key(each_engine), timeout=20).json()
    used = answer["usage"]
    assert counted["input_tokens"] == used["input_tokens"] + (used.get("cache_read_input_tokens") or 0)
    other = requests.post(url, json=asked, headers={"x-api-key": each_engine.key}, timeout=120).status_code
    assert other == (401 if each_engine.document["engine"] == "sglang" else 200)


def one_word(served: Served) -> dict[str, Any]:
    return {"model": served.document["model"], "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


def key(served: Served, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.key}", **more}


def test_langchain_chats_streams_and_binds(each_engine: Served) -> None:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    chat = ChatOpenAI(
        base_url=each_engine.document["base_url"],
        api_key=SecretStr(each_engine.key),
        model=each_engine.document["model"],
        temperature=0,
        max_completion_tokens=64,
        timeout=240,
    )
    assert chat.invoke("What is the capital of France?").content
    assert len([chunk for chunk in chat.stream("Count from 1 to 5.") if chunk.content]) > 1
    bound = chat.bind_tools([TOOL], tool_choice="required").invoke(CONVERSATION)
    assert [call["name"] for call in bound.tool_calls][:1] == ["get_temperature"]
    found = chat.with_structured_output(City, method="json_schema").invoke("What is the capital of France?")
    assert isinstance(found, City)


def test_openai_gets_embeddings(embedding_server: Embedding) -> None:
    with openai.OpenAI(base_url=f"{embedding_server.url}/v1", api_key=KEY, timeout=240) as client:
        found = client.embeddings.create(model=MODEL, input=["a cat", "a tax law"])
    assert [entry.index for entry in found.data] == [0, 1]
    assert [len(entry.embedding) for entry in found.data] == [576, 576]


def test_an_embedding_server_is_checked_for_what_it_is(embedding_server: Embedding, deployer: Deployer) -> None:
    key_file = deployer.home / "key"
    key_file.write_text(KEY)
    words = ("--url", embedding_server.url, "--key-file", str(key_file), "--timeout", "600", "--json")
    document = deployer("check", *words, timeout_s=700).ok().json()
    status = {item["name"]: item["status"] for item in document["checks"]}
    assert document["engine"] == embedding_server.engine
    assert (status["embeddings"], status["key"], status["open paths"]) == ("works", "works", "works"), document
    assert "broken" not in status.values(), document
    assert {status["chat"], status["streaming"]} == {"not supported"}, document


def test_an_embedding_server_is_adopted_and_checked_without_a_chat(
    embedding_server: Embedding, deployer: Deployer, docker_engine: "docker.DockerClient"
) -> None:
    key_file, container = deployer.home / "key", serving_at(docker_engine, embedding_server.url)
    key_file.write_text(KEY)
    before = len(container.logs())
    words = ("adopt", embedding_server.url, "--name", "vectors", "--key-file", str(key_file), "--yes", "--json")
    document = deployer(*words).ok().json()
    assert (document["engine"], document["embedding"]) == (embedding_server.engine, True)
    log = container.logs()[before:].decode()
    assert "chat" not in log
    assert "eval time" not in log  # what llama-server writes of every answer
    checked = deployer("check", "vectors", "--timeout", "600", "--json", timeout_s=700).ok().json()
    status = {item["name"]: item["status"] for item in checked["checks"]}
    assert (status["embeddings"], status["chat"]) == ("works", "not supported"), checked
    assert "eval time" not in container.logs()[before:].decode()
    test_openai_gets_embeddings(embedding_server)  # it is still there


def serving_at(engine: "docker.DockerClient", url: str) -> "Container":
    """The container that publishes the port of a URL."""
    port = url.rpartition(":")[2]
    (found,) = (one for one in engine.containers.list() if f"'{port}'" in str(one.ports))
    return found
