"""What a ready server must prove before it counts as healthy."""

import secrets
from collections.abc import Callable
from functools import partial

import msgspec

from deployer.health.answers import Answer, ProtocolError
from deployer.health.client import Client
from deployer.types import Plan

ANSWER = "answer"
QUESTION = "What is the capital of France? Then tell me a story about it."
ANSWER_TOKENS = 32
LONG_PROMPT_TOKENS = 1024
LONG_PROMPT_S = 8.0
_SHORTEST_TOKENS = 128
_SHARE_OF_CONTEXT = 0.75
_WORDS_PER_TOKEN = 0.8  # below 1, so that a tokenizer with few English words still stays inside the context
_REFUSED = {401, 403}
_WORDS = ("time", "year", "people", "way", "day", "man", "life", "child", "world", "school", "state", "family", "group")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of a passed probe."""

    detail: str
    tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One proof. `run` takes the prompt speed as far as it is known, and raises ProtocolError with the sentence."""

    name: str
    run: Callable[[Client, float | None], Finding]


def probes(plan: Plan, key: str | None) -> tuple[Probe, ...]:
    """Return the proofs for this plan, in order; the one about the key only where a key is set."""
    embedding = plan.request.workload == "embedding"
    answer, prompt = (_embedding, _long_embedding) if embedding else (_answer, _long_prompt)
    found = [Probe(name="model", run=partial(_model, name=plan.name))]
    if key:
        found.append(Probe(name="key", run=partial(_locked, name=plan.name, embedding=embedding)))
    found.append(Probe(name=ANSWER, run=partial(answer, name=plan.name)))
    found.append(Probe(name="long prompt", run=partial(prompt, name=plan.name, context=plan.settings.context)))
    return tuple(found)


def long_text(context: int, prompt_tokens_per_s: float | None) -> tuple[str, ...]:
    """Return words of about min(3/4 of the context, 1024) tokens, in an order that no cache has seen.

    Where the prompt speed is known and low it is what 8 s can read, but at least 128 tokens.
    """
    tokens = min(int(context * _SHARE_OF_CONTEXT), LONG_PROMPT_TOKENS)
    if prompt_tokens_per_s:
        tokens = min(tokens, max(int(prompt_tokens_per_s * LONG_PROMPT_S), _SHORTEST_TOKENS))
    return tuple(secrets.choice(_WORDS) for _ in range(max(int(tokens * _WORDS_PER_TOKEN), 8)))


def _model(client: Client, _: float | None, *, name: str) -> Finding:
    served = [listed.id for listed in client.models()]
    if name not in served:
        names = ", ".join(served)[:200] or "none"
        raise ProtocolError(f"/v1/models does not list '{name}' but: {names}; another server may hold the port")
    return Finding(detail=f"/v1/models lists '{name}'")


def _locked(client: Client, _: float | None, *, name: str, embedding: bool) -> Finding:
    path = "/v1/embeddings" if embedding else "/v1/chat/completions"
    body = {"input": "hello"} if embedding else {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    status = client.status_without_key(path, {"model": name, **body})
    if status not in _REFUSED:
        raise ProtocolError(f"{path} answered HTTP {status} without a key; 401 was expected")
    return Finding(detail=f"HTTP {status} without a key")


def _answer(client: Client, _: float | None, *, name: str) -> Finding:
    answer = client.chat([{"role": "user", "content": QUESTION}], model=name, max_tokens=ANSWER_TOKENS, temperature=0)
    _refuse_empty(answer)
    speed = answer.tokens_per_s
    said = f"{answer.completion_tokens} tokens in {answer.seconds:.2f} s"
    return Finding(
        detail=said + (f", {speed:.0f} tokens/s" if speed else ""),
        tokens_per_s=speed,
        prompt_tokens_per_s=answer.prompt_tokens_per_s,
    )


def _long_prompt(client: Client, speed: float | None, *, name: str, context: int) -> Finding:
    words = long_text(context, speed)
    text = f"Here are some words: {' '.join(words)}. Which word came last?"
    answer = client.chat([{"role": "user", "content": text}], model=name, max_tokens=4, temperature=0)
    _refuse_empty(answer)
    if answer.prompt_tokens is not None and answer.prompt_tokens < len(words) / 2:
        raise ProtocolError(f"of a prompt of {len(words)} words only {answer.prompt_tokens} tokens were read")
    said = f"{answer.prompt_tokens} tokens read in {answer.seconds:.2f} s"
    return Finding(detail=said, prompt_tokens_per_s=answer.prompt_tokens_per_s)


def _embedding(client: Client, _: float | None, *, name: str) -> Finding:
    size = client.embed(QUESTION, model=name)
    if size == 0:
        raise ProtocolError("the embedding vector is empty")
    return Finding(detail=f"a vector of {size} numbers")


def _long_embedding(client: Client, speed: float | None, *, name: str, context: int) -> Finding:
    words = long_text(context, speed)
    return Finding(detail=f"{len(words)} words gave {client.embed(' '.join(words), model=name)} numbers")


def _refuse_empty(answer: Answer) -> None:
    if not answer.text.strip():
        raise ProtocolError("the answer is empty")
    if not answer.completion_tokens or not answer.prompt_tokens:
        raise ProtocolError("the answer has no token `usage`")
