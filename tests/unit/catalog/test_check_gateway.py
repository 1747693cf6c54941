"""What a profile says of its gateway is checked when it is read."""

import msgspec
import pytest

from deployer import catalog
from deployer.catalog.check_gateway import gateway_problems
from deployer.types import EngineProfile, Front

FRONT = Front(why="no key", routes=("GET /v1/models", "POST /v1/chat/completions"), source="its source")


def engine(**changes: object) -> EngineProfile:
    return msgspec.structs.replace(catalog.load_engine("ollama"), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gateway": None}, "an engine without a key needs one"),
        ({"gateway": msgspec.structs.replace(FRONT, why=" ")}, "gateway/why"),
        ({"gateway": msgspec.structs.replace(FRONT, routes=("POST /v1/x",))}, "GET /v1/models is missing"),
        ({"gateway": msgspec.structs.replace(FRONT, routes=(*FRONT.routes, "/v1/x"))}, "gateway/routes/2"),
        ({"gateway": msgspec.structs.replace(FRONT, routes=(*FRONT.routes, "POST /v1/x y"))}, "gateway/routes/2"),
        ({"gateway": msgspec.structs.replace(FRONT, routes=(*FRONT.routes, FRONT.routes[0]))}, "gateway/routes"),
        ({"gateway": FRONT, "files": {"../x": ""}}, "files/../x"),
        ({"gateway": FRONT, "store": "/srv"}, "store"),
        ({"copies": msgspec.structs.replace(FRONT, why="")}, "copies/why"),
        ({"copies": msgspec.structs.replace(FRONT, routes=("GET /x",))}, "copies/routes"),
        ({"copies": FRONT}, "copies"),  # it is set up after its start
    ],
)
def test_a_problem_is_named(changes: dict[str, object], said: str) -> None:
    found = [f"{path}: {text}" for path, text in gateway_problems(engine(**changes))]
    assert any(said in line for line in found), found


def test_every_engine_whose_key_does_not_guard_all_has_one() -> None:
    have = {item.engine for item in catalog.load_engines() if item.gateway is not None}
    assert have == {"ollama", "lm-studio", "tensorrt-llm", "tgi", "vllm"}
    assert all(not list(gateway_problems(item)) for item in catalog.load_engines())
