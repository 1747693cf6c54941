"""Consistency of what a profile says for `check`."""

import re
from collections.abc import Iterator

from deployer.catalog.pattern import Problem, blanks, repeated
from deployer.types import Capabilities, Detect, Extension

_ROUTE = re.compile(r"^(GET|POST) /[A-Za-z0-9_./-]*$")
_DOTTED = re.compile(r"^\w+(\.\w+)*$")


def capabilities_problems(said: Capabilities) -> Iterator[Problem]:
    """Problems of one engine's `capabilities`, by path below it."""
    for name in ("detect", "embedding", "reranker"):
        sign: Detect | None = getattr(said, name)
        if sign is not None:
            yield from ((f"/{name}{path}", text) for path, text in _sign(sign))
    if said.embedding is not None and not said.vectors_alone:
        yield "/embedding", "needs vectors_alone: true"
    for name in ("choice", "regex", "grammar"):
        extension: Extension | None = getattr(said, name)
        if extension is None:
            continue
        if not _DOTTED.match(extension.field):
            yield f"/{name}/field", f"not a dotted name such as structured_outputs.choice: {extension.field!r}"
        if name not in {"choice", extension.form}:
            yield f"/{name}/form", f"{name} is written as {name}, not as {extension.form}"
        yield from blanks(f"/{name}", {"source": extension.source})
    yield from repeated("/routes", "", said.routes)
    for index, route in enumerate(said.routes):
        if not _ROUTE.match(route):
            yield f"/routes/{index}", f"not a method and a path such as POST /v1/chat/completions: {route!r}"


def _sign(sign: Detect) -> Iterator[Problem]:
    if not sign.path.startswith("/"):
        yield "/path", f"not an absolute path: {sign.path!r}"
    if not _DOTTED.match(sign.key):
        yield "/key", f"not a dotted path such as data.0.owned_by: {sign.key!r}"
    for path, text in blanks("", {"source": sign.source}):
        yield f"/{path}", text
