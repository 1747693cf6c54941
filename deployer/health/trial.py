"""What every capability trial works with."""

from collections.abc import Mapping, Sequence

from deployer.health.answers import Answer, ProtocolError
from deployer.health.client import Client
from deployer.health.metrics import scrape
from deployer.types import Capabilities, EngineProfile

# Statuses by which servers say that they do not know a route or a field.
ABSENT = frozenset({400, 404, 405, 415, 422, 501})
# Statuses by which they ask for a key.
CLOSED = frozenset({401, 403})
CLIENT_ERRORS = range(400, 500)


class NotSupported(Exception):  # noqa: N818 - an outcome, not a fault
    """The server does not offer this."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Broken(NotSupported):
    """The server offers this, and it does not work."""


class NotRun(NotSupported):
    """There was no time to try, or what was tried shows nothing."""


class Live:
    """The server under trial, and what the trials found out about it for those after them.

    `model` and `context` (tokens of one request) are filled in by the first trial where they were not given. `engine`
    is its profile, None for a server of an unknown kind. `vectors`: it was seen to make them; `embedding`: it makes
    nothing else. `ranks`: it was seen to score texts; `reranker`: it does nothing else.
    """

    def __init__(
        self,
        *,
        client: Client,
        has_key: bool,
        model: str,
        engine: EngineProfile | None = None,
        context: int | None = None,
        embedding: bool = False,
        reranker: bool = False,
    ) -> None:
        self.client, self.has_key, self.model = client, has_key, model
        self.engine, self.context, self.embedding = engine, context, embedding
        self.vectors, self.ranks, self.reranker = False, False, reranker
        self.reading: Reading | None = None
        self.doors: Sequence[Door] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says for these trials; nothing for an unknown engine."""
        return (self.engine and self.engine.capabilities) or Capabilities()

    @property
    def title(self) -> str:
        """The engine's name in a sentence."""
        return "this server" if self.engine is None else self.engine.engine

    def ask(self, text: str, *, max_tokens: int, **options: object) -> Answer:
        """Ask one question, at temperature 0 unless the options say otherwise."""
        asked = {"temperature": 0, **options}
        return self.client.chat([user(text)], model=self.model, max_tokens=max_tokens, **asked)

    def counter(self, word: str) -> float | None:
        """Return the engine's own counter for our word, all its series together; None where it publishes none."""
        metric = None if self.engine is None else self.engine.metrics.get(word)
        if metric is None or self.engine is None or self.engine.health.metrics_path is None:
            return None
        try:
            return scrape(self.client, self.engine.health.metrics_path, {word: metric}).get(word)
        except ProtocolError:
            return None


class Reading:
    """How the server reads: `tokens = overhead + per_word * words`, and its speed."""

    def __init__(self, *, per_word: float, overhead: float, tokens_per_s: float) -> None:
        self.per_word, self.overhead, self.tokens_per_s = per_word, overhead, tokens_per_s

    def words(self, tokens: float) -> int:
        """Return how many words make a prompt of about so many tokens."""
        return max(int((tokens - self.overhead) / self.per_word), 8)


class Door:
    """One route, and the HTTP status that it answers without a key and with a wrong one."""

    def __init__(self, *, method: str, path: str, statuses: tuple[int, int]) -> None:
        self.method, self.path, self.statuses = method, path, statuses

    @property
    def absent(self) -> bool:
        """True when the server does not have it."""
        return self.statuses[0] in {404, 405, 501}

    @property
    def closed(self) -> bool:
        """True when it asks for the right key."""
        return CLOSED.issuperset(self.statuses)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def user(text: str) -> dict[str, object]:
    """Return a user's message."""
    return {"role": "user", "content": text}


def refused(error: ProtocolError, what: str) -> Exception:
    """Return NotSupported for a refusal, which means that it is not offered; the fault itself for anything else."""
    if error.status in ABSENT or (error.status == 500 and "not support" in error.message):  # noqa: PLR2004
        return NotSupported(f"{what} is refused: {error.message}")
    return error


def nested(field: str, value: object) -> Mapping[str, object]:
    """Return `{"a": {"b": value}}` for the dotted name `a.b`."""
    for name in reversed(field.split(".")):
        value = {name: value}
    return value if isinstance(value, dict) else {}
