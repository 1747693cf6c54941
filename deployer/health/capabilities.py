"""One small trial for each capability. It judges the server, not the model's skill, wherever the two can be parted."""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from deployer.health.answers import Answer, ProtocolError
from deployer.health.client import Message
from deployer.health.features import structured_output, tool_calling
from deployer.health.trial import Broken, Live, NotSupported, user

_COUNT = "Count from 1 to 20, one number a line."
_PARALLEL = 4
_LARGEST_PROMPT_WORDS = 200_000
_UNKNOWN_CONTEXT = 100_000
_BUFFERED_SHARE = 0.9
_ENOUGH_PIECES = 4


def model_info(live: Live) -> str:
    """`/v1/models` lists the model."""
    listed = live.client.models()
    if not listed:
        raise Broken("/v1/models lists no model")
    live.model = live.model or listed[0].id
    found = next((entry for entry in listed if entry.id == live.model), None)
    if found is None:
        raise Broken(f"'{live.model}' is not listed, but: {', '.join(entry.id for entry in listed)[:200]}")
    live.context = found.context
    return f"'{found.id}'" + (f", {found.context} tokens of context" if found.context else ", context not told")


def chat(live: Live) -> str:
    """One question, one answer."""
    answer = live.ask("What is the capital of France?", max_tokens=32)
    knows = "names Paris" if "Paris" in answer.text else "does not name Paris (the model's skill, not the server's)"
    return f"{len(answer.text)} characters; {knows}"


def history(live: Live) -> str:
    """Earlier turns reach the model: the same last turn costs more prompt tokens with them."""
    last = user("What is my name?")
    turns: list[Message] = [user("My name is Alba."), {"role": "assistant", "content": "Hello Alba."}, last]
    alone = live.client.chat([last], model=live.model, max_tokens=16, temperature=0)
    answer = live.client.chat(turns, model=live.model, max_tokens=16, temperature=0)
    if alone.prompt_tokens is None or answer.prompt_tokens is None:
        raise Broken("no token usage to judge by")
    if answer.prompt_tokens <= alone.prompt_tokens:
        raise Broken(f"three turns cost {answer.prompt_tokens} prompt tokens, the last alone {alone.prompt_tokens}")
    skill = "remembered" if "Alba" in answer.text else "not remembered by this model"
    return f"{answer.prompt_tokens} prompt tokens against {alone.prompt_tokens}; the name was {skill}"


def streaming(live: Live) -> str:
    """Pieces come one by one, not all at the end."""
    seen = live.client.stream([user(_COUNT)], model=live.model, max_tokens=32, temperature=0)
    if not seen.arrived_s:
        raise NotSupported("a streamed request brought no pieces")
    if not seen.finished:
        raise Broken("the stream did not end with [DONE]")
    first, last = seen.arrived_s[0], seen.arrived_s[-1]
    if len(seen.arrived_s) >= _ENOUGH_PIECES and first >= _BUFFERED_SHARE * last:
        raise Broken(f"all {len(seen.arrived_s)} pieces came together after {first:.2f} s: something buffers them")
    return f"{len(seen.arrived_s)} pieces, the first after {first:.2f} s, the last after {last:.2f} s"


def repeatable(live: Live) -> str:
    """Temperature 0 and a seed give the same text twice."""
    texts = [live.ask(_COUNT, max_tokens=24, seed=7).text for _ in range(2)]
    if texts[0] != texts[1]:
        raise Broken("two equal requests at temperature 0 gave different texts")
    return "two equal requests gave equal texts"


def max_tokens(live: Live) -> str:
    """The answer ends at `max_tokens`, and says so."""
    answer = live.ask(_COUNT, max_tokens=5)
    if answer.completion_tokens is None or answer.completion_tokens > 5:  # noqa: PLR2004 - as asked
        raise Broken(f"5 tokens were asked for, {answer.completion_tokens} came")
    if answer.completion_tokens == 5 and answer.finish_reason != "length":  # noqa: PLR2004 - as asked
        raise Broken(f"finish_reason is '{answer.finish_reason}' instead of 'length'")
    return f"{answer.completion_tokens} tokens, finish_reason '{answer.finish_reason}'"


def stop(live: Live) -> str:
    """The answer ends before a stop word: one that the model is known to write."""
    whole = live.ask(_COUNT, max_tokens=32, seed=7).content
    words = [word for word in whole.split() if whole.find(word) > 0]
    if not words:
        raise NotSupported("the model wrote too little to choose a stop word")
    word = words[len(words) // 2]
    cut = live.ask(_COUNT, max_tokens=32, seed=7, stop=[word]).content
    if word in cut:
        raise Broken(f"the text goes on past the stop word {word!r}")
    return f"stopped before {word!r}: {len(cut)} of {len(whole)} characters"


def usage(live: Live) -> str:
    """Token counts are there and add up."""
    answer = live.ask("Say hello.", max_tokens=8)
    counts = (answer.prompt_tokens, answer.completion_tokens, answer.total_tokens)
    if answer.prompt_tokens is None or answer.completion_tokens is None or answer.total_tokens is None:
        raise NotSupported(f"prompt, completion and total tokens are {counts}")
    if answer.prompt_tokens + answer.completion_tokens != answer.total_tokens:
        raise Broken(f"{counts[0]} + {counts[1]} is not {counts[2]}")
    return f"{counts[0]} + {counts[1]} = {counts[2]} tokens"


def parallel(live: Live) -> str:
    """Four requests at once are all answered."""
    questions = [f"Write a short sentence about the number {number}." for number in range(_PARALLEL)]

    def ask(question: str) -> Answer:
        return live.ask(question, max_tokens=16)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = list(pool.map(ask, questions))
    empty = sum(not answer.text.strip() for answer in answers)
    if empty:
        raise Broken(f"{empty} of {_PARALLEL} answers are empty")
    slowest = max(answer.seconds for answer in answers)
    return f"{_PARALLEL} answers, the slowest after {slowest:.2f} s"


def auth(live: Live) -> str:
    """Without the key there is no answer."""
    body = {"model": live.model, "messages": [user("hello")], "max_tokens": 1}
    status = live.client.status_without_key("/v1/chat/completions", body)
    if status in {401, 403}:
        return f"HTTP {status} without the key"
    if not live.has_key:
        raise NotSupported(f"no key is asked for (HTTP {status} without one)")
    raise Broken(f"HTTP {status} without the key: anyone who reaches the port can use it")


def too_long(live: Live) -> str:
    """A prompt beyond the context is refused with a clear client error."""
    words = min((live.context or _UNKNOWN_CONTEXT) * 2, _LARGEST_PROMPT_WORDS)
    text = " ".join(itertools.islice(itertools.cycle(("red", "green", "blue")), words))
    try:
        answer = live.ask(text, max_tokens=1)
    except ProtocolError as error:
        if error.status is not None and 400 <= error.status < 500:  # noqa: PLR2004 - a client error
            return f"HTTP {error.status} for {words} words"
        raise
    raise NotSupported(f"{words} words were accepted and {answer.prompt_tokens} tokens read: it cuts in silence")


CAPABILITIES: Mapping[str, Callable[[Live], str]] = {
    "model info": model_info,
    "chat": chat,
    "history": history,
    "streaming": streaming,
    "repeatable": repeatable,
    "max_tokens": max_tokens,
    "stop": stop,
    "token usage": usage,
    "parallel requests": parallel,
    "structured output": structured_output,
    "tool calling": tool_calling,
    "key": auth,
    "too long prompt": too_long,
}
