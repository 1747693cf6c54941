"""What a profile's `memory` names: how an engine's settings and memory follow from host, model and request."""

from deployer.decide import estimate_llama, estimate_paged
from deployer.decide.settings import Estimator
from deployer.errors import ProfileError
from deployer.types import EngineProfile

ESTIMATORS: dict[str, Estimator] = {"llama.cpp": estimate_llama.size, "paged_kv": estimate_paged.size}


def estimator(engine: EngineProfile) -> Estimator:
    """The engine's estimator. Raises ProfileError for a name that is none."""
    if engine.memory not in ESTIMATORS:
        raise ProfileError(
            f"{engine.engine}.yaml: memory: no estimator is called {engine.memory!r}",
            hint=f"one of: {', '.join(ESTIMATORS)}",
        )
    return ESTIMATORS[engine.memory]
