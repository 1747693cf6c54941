"""Consistency of what an engine's profile says about its measuring program."""

import re
from collections.abc import Iterator

from deployer.catalog.pattern import Problem, blanks
from deployer.types import EngineProfile, ExactTool

GROUPS = ("device", "weights", "kv_cache", "compute")


def exact_problems(engine: EngineProfile) -> Iterator[Problem]:
    """Problems of the block `exact`, with paths from the top of the file."""
    tool = engine.exact
    if tool is None:
        return
    told = {"model_flag": tool.model_flag, "host": tool.host, "source": tool.source}
    yield from blanks("exact", told)
    for index, words in enumerate(tool.programs):
        if not words or "/" in words[0]:
            yield f"exact/programs/{index}", "begins with a name without a folder: it lies beside the engine's own"
    if not tool.programs:
        yield "exact/programs", "empty"
    yield from _line(tool)
    for flag, count in tool.passes.items():
        if not flag.startswith("-") or count not in {0, 1}:
            yield f"exact/passes/{flag}", "a flag with 0 or 1 words after it"
        if flag in engine.forbidden_args:
            yield f"exact/passes/{flag}", "it is in forbidden_args"
    images = {image.id for image in engine.images}
    for image, reason in tool.without.items():
        if image not in images:
            yield f"exact/without/{image}", "no image of this file has that id"
        yield from blanks("exact/without", {image: reason})


def _line(tool: ExactTool) -> Iterator[Problem]:
    try:
        groups = re.compile(tool.line).groupindex
    except re.error as error:
        yield "exact/line", f"not a regular expression: {error}"
        return
    if missing := [name for name in GROUPS if name not in groups]:
        yield "exact/line", f"without the groups {', '.join(missing)}"
