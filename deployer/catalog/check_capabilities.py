"""Consistency of what a profile says for `check`."""

import re
from collections.abc import Iterator

from deployer.catalog.pattern import Problem, blanks, repeated
from deployer.types import Capabilities, Extension

_ROUTE = re.compile(r"^(GET|POST) /[A-Za-z0-9_./-]*$")
_DOTTED = re.compile(r"^\w+(\.\w+)*$")


def capabilities_problems(said: Capabilities) -> Iterator[Problem]:
    """Problems of one engine's `capabilities`, by path below it."""
    if said.detect is not None:
        if not said.detect.path.startswith("/"):
            yield "/detect/path", f"not an absolute path: {said.detect.path!r}"
        if not _DOTTED.match(said.detect.key):
            yield "/detect/key", f"not a dotted path such as data.0.owned_by: {said.detect.key!r}"
        yield from blanks("/detect", {"source": said.detect.source})
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
