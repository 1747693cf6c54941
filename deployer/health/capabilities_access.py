"""Trials of the door: who gets in without the key, and what becomes of nonsense."""

import secrets
from collections.abc import Sequence

from deployer.health.answers import ProtocolError
from deployer.health.scores import RERANK
from deployer.health.trial import CLIENT_ERRORS, CLOSED, Broken, Door, Live, NotRun, NotSupported, user

_CHAT = "/v1/chat/completions"
_ROUTES = (
    "GET /v1/models",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/responses",
    "POST /v1/messages",
    "GET /metrics",
    "GET /health",
)
"""What an unknown server is asked for."""
_MALFORMED = (b'{"model": "x", "messages": [', b'{"messages": 17}')


def key(live: Live) -> str:
    """Without the key, and with a wrong one, nothing below `/v1` answers."""
    path, body = _work(live)
    status = live.client.status_without_key(path, {"model": live.model, **body})
    if status not in CLOSED:
        if not live.has_key:
            raise NotSupported(f"no key is asked for (HTTP {status} without one)")
        raise Broken(f"HTTP {status} without the key: anyone who reaches the port can use it")
    if not live.has_key:
        raise NotSupported(f"HTTP {status}: it asks for a key, and none was given to this check")
    doors = [door for door in _doors(live) if not door.absent and not _declared(live, door)]
    opened = [door for door in doors if not door.closed and door.path.startswith("/v1/")]
    if opened:
        raise Broken(f"answered without the right key: {_named(opened)}")
    return f"HTTP {status} without the key and with a wrong one, on {sum(door.closed for door in doors)} routes"


def open_paths(live: Live) -> str:
    """Paths that answer without the key are those that the engine's profile tells."""
    if not live.has_key:
        raise NotSupported("no key was given: nothing is said to be closed")
    opened = [door for door in _doors(live) if not door.absent and not door.closed]
    unknown = [door for door in opened if live.engine is not None and not _declared(live, door)]
    if unknown:
        raise Broken(f"open without the key, which the profile of {live.title} does not say: {_named(unknown)}")
    if not opened:
        return f"none of {len(_doors(live))} routes answers without the key"
    working = [door for door in opened if door.method == "POST"]
    work = f"; work can be asked there without it: {_named(working)}" if working else ""
    said = f", as the profile of {live.title} says" if live.engine is not None else ""
    return f"open without the key{said}: {_named([door for door in opened if door not in working]) or 'none'}{work}"


def malformed(live: Live) -> str:
    """A body that is not JSON, or of the wrong shape, is a client error."""
    path, _ = _work(live)
    statuses = [live.client.status_of_raw(path, body) for body in _MALFORMED]
    if closed := CLOSED.intersection(statuses):
        raise NotRun(f"HTTP {min(closed)} tells of the key, and nothing of the request")
    if any(status not in CLIENT_ERRORS for status in statuses):
        raise Broken(f"cut JSON got HTTP {statuses[0]}, JSON of a wrong shape HTTP {statuses[1]}; 400 was expected")
    return f"HTTP {statuses[0]} for cut JSON, HTTP {statuses[1]} for JSON of a wrong shape"


def unknown_model(live: Live) -> str:
    """A model that is not there is refused."""
    name = f"{live.model}-that-is-not-here"
    try:
        if live.reranker:
            live.client.rerank("hello", ["hello"], model=name)
        elif live.embedding:
            live.client.vectors(["hello"], model=name)
        else:
            live.client.chat([user("hello")], model=name, max_tokens=1)
    except ProtocolError as error:
        if error.status in CLOSED:
            raise NotRun(f"HTTP {error.status} tells of the key, and nothing of the model") from error
        if error.status in CLIENT_ERRORS:
            return f"HTTP {error.status} for '{name}'"
        raise
    raise NotSupported(f"any name is answered: HTTP 200 for '{name}'")


def _work(live: Live) -> tuple[str, dict[str, object]]:
    """The path of what it does, and the least that can be asked for there."""
    if live.reranker:
        return RERANK, {"query": "hello", "documents": ["hello"]}
    if live.embedding:
        return "/v1/embeddings", {"input": "hello"}
    return _CHAT, {"messages": [user("hello")], "max_tokens": 1}


def _doors(live: Live) -> Sequence[Door]:
    """Ask every route once without a key and once with a wrong one."""
    if live.doors is None:
        wrong = f"wrong-{secrets.token_hex(8)}"
        split = [route.split(" ", 1) for route in live.capabilities.routes or _ROUTES]
        live.doors = [
            Door(
                method=method,
                path=path,
                statuses=(
                    live.client.status_with(None, method, path),
                    live.client.status_with(wrong, method, path),
                ),
            )
            for method, path in split
        ]
    return live.doors


def _declared(live: Live, door: Door) -> bool:
    """True for a path that the profile says is open, or one below it.

    Of an engine without a key of its own, all paths are open: who asks for one stands before it, and leaves only what
    tells its health.
    """
    if live.engine is None:
        return False
    if live.engine.key == "none":
        return door.path in {"/health", live.engine.health.path}
    paths = live.engine.health.public_paths
    return any(path in {"/", door.path} or door.path.startswith(f"{path}/") for path in paths)


def _named(doors: Sequence[Door]) -> str:
    return ", ".join(map(str, doors))
