"""Consistency of an engine profile that types cannot say, as `(path in the file, what is wrong)` pairs."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from deployer.catalog.check_capabilities import capabilities_problems
from deployer.catalog.check_exact import exact_problems
from deployer.catalog.check_failures import failure_problems
from deployer.catalog.check_gateway import gateway_problems
from deployer.catalog.check_image import image_problems
from deployer.catalog.check_use import use_problems
from deployer.catalog.pattern import CAPABILITY, GFX, RELEASE, VERSION, Problem, blanks, numbers, repeated
from deployer.catalog.words import METRICS, SETTINGS
from deployer.types import EngineProfile, Flag, Measure, Quantization, QuantizationSupport

SITUATIONS = ("chat", "agents", "batch", "embedding", "many-users", "few-users", "personal")

MOST_POINTS = 10.0
"""A strength tips the scale between plans of 40 to 90 points; it never outweighs whether the model fits a GPU."""

_KEY_SETTINGS = {"file": "api_key_file", "environment": "api_key_env", "config": "api_key_config"}
_PLACE = re.compile(r"\{([^{}]*)\}")


def engine_problems(
    engine: EngineProfile, file_stem: str, known: Sequence[Quantization], templates: Path
) -> Iterator[Problem]:
    """Problems of one engine profile. `templates` is the folder of Dockerfiles."""
    if engine.engine != file_stem:
        yield "engine", f"{engine.engine!r} is not the name of the file, {file_stem!r}"
    yield from blanks("", {"title": engine.title, "summary": engine.summary, "license": engine.license})
    yield from blanks("sources", dict(enumerate(engine.sources)), at_least_one=True)
    yield from _quantizations(engine, known)
    yield from repeated("images", "id", [image.id for image in engine.images])
    yield from _architectures(engine)
    yield from _reranks(engine)
    yield from _flags(engine)
    yield from _words(engine)
    yield from _strengths(engine)
    yield from exact_problems(engine)
    yield from use_problems(engine)
    yield from gateway_problems(engine)
    yield from ((f"failures/{path}", text) for path, text in failure_problems(engine.failures))
    if engine.capabilities is not None:
        yield from ((f"capabilities{path}", text) for path, text in capabilities_problems(engine.capabilities))
    for index, measure in enumerate(engine.measures):
        yield from ((f"measures/{index}/pattern", text) for text in _measure(measure))
    for index, image in enumerate(engine.images):
        yield from ((f"images/{index}{path}", text) for path, text in image_problems(image, templates))


def _measure(measure: Measure) -> Iterator[str]:
    try:
        groups = set(re.compile(measure.pattern).groupindex)
    except re.error as error:
        yield f"not a regular expression: {error}"
        return
    if "size" not in groups:
        yield "no group (?P<size>...)"
    if unknown := sorted(groups - {"size", "device"}):
        yield f"unknown group {unknown[0]!r}; there are size and device"


def _quantizations(engine: EngineProfile, known: Sequence[Quantization]) -> Iterator[Problem]:
    names = {entry.name for entry in known}
    for index, name in enumerate(engine.quantizations):
        if name not in names:
            yield f"quantizations/{index}", f"{name!r} is not in quantizations.yaml"
    pairs = [f"{item.quantization} ({item.format})" for item in engine.quantization_support]
    yield from repeated("quantization_support", "quantization", pairs)
    forms = {(entry.name, entry.format) for entry in known}
    for index, item in enumerate(engine.quantization_support):
        yield from ((f"quantization_support/{index}/{path}", text) for path, text in _support(item, engine, forms))
    said = {item.quantization for item in engine.quantization_support}
    for index, name in enumerate(engine.quantizations):
        if set(engine.formats) != {"gguf"} and name not in said:
            yield f"quantizations/{index}", f"{name!r} has no line in quantization_support"


def _support(item: QuantizationSupport, engine: EngineProfile, forms: Collection[tuple[str, str]]) -> Iterator[Problem]:
    if (item.quantization, item.format) not in forms:
        yield "quantization", f"{item.quantization} ({item.format}) is not in quantizations.yaml"
    if item.quantization not in engine.quantizations:
        yield "quantization", f"{item.quantization!r} is not in quantizations above"
    if item.format not in engine.formats:
        yield "format", f"{item.format!r} is not in formats above"
    for key in ("min_capability", "native_capability"):
        value = getattr(item, key)
        if value is not None and not CAPABILITY.match(value):
            yield key, f"not a compute capability such as 8.6: {value!r}"
    if numbers(item.native_capability or "99") < numbers(item.min_capability or "0"):
        yield "native_capability", "below min_capability"
    for index, target in enumerate(item.gfx):
        if not GFX.match(target):
            yield f"gfx/{index}", f"not a target such as gfx1100: {target!r}"
    yield from blanks("", {"source": item.source})


def _architectures(engine: EngineProfile) -> Iterator[Problem]:
    yield from repeated("architectures", "", engine.architectures)
    for name, since in engine.architectures_since.items():
        if name not in engine.architectures:
            yield f"architectures_since/{name}", "not in architectures above"
        if not VERSION.match(since):
            yield f"architectures_since/{name}", f"not a version such as 0.20.0: {since!r}"


def _reranks(engine: EngineProfile) -> Iterator[Problem]:
    yield from repeated("reranks", "", engine.reranks)
    for name in engine.reranks:
        if name not in engine.architectures:
            yield "reranks", f"{name!r} is not in architectures above"


def _flags(engine: EngineProfile) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, flag in enumerate(engine.flags):
        yield from ((f"flags/{index}{path}", text) for path, text in _flag(flag))
        before = first.setdefault(flag.setting, index)
        if before != index and _overlap(engine.flags[before], flag):
            yield f"flags/{index}/setting", f"{flag.setting!r} is already at {before}"
    needed = _KEY_SETTINGS.get(engine.key)
    if needed is not None and needed not in first:
        yield "key", f"{engine.key!r} needs a flag for {needed}"
    if engine.launcher and engine.key not in ("environment", "config"):
        yield "launcher", f"nothing to hand over: key is {engine.key!r}"


def _flag(flag: Flag) -> Iterator[Problem]:
    if flag.variable is not None and (flag.flag or not re.fullmatch(r"[A-Z][A-Z0-9_]*", flag.variable)):
        yield "/variable", 'a variable in capital letters, with flag: ""'
    if flag.value is not None and flag.value_if_yes is not None:
        yield "/value_if_yes", "there is a fixed value already"
    if flag.value is None and flag.setting not in SETTINGS:
        yield "/setting", f"{flag.setting!r} is not a setting, and has no fixed value; settings: {', '.join(SETTINGS)}"
    for key in ("since", "until"):
        version = getattr(flag, key)
        if version is not None and not (VERSION.match(version) or RELEASE.match(version)):
            yield f"/{key}", f"not a version such as 0.20.0 or b11434: {version!r}"
    if flag.since and flag.until and numbers(flag.since) >= numbers(flag.until):
        yield "/until", "not after since"


def _overlap(first: Flag, second: Flag) -> bool:
    """True when some version has both."""
    earlier = first.until is not None and second.since is not None and numbers(first.until) <= numbers(second.since)
    later = second.until is not None and first.since is not None and numbers(second.until) <= numbers(first.since)
    return not earlier and not later


def _words(engine: EngineProfile) -> Iterator[Problem]:
    yield from _unknown("metrics", {name: name for name in engine.metrics}, METRICS)
    yield from blanks("metrics", engine.metrics)
    for index, step in enumerate(engine.setup):
        if not step:
            yield f"setup/{index}", "empty"
        places = {place: word for place, text in enumerate(step) for word in _PLACE.findall(text)}
        yield from _unknown(f"setup/{index}", places, SETTINGS)
    for name, text in engine.files.items():
        yield from _unknown(f"files/{name}", dict(enumerate(_PLACE.findall(text))), SETTINGS)
    for name, limit in engine.ulimits.items():
        if limit < -1:
            yield f"ulimits/{name}", "-1 (unlimited), zero or more"
    for index, folder in enumerate(engine.writable):
        if not folder.startswith("/"):
            yield f"writable/{index}", f"not an absolute path: {folder!r}"


def _unknown(path: str, words: Mapping[int, str] | Mapping[str, str], known: Mapping[str, str]) -> Iterator[Problem]:
    for place, word in words.items():
        if word not in known:
            yield f"{path}/{place}", f"{word!r} is not a known word: {', '.join(known)}"


def _strengths(engine: EngineProfile) -> Iterator[Problem]:
    yield from repeated("strengths", "situation", [item.situation for item in engine.strengths])
    for index, item in enumerate(engine.strengths):
        if item.situation not in SITUATIONS:
            yield f"strengths/{index}/situation", f"expected one of {', '.join(SITUATIONS)}, got {item.situation!r}"
        if abs(item.points) > MOST_POINTS:
            yield f"strengths/{index}/points", f"not between -{MOST_POINTS:g} and {MOST_POINTS:g}: {item.points:g}"
        yield from blanks(f"strengths/{index}", {"why": item.why, "source": item.source})
