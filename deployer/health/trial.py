"""What every capability trial works with."""

from deployer.health.answers import Answer
from deployer.health.client import Client

# Statuses by which servers say that they do not know a route or a field.
ABSENT = frozenset({400, 404, 405, 415, 422, 501})


class NotSupported(Exception):  # noqa: N818 - an outcome, not a fault
    """The server does not offer this."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Broken(NotSupported):
    """The server offers this, and it does not work."""


class Live:
    """The server under trial: the model's name is filled in by the first trial where it was not given."""

    def __init__(self, *, client: Client, has_key: bool, model: str) -> None:
        self.client, self.has_key, self.model = client, has_key, model
        self.context: int | None = None

    def ask(self, text: str, *, max_tokens: int, **options: object) -> Answer:
        """Ask one question at temperature 0."""
        return self.client.chat([user(text)], model=self.model, max_tokens=max_tokens, temperature=0, **options)


def user(text: str) -> dict[str, object]:
    """Return a user's message."""
    return {"role": "user", "content": text}
