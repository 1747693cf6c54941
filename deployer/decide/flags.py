"""Which of its profile's flags a version of an engine has, and what it is therefore told of."""

from deployer.decide.candidates import Candidate
from deployer.decide.version import older
from deployer.types import Flag, Projector, Request


def flags_of(candidate: Candidate) -> tuple[Flag, ...]:
    """Flags that this version of the engine has; all of them where it cannot be compared."""
    return tuple(flag for flag in candidate.engine.flags if _has(candidate.version, flag))


def _has(version: str, flag: Flag) -> bool:
    early = flag.since is not None and older(version, flag.since) is True
    late = flag.until is not None and older(version, flag.until) is False
    return not early and not late


def served_projector(candidate: Candidate, request: Request) -> Projector | None:
    """The variant's projector where this engine can be told of it and pictures may come: not for embeddings."""
    projector = candidate.variant.projector
    if projector is None or request.workload == "embedding":
        return None
    return projector if any(flag.setting == "projector" for flag in flags_of(candidate)) else None
