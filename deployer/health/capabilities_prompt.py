"""Trials of long prompts: up to the context, beyond it, and the second time from the cache."""

import itertools
import secrets
import time

from deployer.health.answers import Answer, ProtocolError
from deployer.health.trial import CLIENT_ERRORS, CLOSED, Broken, Live, NotRun, NotSupported, Reading

_WORDS = ("time", "year", "people", "way", "day", "man", "life", "child", "world", "school", "state", "family", "group")
_SAMPLES = (8, 72)
_SHARE_OF_TIME = 0.7
_CACHED_TOKENS = range(160, 1025)
"""At least one block of every engine (vLLM's are 128 tokens on a CPU), and quick to read twice."""
_SHARE_OF_CONTEXT = 0.6
_HALF = 0.5
_LARGEST_PROMPT_WORDS = 200_000
_UNKNOWN_CONTEXT = 100_000
_ANSWER_TOKENS = 8
_NEARLY = 0.85
_COUNTER_DELAY_S = 5.0


def prefix_cache(live: Live) -> str:
    """The second of two prompts with the same long beginning is not read again, by the server's own counter."""
    reading = _reading(live)
    most = min((live.context or _UNKNOWN_CONTEXT) * _SHARE_OF_CONTEXT, reading.tokens_per_s * live.client.left_s / 3)
    tokens = int(min(most, _CACHED_TOKENS.stop - 1))
    if tokens < _CACHED_TOKENS.start:
        raise NotRun(f"a prompt of {_CACHED_TOKENS.start} tokens twice is too much for its context or for the time")
    text = _text(reading.words(tokens))
    first = live.ask(f"{text}. Which word came first?", max_tokens=1)
    before = live.counter("cached_prompt_tokens")
    second = live.ask(f"{text}. Which word came last?", max_tokens=1)
    hits, source = _hits(live, second, before)
    times = f"{first.seconds:.2f} s, the second time {second.seconds:.2f} s"
    if hits is None:
        raise NotSupported(f"the server counts no cached tokens; {tokens} tokens took {times}")
    whole = second.prompt_tokens or tokens
    if hits < _HALF * whole:
        raise NotSupported(f"{hits:g} of {whole} prompt tokens came from the cache, by {source}; they took {times}")
    return f"{hits:g} of {whole} prompt tokens came from the cache, by {source}; they took {times}"


def long_prompt(live: Live) -> str:
    """A prompt as long as the context is read whole and answered."""
    if live.context is None:
        raise NotSupported("the server does not tell its context; --context TOKENS says what to try")
    reading = _reading(live)
    room = live.context - _ANSWER_TOKENS
    takes_s = room / reading.tokens_per_s
    if takes_s > live.client.left_s * _SHARE_OF_TIME:
        raise NotRun(
            f"{live.context} tokens would take about {takes_s:.0f} s at {reading.tokens_per_s:.0f} tokens/s: "
            "--timeout allows more"
        )
    answer = live.ask(_text(int(reading.words(room) * 0.97)), max_tokens=4)
    if answer.prompt_tokens is None or answer.prompt_tokens < _NEARLY * room:
        raise Broken(f"of a prompt of about {room} tokens only {answer.prompt_tokens} were read: it cuts in silence")
    if not answer.text.strip():
        raise Broken(f"the answer to {answer.prompt_tokens} tokens is empty")
    return f"{answer.prompt_tokens} of {live.context} tokens read in {answer.seconds:.2f} s, and answered"


def too_long(live: Live) -> str:
    """A prompt beyond the context is refused with a clear client error, and the server goes on."""
    words = min((live.context or _UNKNOWN_CONTEXT) * 2, _LARGEST_PROMPT_WORDS)
    text = " ".join(itertools.islice(itertools.cycle(("red", "green", "blue")), words))
    try:
        answer = live.ask(text, max_tokens=1)
    except ProtocolError as error:
        if error.status in CLOSED or error.status not in CLIENT_ERRORS:
            raise
        return f"HTTP {error.status} for {words} words; {_goes_on(live)}"
    raise NotSupported(f"{words} words were accepted and {answer.prompt_tokens} tokens read: it cuts in silence")


def _goes_on(live: Live) -> str:
    try:
        live.ask("Say hello.", max_tokens=1)
    except ProtocolError as error:
        raise Broken(f"after a prompt that was too long the server does not answer: {error.message}") from error
    return "the next question was answered"


def _reading(live: Live) -> Reading:
    """Measure once how words become tokens, and how fast they are read."""
    if live.reading is None:
        short, longer = (live.ask(_text(words), max_tokens=1) for words in _SAMPLES)
        if not short.prompt_tokens or not longer.prompt_tokens or longer.prompt_tokens <= short.prompt_tokens:
            raise NotSupported("token usage does not tell how long a prompt is")
        per_word = (longer.prompt_tokens - short.prompt_tokens) / (_SAMPLES[1] - _SAMPLES[0])
        speed = longer.prompt_tokens_per_s or longer.prompt_tokens / max(longer.seconds, 1e-3)
        overhead = short.prompt_tokens - per_word * _SAMPLES[0]
        live.reading = Reading(per_word=per_word, overhead=overhead, tokens_per_s=speed)
    return live.reading


def _text(words: int) -> str:
    """Words in an order that no cache has seen."""
    return " ".join(secrets.choice(_WORDS) for _ in range(words))


def _hits(live: Live, answer: Answer, before: float | None) -> tuple[float | None, str]:
    """Tokens from the cache by the answer itself, else by the engine's counter, which may lag behind."""
    if answer.cached_tokens is not None:
        return answer.cached_tokens, "the answer's own count"
    if before is None:
        return None, ""
    latest, until = live.counter("cached_prompt_tokens"), time.monotonic() + _COUNTER_DELAY_S
    while latest == before and time.monotonic() < until:
        time.sleep(0.1)
        latest = live.counter("cached_prompt_tokens")
    return None if latest is None else latest - before, "the engine's metrics"
