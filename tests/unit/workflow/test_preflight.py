"""Which engines may be started: those to which the key can be handed over without showing it."""

from typing import Any

import pytest

from deployer.errors import PreconditionError
from deployer.types import Plan
from deployer.workflow import preflight
from tests.unit.plans import build_plan


def plan(engine: str, **changes: Any) -> Plan:
    return build_plan(engine=engine, **changes)


@pytest.mark.parametrize(
    "made",
    [
        plan("llama.cpp"),
        plan("vllm", launcher=["python3"]),
        plan("sglang", launcher=["python3"]),
        plan("vllm", runtime="process"),
        plan("sglang", runtime="process"),
        plan("ollama", gateway={"why": "no key", "routes": ["POST /v1/completions"], "image": "x"}),
        plan("tgi", gateway={"why": "half a key", "routes": ["POST /v1/completions"], "image": "x"}),
    ],
    ids=lambda made: f"{made.engine} {made.runtime}",
)
def test_an_engine_that_can_be_given_its_key_is_started(made: Plan) -> None:
    preflight.startable(made)
    assert made.engine


@pytest.mark.parametrize(("engine", "why"), [("vllm", "hand over"), ("tgi", "hand over"), ("ollama", "has no API key")])
def test_one_that_cannot_is_refused_with_the_reason(engine: str, why: str) -> None:
    with pytest.raises(PreconditionError, match=why) as caught:
        preflight.startable(plan(engine))
    assert "--engine llama.cpp" in caught.value.hint
