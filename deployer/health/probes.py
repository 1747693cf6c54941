"""What a ready server must prove before it counts as healthy."""

import secrets
from collections.abc import Callable
from functools import partial

import msgspec

from deployer.health.answers import Answer, ProtocolError
from deployer.health.client import Client
from deployer.health.scores import QUERY, RERANK, TEXTS, said
from deployer.health.speed_floor import crawls
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
    embedding, ranks = plan.request.workload == "embedding", plan.model.reranker
    answer = partial(_embedding, name=plan.name) if embedding else partial(_answer, plan=plan)
    prompt = _long_embedding if embedding else _long_prompt
    if ranks:
        answer, prompt = partial(_ranking, name=plan.name), _long_ranking
    found = [Probe(name="model", run=partial(_model, name=plan.name))]
    if key:
        found.append(Probe(name="key", run=partial(_locked, name=plan.name, asked=_asked(plan))))
    found.append(Probe(name=ANSWER, run=answer))
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


def _asked(plan: Plan) -> tuple[str, dict[str, object]]:
    """The path of this model's work, and the least that can be asked for there."""
    if plan.model.reranker:
        return RERANK, {"query": "hello", "documents": ["hello"]}
    if plan.request.workload == "embedding":
        return "/v1/embeddings", {"input": "hello"}
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}


def _locked(client: Client, _: float | None, *, name: str, asked: tuple[str, dict[str, object]]) -> Finding:
    path, body = asked
    status = client.status_without_key(path, {"model": name, **body})
    if status not in _REFUSED:
        raise ProtocolError(f"{path} answered HTTP {status} without a key; 401 was expected")
    return Finding(detail=f"HTTP {status} without a key")


def _answer(client: Client, _: float | None, *, plan: Plan) -> Finding:
    """An answer comes, piece by piece; one that crawls is cut off, for its speed is known by then."""
    asked = [{"role": "user", "content": QUESTION}]
    enough = partial(crawls, plan)
    seen = client.stream(asked, model=plan.name, max_tokens=ANSWER_TOKENS, enough=enough, temperature=0)
    if seen.last_s is None:
        raise ProtocolError("/v1/chat/completions did not answer with server-sent events")
    cut = not seen.finished and crawls(plan, seen)
    if not seen.content.strip() and not cut:
        raise ProtocolError("the answer is empty")
    speed, ended = seen.tokens_per_s, ", cut off there" if cut else ""
    return Finding(
        detail=f"{seen.tokens} tokens in {seen.last_s:.2f} s{ended}" + (f", {speed:.3g} tokens/s" if speed else ""),
        tokens_per_s=speed,
        prompt_tokens_per_s=seen.prompt_tokens_per_s,
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


def _ranking(client: Client, _: float | None, *, name: str) -> Finding:
    """Every text has a score; which is the highest is the model's skill, and not judged here."""
    return Finding(detail=f"{len(TEXTS)} texts, scores {said(client.rerank(QUERY, TEXTS, model=name))}")


def _long_ranking(client: Client, speed: float | None, *, name: str, context: int) -> Finding:
    words = long_text(context, speed)
    return Finding(detail=f"{len(words)} words, score {said(client.rerank(QUERY, [' '.join(words)], model=name))}")


def _refuse_empty(answer: Answer) -> None:
    if not answer.text.strip():
        raise ProtocolError("the answer is empty")
    if not answer.completion_tokens or not answer.prompt_tokens:
        raise ProtocolError("the answer has no token `usage`")
