"""What a server was started for, told without asking it to chat: some that make vectors die of a chat."""

from deployer.health.answers import ProtocolError
from deployer.health.client import Client
from deployer.health.detect import shows
from deployer.health.scores import QUERY, TEXTS
from deployer.types import EngineProfile


def told_embedding(client: Client, engine: EngineProfile | None) -> bool:
    """True when the server's own model info says that it makes vectors alone (`embedding` of the profile)."""
    said = None if engine is None else engine.capabilities
    return said is not None and said.embedding is not None and shows(client, said.embedding)


def told_reranker(client: Client, engine: EngineProfile | None) -> bool:
    """True when the server's own model info says that its model ranks texts (`reranker` of the profile)."""
    said = None if engine is None else engine.capabilities
    return said is not None and said.reranker is not None and shows(client, said.reranker)


def ranks_alone(client: Client, engine: EngineProfile | None, model: str) -> bool:
    """True when this server ranks texts and must be asked for nothing else.

    It says so, or it ranks and its engine does nothing beside that, or it ranks and makes no vectors. Raises
    ProtocolError where it was started to rank, and does not.
    """
    said = None if engine is None or not engine.reranks else engine.capabilities
    if said is None:
        return False
    if said.reranker is not None:
        told = told_reranker(client, engine)
        return told and bool(client.rerank(QUERY, TEXTS, model=model))
    return ranks(client, model) and (said.ranks_alone or not makes_vectors(client, model))


def ranks(client: Client, model: str) -> bool:
    """True when texts get scores against a query."""
    try:
        return bool(client.rerank(QUERY, TEXTS, model=model))
    except ProtocolError:
        return False


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
