"""The gateway of a plan: which engines have one, what it lets through, and what that leaves open."""

import msgspec

from deployer.decide.candidates import Candidate
from deployer.types import Health, PlanGateway


def has_gateway(candidate: Candidate) -> bool:
    """True for an engine that is served behind one; a program on this host is not."""
    return candidate.engine.gateway is not None and candidate.runtime == "compose"


def front(candidate: Candidate, image: str) -> PlanGateway | None:
    """The gateway before this engine: the profile's routes, and those that its health and its metrics are read at."""
    engine = candidate.engine
    if engine.gateway is None or not has_gateway(candidate):
        return None
    asked = [engine.health.metrics_path, None if engine.loaded is None else engine.loaded.path]
    own = (f"GET {path}" for path in asked if path is not None)
    return PlanGateway(
        why=engine.gateway.why,
        routes=tuple(dict.fromkeys((*engine.gateway.routes, *own))),
        image=image,
        lists=engine.gateway.lists,
        passes_key=bool(engine.launcher),
    )


def health_of(candidate: Candidate) -> Health:
    """The engine's health as it is seen from outside: with a gateway, its health path alone is open."""
    health = candidate.engine.health
    return msgspec.structs.replace(health, public_paths=(health.path,)) if has_gateway(candidate) else health
