"""Trials of talking: an answer, a conversation, pieces, several at once. They judge the server, not the model."""

from concurrent.futures import ThreadPoolExecutor

from deployer.health.answers import Answer, ProtocolError
from deployer.health.client import Message
from deployer.health.trial import ABSENT, Broken, Live, NotSupported, refused, user

COUNT = "Count from 1 to 20, one number a line."
_PARALLEL = 4
_BUFFERED_SHARE = 0.9
_TOGETHER_S = 0.01
"""What something held back comes in one block, whose 32 pieces are read in less than a millisecond; no server makes so
many tokens in so short a time, however long the first of them had to wait for others."""

_ENOUGH_PIECES = 4
_LOOKS = 3


def model_info(live: Live) -> str:
    """`/v1/models` lists the model."""
    listed = live.client.models()
    if not listed:
        raise Broken("/v1/models lists no model")
    live.model = live.model or listed[0].id
    found = next((entry for entry in listed if entry.id == live.model), None)
    if found is None:
        raise Broken(f"'{live.model}' is not listed, but: {', '.join(entry.id for entry in listed)[:200]}")
    live.context = live.context or found.context
    return f"'{found.id}'" + (f", {found.context} tokens of context" if found.context else ", context not told")


def chat(live: Live) -> str:
    """One question, one answer; a server that was made for vectors is not asked, as some die of it."""
    if live.reranker or (live.ranks and not live.vectors and live.capabilities.vectors_alone):
        live.reranker = True
        raise NotSupported("it ranks texts, and was not asked to chat")
    if live.embedding or (live.vectors and live.capabilities.vectors_alone):
        live.embedding = True
        raise NotSupported("it serves embeddings, and was not asked to chat")
    try:
        answer = live.ask("What is the capital of France?", max_tokens=32)
    except ProtocolError as error:
        if error.status in ABSENT and live.vectors:
            live.embedding = True
            raise NotSupported(f"it serves embeddings: {error.message}") from error
        if error.status in ABSENT and live.ranks:
            live.reranker = True
            raise NotSupported(f"it ranks texts: {error.message}") from error
        raise
    knows = "names Paris" if "Paris" in answer.text else "does not name Paris (the model's skill, not the server's)"
    return f"{len(answer.text)} characters; {knows}"


def history(live: Live) -> str:
    """Earlier turns reach the model: the same last turn costs more prompt tokens with them."""
    last = user("What is my name?")
    turns: list[Message] = [user("My name is Alba."), {"role": "assistant", "content": "Hello Alba."}, last]
    alone = live.client.chat([last], model=live.model, max_tokens=1, temperature=0)
    answer = live.client.chat(turns, model=live.model, max_tokens=16, temperature=0)
    if alone.prompt_tokens is None or answer.prompt_tokens is None:
        raise Broken("no token usage to judge by")
    if answer.prompt_tokens <= alone.prompt_tokens:
        raise Broken(f"three turns cost {answer.prompt_tokens} prompt tokens, the last alone {alone.prompt_tokens}")
    skill = "remembered" if "Alba" in answer.text else "not remembered by this model"
    return f"{answer.prompt_tokens} prompt tokens against {alone.prompt_tokens}; the name was {skill}"


def streaming(live: Live) -> str:
    """Pieces come one by one, not all at the end. What buffers does so each time; a busy processor does not."""
    for _ in range(_LOOKS):
        seen = live.client.stream([user(COUNT)], model=live.model, max_tokens=32, temperature=0)
        if not seen.arrived_s:
            raise NotSupported("a streamed request brought no pieces")
        if not seen.finished:
            raise Broken("the stream did not end with [DONE]")
        first, last = seen.arrived_s[0], seen.arrived_s[-1]
        apart = first < _BUFFERED_SHARE * last or last - first > _TOGETHER_S
        if len(seen.arrived_s) < _ENOUGH_PIECES or apart:
            return f"{len(seen.arrived_s)} pieces, the first after {first:.2f} s, the last after {last:.2f} s"
    raise Broken(
        f"all {len(seen.arrived_s)} pieces came together after {first:.2f} s, {_LOOKS} times: something buffers them"
    )


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


def batch(live: Live) -> str:
    """One request to `/v1/completions` with several prompts is answered for each."""
    prompts = ("One, two, three,", "Monday, Tuesday,", "January, February,")
    try:
        texts = live.client.complete(prompts, model=live.model, max_tokens=8)
    except ProtocolError as error:
        raise refused(error, "a list of prompts") from error
    if len(texts) != len(prompts):
        raise Broken(f"{len(prompts)} prompts were given in one request, {len(texts)} texts came")
    return f"{len(texts)} texts for {len(prompts)} prompts of one request"
