"""Trials of the parameters of a request: each shows in the answer whatever the model's skill."""

from deployer.health.answers import Answer, ProtocolError
from deployer.health.capabilities_chat import COUNT
from deployer.health.trial import Broken, Live, NotSupported, refused

_STORY = "Tell me a story about a place that nobody has seen."
_LIMIT = 5
_SEVERAL = 2


def repeatable(live: Live) -> str:
    """Temperature 0 gives the same text twice; the first time may differ, as nothing of the prompt is cached then."""
    texts = [live.ask(COUNT, max_tokens=24, seed=7).text for _ in range(2)]
    if texts[0] == texts[1]:
        return "two equal requests gave equal texts"
    texts.append(live.ask(COUNT, max_tokens=24, seed=7).text)
    if texts[1] != texts[2]:
        raise Broken("equal requests at temperature 0 gave different texts, three times")
    return "the second and third of three equal requests gave equal texts, the first another"


def seed(live: Live) -> str:
    """At temperature 1 the seed decides: the same one gives the same text, another one another."""
    first, again, other = (
        live.ask(_STORY, max_tokens=16, temperature=1, seed=number).text for number in (11, 11, 4711)
    )
    if first != again:
        raise NotSupported("the field is accepted and ignored: the same seed gave two texts at temperature 1")
    if first == other:
        raise NotSupported("two seeds gave the same text at temperature 1")
    return "the same seed gave the same text at temperature 1, another seed another text"


def max_tokens(live: Live) -> str:
    """The answer ends at `max_tokens`, and says so."""
    answer = live.ask(COUNT, max_tokens=_LIMIT)
    if answer.completion_tokens is None or answer.completion_tokens > _LIMIT:
        raise Broken(f"{_LIMIT} tokens were asked for, {answer.completion_tokens} came")
    if answer.completion_tokens == _LIMIT and answer.finish_reason != "length":
        raise Broken(f"finish_reason is '{answer.finish_reason}' instead of 'length'")
    return f"{answer.completion_tokens} tokens, finish_reason '{answer.finish_reason}'"


def stop(live: Live) -> str:
    """The answer ends before a stop word: one that the model is known to write."""
    whole = live.ask(COUNT, max_tokens=32, seed=7).content
    words = [word for word in whole.split() if whole.find(word) > 0]
    if not words:
        raise NotSupported("the model wrote too little to choose a stop word")
    word = words[len(words) // 2]
    cut = live.ask(COUNT, max_tokens=32, seed=7, stop=[word]).content
    if word in cut:
        raise Broken(f"the text goes on past the stop word {word!r}")
    return f"stopped before {word!r}: {len(cut)} of {len(whole)} characters"


def several(live: Live) -> str:
    """`n` asks for several answers at once."""
    answer = _asked(live, "n", n=_SEVERAL, temperature=1)
    if answer.choices != _SEVERAL:
        raise NotSupported(f"the field is accepted and ignored: {answer.choices} answer instead of {_SEVERAL}")
    return f"{answer.choices} answers of one request"


def logprobs(live: Live) -> str:
    """`logprobs` brings the log probability of every token."""
    answer = _asked(live, "logprobs", logprobs=True)
    if answer.logprobs == 0:
        raise NotSupported("the field is accepted and ignored: the answer has no log probabilities")
    return f"{answer.logprobs} log probabilities for {answer.completion_tokens} tokens"


def _asked(live: Live, what: str, **options: object) -> Answer:
    try:
        return live.ask("Say hello.", max_tokens=8, **options)
    except ProtocolError as error:
        raise refused(error, what) from error
