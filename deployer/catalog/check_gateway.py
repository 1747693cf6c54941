"""What an engine profile says of the gateway before it must be readable: routes, a reason, folders and files."""

import re
from collections.abc import Iterator

from deployer.catalog.pattern import Problem, blanks, repeated
from deployer.types import EngineProfile, Front

_ROUTE = re.compile(r"(GET|POST) (/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
_FILE = re.compile(r"[A-Z][A-Za-z]{1,30}")
_MODELS = "GET /v1/models"


def gateway_problems(engine: EngineProfile) -> Iterator[Problem]:
    """Problems of `gateway`, `copies`, `files` and `store`."""
    for name in engine.files:
        if not _FILE.fullmatch(name):
            yield f"files/{name}", "not a name such as Modelfile"
    if engine.store is not None and not any(engine.store == folder for folder in engine.writable):
        yield "store", f"not in writable: {engine.store!r}"
    if engine.gateway is not None:
        yield from _front_problems("gateway", engine.gateway)
    elif engine.key == "none":
        yield "gateway", "an engine without a key needs one"
    if engine.copies is not None:
        yield from _front_problems("copies", engine.copies)
        if "data" in engine.splits or engine.setup or engine.store is not None:
            yield "copies", "an engine that holds copies itself, is set up or keeps a model of its own has none"


def _front_problems(place: str, front: Front) -> Iterator[Problem]:
    yield from blanks(place, {"why": front.why, "source": front.source})
    for name in ("routes", "rerank_routes"):
        routes: tuple[str, ...] = getattr(front, name)
        yield from repeated(f"{place}/{name}", "", routes)
        for index, route in enumerate(routes):
            if not _ROUTE.fullmatch(route):
                yield f"{place}/{name}/{index}", f"not METHOD /path: {route!r}"
    if _MODELS not in front.routes:
        yield f"{place}/routes", f"{_MODELS} is missing"
