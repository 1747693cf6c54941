"""What servers answer, read strictly: a missing or wrong field is an error with a name, never a KeyError."""

import json
import time
from typing import Any

import msgspec


class ProtocolError(Exception):
    """The server did not give a proper answer. `status` is the HTTP status where there was one.

    `waited_s`: how many seconds one that timed out was given before its first byte; endless where that is not known.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        refused: bool = False,
        timed_out: bool = False,
        waited_s: float = float("inf"),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.refused = refused
        self.timed_out = timed_out
        self.waited_s = waited_s


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `/v1/models`; `context` is in tokens per request where the server says it."""

    id: str
    context: int | None = None


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One function the model asks for; `arguments` is the JSON text as sent."""

    id: str
    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One chat answer: the first of `choices`. `reasoning` is apart from `content` where the server parts them.

    `cached_tokens`: tokens of the prompt that came from the cache of earlier ones, where the server says it;
    `logprobs`: how many tokens of the answer have their log probability beside them.
    """

    content: str
    reasoning: str
    finish_reason: str | None
    tool_calls: tuple[ToolCall, ...]
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    seconds: float
    measured_tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    cached_tokens: int | None = None
    choices: int = 1
    logprobs: int = 0

    @property
    def text(self) -> str:
        """Everything that was written: a reasoning model may spend a short answer on reasoning alone."""
        return self.content or self.reasoning

    @property
    def tokens_per_s(self) -> float | None:
        """The server's own decode speed where it reports one (llama.cpp `timings`), else tokens over whole seconds."""
        if self.measured_tokens_per_s is not None:
            return self.measured_tokens_per_s
        return self.completion_tokens / self.seconds if self.completion_tokens and self.seconds > 0 else None


def read_models(document: dict[str, Any]) -> tuple[Listed, ...]:
    """Read `/v1/models`; raises ProtocolError."""
    entries = document.get("data")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ProtocolError("/v1/models holds no list `data`")
    return tuple(Listed(id=entry["id"], context=_context(entry)) for entry in entries if _is_text(entry.get("id")))


def _context(entry: dict[str, Any]) -> int | None:
    """llama.cpp `meta.n_ctx`, vLLM and SGLang `max_model_len`."""
    meta = entry.get("meta")
    return _number(meta.get("n_ctx")) if isinstance(meta, dict) else _number(entry.get("max_model_len"))


def read_answer(document: dict[str, Any], *, seconds: float) -> Answer:
    """Read a chat completion; raises ProtocolError naming what is missing."""
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ProtocolError("the answer has no `choices`")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise ProtocolError("the answer has no `choices[0].message`")
    usage, timings = _mapping(document, "usage"), _mapping(document, "timings")
    return Answer(
        content=_text(message.get("content")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        finish_reason=_text(choices[0].get("finish_reason")) or None,
        tool_calls=_tool_calls(message.get("tool_calls")),
        model=_text(document.get("model")) or None,
        prompt_tokens=_number(usage.get("prompt_tokens")),
        completion_tokens=_number(usage.get("completion_tokens")),
        total_tokens=_number(usage.get("total_tokens")),
        seconds=seconds,
        measured_tokens_per_s=_speed(timings.get("predicted_per_second")),
        prompt_tokens_per_s=_speed(timings.get("prompt_per_second")),
        cached_tokens=_cached(usage, timings),
        choices=len(choices),
        logprobs=_logprobs(choices[0]),
    )


def read_vectors(document: dict[str, Any]) -> tuple[tuple[float, ...], ...]:
    """Read the vectors of `/v1/embeddings`, in the order of the texts; raises ProtocolError."""
    try:
        entries = sorted(document["data"], key=lambda entry: int(entry.get("index", 0)))
        return tuple(tuple(float(number) for number in entry["embedding"]) for entry in entries)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError("the answer holds no embedding vector") from error


def read_texts(document: dict[str, Any]) -> tuple[str, ...]:
    """Read the texts of `/v1/completions`, in the order of the prompts; raises ProtocolError."""
    try:
        entries = sorted(document["choices"], key=lambda entry: int(entry.get("index", 0)))
        return tuple(str(entry["text"]) for entry in entries)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError("the answer has no `choices[].text`") from error


class Answering:
    """A streamed answer as it comes: text, and when each piece arrived, in seconds since the request.

    `last_s`: when the last event came, whatever was in it, but for the end mark. `began_s` is by the monotonic clock.
    """

    def __init__(self) -> None:
        self.content = ""
        self.arrived_s: list[float] = []
        self.last_s: float | None = None
        self.finished = False
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.measured_tokens_per_s: float | None = None
        self.prompt_tokens_per_s: float | None = None
        self.began_s = time.monotonic()

    @property
    def tokens(self) -> int:
        """Tokens of the answer as the server counts them; until it says so, the pieces that came."""
        return len(self.arrived_s) if self.completion_tokens is None else self.completion_tokens

    @property
    def tokens_per_s(self) -> float | None:
        """As `Answer.tokens_per_s`; of an answer that was cut off, by the pieces that came."""
        if self.measured_tokens_per_s is not None:
            return self.measured_tokens_per_s
        return self.tokens / self.last_s if self.tokens and self.last_s else None

    def take(self, line: bytes) -> None:
        """Read one line of server-sent events; raises ProtocolError for data that is not JSON or is an error."""
        if not line.startswith(b"data:"):
            return
        now_s = time.monotonic() - self.began_s
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            self.finished = True
            return
        self.last_s = now_s
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("a streamed event is not JSON") from error
        if not isinstance(event, dict) or "error" in event:
            raise ProtocolError("a streamed event is an error")
        self._add(event, now_s)

    def _add(self, event: dict[str, Any], now_s: float) -> None:
        self._count(_mapping(event, "usage"), _mapping(event, "timings"))
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        delta = _mapping(choices[0], "delta")
        piece = _text(delta.get("content")) or _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        if piece:
            self.content += piece
            self.arrived_s.append(now_s)

    def _count(self, usage: dict[str, Any], timings: dict[str, Any]) -> None:
        """Take the last counts and speeds that are told."""
        prompt, completion = _number(usage.get("prompt_tokens")), _number(usage.get("completion_tokens"))
        cached = _cached(usage, timings)
        self.prompt_tokens = self.prompt_tokens if prompt is None else prompt
        self.completion_tokens = self.completion_tokens if completion is None else completion
        self.cached_tokens = self.cached_tokens if cached is None else cached
        self.measured_tokens_per_s = _speed(timings.get("predicted_per_second")) or self.measured_tokens_per_s
        self.prompt_tokens_per_s = _speed(timings.get("prompt_per_second")) or self.prompt_tokens_per_s


def _tool_calls(value: object) -> tuple[ToolCall, ...]:
    calls = []
    for call in value if isinstance(value, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and _is_text(function.get("name")):
            arguments = _text(function.get("arguments"))
            calls.append(ToolCall(id=_text(call.get("id")), name=function["name"], arguments=arguments))
    return tuple(calls)


def _cached(usage: dict[str, Any], timings: dict[str, Any]) -> int | None:
    """OpenAI's `usage.prompt_tokens_details.cached_tokens`, else llama.cpp's `timings.cache_n`."""
    told = _number(_mapping(usage, "prompt_tokens_details").get("cached_tokens"))
    return _number(timings.get("cache_n")) if told is None else told


def _logprobs(choice: dict[str, Any]) -> int:
    tokens = _mapping(choice, "logprobs").get("content")
    return sum("logprob" in token for token in tokens if isinstance(token, dict)) if isinstance(tokens, list) else 0


def _mapping(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _speed(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < float("inf") else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
