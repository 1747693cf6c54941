"""An engine is replaced by another under the same name: a client that talks with it the while notices only the wait."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.integration.conftest import Deployer, Outcome, free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

NAME = "chat"
MODEL = "smollm2-135m-instruct"
UP_LIMIT_S = 900
SIZE = ("--users", "2", "--context", "2048", "--runtime", "compose")
# Two threads that spin wait for each other where others use the processor too.
ONE_THREAD = ("--engine-arg=--threads", "--engine-arg=1")
# The client waits at most 8 s between two tries (openai/_constants.py MAX_RETRY_DELAY): 100 tries outlast any start.
RETRIES = 100
QUESTIONS = ("What is the capital of France?", "And of Italy?", "And of Spain?", "And of Germany?", "Which was first?")
REFUSED = (openai.APIConnectionError, openai.InternalServerError)


@dataclass
class Conversation:
    """One client, made once, and what was said so far."""

    client: openai.OpenAI
    messages: list[Any] = field(default_factory=lambda: [{"role": "system", "content": "You are a helpful assistant."}])
    answers: list[Any] = field(default_factory=list)

    def say(self, text: str) -> str:
        """Ask with the whole history, and keep the answer in it."""
        self.messages.append({"role": "user", "content": text})
        answer = self.client.chat.completions.create(model=NAME, messages=self.messages, max_tokens=24, temperature=0)
        said = answer.choices[0].message.content or ""
        self.messages.append({"role": "assistant", "content": said})
        self.answers.append(answer)
        return said


@dataclass
class Swapping:
    """The deployment `chat` and its changes."""

    deployer: Deployer
    port: int
    engines: dict[str, tuple[str, ...]]
    documents: list[dict[str, Any]] = field(default_factory=list)

    def words(self, engine: str) -> tuple[str, ...]:
        model, *image = self.engines[engine]
        return (model, "--engine", engine, "--name", NAME, "--port", str(self.port), *SIZE, *image)

    def up(self, engine: str) -> dict[str, Any]:
        done = self.deployer("up", *self.words(engine), "--yes", "--json", timeout_s=UP_LIMIT_S).ok().json()
        assert (done["engine"], done["changed"]) == (engine, True)
        self.documents.append(done)
        return done

    def change(self, *verb: str, during: Conversation, question: str) -> dict[str, Any]:
        """Run a verb that restarts the server, and ask through the client as soon as the old one is gone."""
        process = self.deployer.start(*verb, "--yes", "--json")
        ended: list[tuple[str, str]] = []
        reader = threading.Thread(target=lambda: ended.append(process.communicate()))
        reader.start()
        wait_until_gone(during.client, until=lambda: bool(ended))
        assert during.say(question).strip()
        reader.join(UP_LIMIT_S)
        assert ended, f"no end after {UP_LIMIT_S} s: {' '.join(verb)}"
        return Outcome(verb, process.returncode, *ended[0]).ok().json()


def wait_until_gone(client: openai.OpenAI, until: Callable[[], bool]) -> None:
    """Return when the server refuses once: until then the old one would answer."""
    patient = client.with_options(max_retries=0, timeout=5)
    while not until():
        try:
            patient.models.list()
        except REFUSED:
            return
        time.sleep(0.05)
    pytest.fail("the server was replaced without a moment in which it did not answer")


@pytest.fixture
def swapping(deployer: Deployer, vllm_image: str, sglang_image: str, safetensors_model: Path) -> Iterator[Swapping]:
    found = Swapping(
        deployer,
        free_port(),
        {
            "llama.cpp": (MODEL, *ONE_THREAD),
            "vllm": (str(safetensors_model), "--image", f"cpu={vllm_image}"),
            "sglang": (str(safetensors_model), "--image", f"xeon={sglang_image}"),
        },
    )
    yield found
    deployer("down", NAME, "--yes")


def look(document: dict[str, Any], key: str) -> dict[str, Any]:
    """What a client sees of a server besides its text."""
    stranger = openai.OpenAI(base_url=document["base_url"], api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "hello"}])
    with openai.OpenAI(base_url=document["base_url"], api_key=key) as client:
        listed = [model.id for model in client.models.list()]
        short = client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "Count from 1 to 20."}], max_tokens=5, temperature=0
        )
        pieces = list(
            client.chat.completions.create(
                model=NAME,
                messages=[{"role": "user", "content": "Count from 1 to 20."}],
                max_tokens=8,
                temperature=0,
                stream=True,
            )
        )
    return {
        "status of a wrong key": refused.value.status_code,
        "models": listed,
        "model of an answer": short.model,
        "model of a piece": sorted({piece.model for piece in pieces}),
        "finish_reason": short.choices[0].finish_reason,
        "finish_reason of a stream": [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1],
        "completion_tokens": short.usage.completion_tokens if short.usage else None,
        "usage adds up": bool(
            short.usage and short.usage.prompt_tokens + short.usage.completion_tokens == short.usage.total_tokens
        ),
        "object": short.object,
        "role": short.choices[0].message.role,
    }


def test_a_conversation_goes_on_across_three_engines_and_a_rollback(swapping: Swapping) -> None:
    first = swapping.up("llama.cpp")
    key = Path(first["key_file"]).read_text().strip()
    client = openai.OpenAI(base_url=first["base_url"], api_key=key, max_retries=RETRIES, timeout=120)
    with contextlib.closing(client):
        talk = Conversation(client)
        assert "Paris" in talk.say(QUESTIONS[0])
        seen = [look(first, key)]
        for engine, question in zip(("vllm", "sglang", "llama.cpp"), QUESTIONS[1:], strict=False):
            up = ("up", *swapping.words(engine))
            swapping.documents.append(swapping.change(*up, during=talk, question=question))
            assert swapping.documents[-1]["engine"] == engine
            seen.append(look(swapping.documents[-1], key))
        history = swapping.deployer("history", NAME, "--json").ok().json()["releases"]
        back = swapping.change("rollback", NAME, during=talk, question=QUESTIONS[4])

    assert {(one["base_url"], one["model"], one["key_file"]) for one in swapping.documents} == {
        (first["base_url"], NAME, first["key_file"])
    }
    assert Path(first["key_file"]).read_text().strip() == key
    assert [(one["number"], one["status"], one["engine"]) for one in history] == [
        (4, "healthy", "llama.cpp"),
        (3, "superseded", "sglang"),
        (2, "superseded", "vllm"),
        (1, "superseded", "llama.cpp"),
    ]
    assert (back["engine"], back["release"]) == ("sglang", 5)
    assert (back["base_url"], back["model"], back["key_file"]) == (first["base_url"], NAME, first["key_file"])
    assert [message["role"] for message in talk.messages] == ["system", *["user", "assistant"] * len(QUESTIONS)]
    prompt_tokens = [answer.usage.prompt_tokens for answer in talk.answers]
    assert prompt_tokens == sorted(set(prompt_tokens))  # the whole history reached each of them
    assert {answer.model for answer in talk.answers} == {NAME}
    assert all(one == seen[0] for one in seen), json.dumps(seen, indent=2)
