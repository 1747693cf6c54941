"""What a live OpenAI-compatible server can do, each capability with its evidence; any server, ours or not."""

import time
from collections.abc import Callable
from typing import Literal

from deployer.health.answers import ProtocolError
from deployer.health.capabilities import CAPABILITIES
from deployer.health.client import Client
from deployer.health.trial import Broken, Live, NotSupported
from deployer.types import Value

CapabilityStatus = Literal["works", "not supported", "broken"]


class CapabilityResult(Value, frozen=True, kw_only=True):
    """One capability of a live server, and what was seen."""

    name: str
    status: CapabilityStatus
    detail: str
    seconds: float


def check(
    base_url: str,
    key: str | None,
    model: str | None = None,
    *,
    timeout_s: float = 120.0,
    on_result: Callable[[CapabilityResult], None] | None = None,
) -> tuple[CapabilityResult, ...]:
    """Try every capability in turn; `model` None takes the first that the server lists.

    Raises BadInputError for an unusable address or key; a server that does not answer is "broken" everywhere.
    """
    live = Live(client=Client(base_url, key, timeout_s=timeout_s), has_key=bool(key), model=model or "")
    results = []
    for name, probe in CAPABILITIES.items():
        result = _try(name, probe, live)
        results.append(result)
        if on_result is not None:
            on_result(result)
    return tuple(results)


def _try(name: str, probe: Callable[[Live], str], live: Live) -> CapabilityResult:
    began = time.monotonic()
    status: CapabilityStatus = "works"
    try:
        detail = probe(live)
    except (Broken, ProtocolError) as error:
        status, detail = "broken", error.message
    except NotSupported as error:
        status, detail = "not supported", error.message
    return CapabilityResult(name=name, status=status, detail=detail, seconds=round(time.monotonic() - began, 3))
