"""What a live OpenAI-compatible server can do, each capability with its evidence; any server, ours or not."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from deployer.health.answers import ProtocolError
from deployer.health.capabilities import CAPABILITIES, Capability
from deployer.health.client import Client
from deployer.health.detect import detect
from deployer.health.kind import told_embedding, told_reranker
from deployer.health.trial import Broken, Live, NotRun, NotSupported
from deployer.types import EngineProfile, Value

CapabilityStatus = Literal["works", "not supported", "broken", "not run"]

TOTAL_S = 120.0
EACH_S = 30.0
_EACH_SHARE = 4
_LONG = "long prompt"
_LONG_SHARE = 2
_FAIR_SHARE = 0.5
"""A question that had less than this part of a check's time, because those before it were slow, proves no fault."""


class CapabilityResult(Value, frozen=True, kw_only=True):
    """One capability of a live server, and what was seen. "not run": no time was left, or nothing can be shown."""

    name: str
    status: CapabilityStatus
    detail: str
    seconds: float


class Target(Value, frozen=True, kw_only=True):
    """The server to check, and what is known of it.

    `engine` is the profile of what runs there; None: found out among `engines`. `model` None: the first that it lists.
    `context` in tokens of one request; None: what it tells. `embedding`: it was deployed to serve vectors,
    `reranker`: to rank texts. `name`: its name here, None for a URL.
    """

    base_url: str
    key: str | None = None
    model: str | None = None
    context: int | None = None
    embedding: bool = False
    reranker: bool = False
    name: str | None = None
    engine: EngineProfile | None = None
    engines: tuple[EngineProfile, ...] = ()


class CheckReport(Value, frozen=True, kw_only=True):
    """All results, and what was found out about the server; `engine` None: of an unknown kind."""

    base_url: str
    engine: str | None
    model: str
    context: int | None
    checks: tuple[CapabilityResult, ...]


def check(
    target: Target,
    *,
    total_s: float = TOTAL_S,
    each_s: float | None = None,
    on_start: Callable[[str], None] | None = None,
    on_result: Callable[[CapabilityResult], None] | None = None,
) -> CheckReport:
    """Try every capability in turn, for `total_s` seconds at most.

    One has `each_s` seconds, by default 30 or a quarter of them all, the long prompt half of them all.
    Raises BadInputError for an unusable address or key; a server that does not answer is "broken" everywhere.
    """
    each_s = max(EACH_S, total_s / _EACH_SHARE) if each_s is None else each_s
    live = _live(target, each_s)
    until = time.monotonic() + total_s
    results: list[CapabilityResult] = []
    for capability in CAPABILITIES:
        if on_start is not None:
            on_start(capability.name)
        usual_s = max(each_s, total_s / _LONG_SHARE) if capability.name == _LONG else each_s
        result = _try(capability, live, results, limits_s=(usual_s, until - time.monotonic()))
        results.append(result)
        if on_result is not None:
            on_result(result)
    return CheckReport(
        base_url=live.client.base_url,
        engine=None if live.engine is None else live.engine.engine,
        model=live.model,
        context=live.context,
        checks=tuple(results),
    )


def _live(target: Target, each_s: float) -> Live:
    client = Client(target.base_url, target.key)
    client.limit(each_s)
    engine = target.engine or detect(client, target.engines)
    return Live(
        client=client,
        has_key=bool(target.key),
        model=target.model or "",
        engine=engine,
        context=target.context,
        embedding=target.embedding or told_embedding(client, engine),
        reranker=target.reranker or told_reranker(client, engine),
    )


def _try(
    capability: Capability, live: Live, before: Sequence[CapabilityResult], *, limits_s: tuple[float, float]
) -> CapabilityResult:
    """One trial within its usual time, or what is left of the whole where that is less."""
    began = time.monotonic()
    usual_s, left_s = limits_s
    live.client.limit(min(usual_s, left_s))
    status: CapabilityStatus = "works"
    try:
        detail = _run(capability, live, before, left_s)
    except NotRun as error:
        status, detail = "not run", error.message
    except ProtocolError as error:
        cut = error.timed_out and (left_s < usual_s or error.waited_s < usual_s * _FAIR_SHARE)
        status, detail = "not run" if cut else "broken", error.message
    except Broken as error:
        status, detail = "broken", error.message
    except NotSupported as error:
        status, detail = "not supported", error.message
    seconds = round(time.monotonic() - began, 3)
    return CapabilityResult(name=capability.name, status=status, detail=detail, seconds=seconds)


def _run(capability: Capability, live: Live, before: Sequence[CapabilityResult], left_s: float) -> str:
    if left_s <= 0:
        raise NotRun("no time was left: --timeout allows more")
    chat = next((result for result in before if result.name == "chat"), None)
    if capability.chats and chat is not None and chat.status == "not supported":
        raise NotSupported("it does not chat")
    return capability.run(live)
