"""What an engine profile says of GPU use must be readable: patterns with their groups, paths, sources."""

import re
from collections.abc import Iterator

from deployer.catalog.pattern import Problem, blanks
from deployer.types import EngineProfile

_GROUPS = {"layers", "total"}


def use_problems(engine: EngineProfile) -> Iterator[Problem]:
    """Problems of `offloaded`, `loaded` and `cpu_fallback`."""
    if engine.offloaded is not None:
        yield from blanks("offloaded", {"source": engine.offloaded.source})
        yield from _pattern("offloaded/pattern", engine.offloaded.pattern, _GROUPS)
    if engine.loaded is not None:
        yield from blanks("loaded", {"source": engine.loaded.source, "on_gpu": engine.loaded.on_gpu})
        if not engine.loaded.path.startswith("/"):
            yield "loaded/path", f"not a path: {engine.loaded.path!r}"
    for index, text in enumerate(engine.cpu_fallback):
        yield from _pattern(f"cpu_fallback/{index}", text, set())


def _pattern(path: str, text: str, groups: set[str]) -> Iterator[Problem]:
    try:
        found = set(re.compile(text).groupindex)
    except re.error as error:
        yield path, f"not a regular expression: {error}"
        return
    if missing := sorted(groups - found):
        yield path, f"no group (?P<{missing[0]}>...)"
