"""What a server was started for, told without asking it to chat: some that make vectors die of a chat."""

from deployer.health.answers import ProtocolError
from deployer.health.client import Client
from deployer.health.detect import shows
from deployer.types import EngineProfile


def told_embedding(client: Client, engine: EngineProfile | None) -> bool:
    """True when the server's own model info says that it makes vectors alone (`embedding` of the profile)."""
    said = None if engine is None else engine.capabilities
    return said is not None and said.embedding is not None and shows(client, said.embedding)


def makes_vectors_alone(client: Client, engine: EngineProfile | None, model: str) -> bool:
    """True when this server must not be asked to chat: it says so, or it makes vectors and its engine does one of both.

    False says nothing yet of an engine that does both. Raises ProtocolError where it was started for vectors, and makes
    none.
    """
    if told_embedding(client, engine):
        _refuse_empty(client.embed("hello", model=model))
        return True
    said = None if engine is None else engine.capabilities
    return said is not None and said.vectors_alone and makes_vectors(client, model)


def makes_vectors(client: Client, model: str) -> bool:
    """True when a text gives a vector."""
    try:
        return client.embed("hello", model=model) > 0
    except ProtocolError:
        return False


def _refuse_empty(size: int) -> None:
    if size == 0:
        raise ProtocolError("the embedding vector is empty")
