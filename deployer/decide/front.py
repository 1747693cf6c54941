"""The gateway of a plan: which engines have one, what it lets through, and what that leaves open. Pure."""

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.copies import copies
from deployer.types import Front, Health, PlanGateway


def has_gateway(candidate: Candidate) -> bool:
    """True for an engine that is served behind one, and for several copies; a program on this host is not."""
    return _front(candidate) is not None


def _front(candidate: Candidate) -> Front | None:
    if candidate.runtime != "compose":
        return None
    return candidate.engine.gateway or (candidate.engine.copies if copies(candidate) > 1 else None)


def front(candidate: Candidate, image: str, *, ranks: bool = False) -> PlanGateway | None:
    """The gateway before this engine: the profile's routes, and those that its health and its metrics are read at.

    `ranks`: the model is a reranker, so that the routes which score texts are passed on too.
    """
    engine, said = candidate.engine, _front(candidate)
    if said is None:
        return None
    asked = [engine.health.metrics_path, None if engine.loaded is None else engine.loaded.path]
    own = (f"GET {path}" for path in asked if path is not None)
    return PlanGateway(
        why=said.why,
        routes=tuple(dict.fromkeys((*said.routes, *(said.rerank_routes if ranks else ()), *own))),
        image=image,
        lists=said.lists,
        passes_key=bool(engine.launcher) or engine.key == "file",
    )


def health_of(candidate: Candidate) -> Health:
    """The engine's health as it is seen from outside: with a gateway, its health path alone is open."""
    health = candidate.engine.health
    return msgspec.structs.replace(health, public_paths=(health.path,)) if has_gateway(candidate) else health
