"""One YAML file to plain values, strictly: what YAML would guess or expand is refused, with the place in the file."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Protocol

import yaml

from deployer.errors import ProfileError
from deployer.paths import is_special

MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # values in one file, an alias counted each time it is used
MAX_DEPTH = 40
MAX_OPEN = 200  # brackets open at once, or collections opened in one line

_HINT = "correct the file"
_TAG = "tag:yaml.org,2002:"
_STRING, _MERGE = f"{_TAG}str", f"{_TAG}merge"
_BRACKETS = re.compile(r"[\[\]{}]")
_DEEP_LINE = re.compile(r"^[ \t]{200}", re.MULTILINE)
_SCALARS = frozenset({f"{_TAG}{kind}" for kind in ("int", "float", "bool", "null", "timestamp")})


class _Composer(Protocol):
    """What is used of a YAML loader: its C or its Python form."""

    def get_single_node(self) -> yaml.Node | None: ...

    def construct_object(self, node: yaml.Node) -> object: ...


def read_document(path: Path, label: str) -> object:
    """Read one YAML file into dicts, lists and scalars.

    `label` names the file in messages. Raises ProfileError for a file that is missing, above 1 MB, not UTF-8, not
    YAML, more than one document, or has a duplicate key, a merge key, an unusual tag, or anchors that expand without
    measure.
    """
    return parse_document(read_text(path, label), label)


def read_text(path: Path, label: str) -> str:
    """Read at most 1 MB of UTF-8. Raises ProfileError."""
    if is_special(path):
        raise ProfileError(f"{label}: not a regular file", hint="give a file, not a pipe or a device")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"{label}: cannot be read: {error.strerror}", hint=f"is {path} there?") from error
    if len(content) > MAX_BYTES:
        raise ProfileError(
            f"{label}: larger than {MAX_BYTES} bytes; a file of this kind is never that large", hint=_HINT
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ProfileError(f"{label}: not UTF-8 text, byte {error.start}", hint=_HINT) from error


def parse_document(text: str, label: str) -> object:
    """Parse YAML text; errors as in `read_document`."""
    _refuse_depth(text, label)
    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        composer = loader(text)
        node = composer.get_single_node()
        return None if node is None else _Builder(composer, label).value(node, (), 0)
    except yaml.YAMLError as error:
        raise ProfileError(f"{label}{_yaml_reason(error)}", hint=_HINT) from error
    except ValueError as error:  # a date such as 2026-13-45
        raise ProfileError(f"{label}: {error}", hint="quote it") from error


def _refuse_depth(text: str, label: str) -> None:
    """Refuse deep nesting before parsing: libyaml composes nested collections by recursion in C and would crash."""
    opened = deepest = 0
    for bracket in _BRACKETS.findall(text):
        opened += 1 if bracket in "[{" else -1
        deepest = max(deepest, opened)
    if deepest > MAX_OPEN or _DEEP_LINE.search(text) or any(_dense(line) for line in text.splitlines()):
        raise ProfileError(f"{label}: nested too deeply", hint=_HINT)


def _dense(line: str) -> bool:
    """True for a line that opens many block collections at once (`- - - -`)."""
    return len(line) > MAX_OPEN and sum(line.count(mark) for mark in ("- ", "? ", ": ", "-\t")) > MAX_OPEN


def _yaml_reason(error: yaml.YAMLError) -> str:
    """What follows the name of the file: `:line: reason`, where the line is known."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        return f":{mark.line + 1}: column {mark.column + 1}: {reason}"
    return f": not YAML: {error}"


def _written(key: yaml.Node) -> str:
    """A key as it stands in the file: `on`, not True."""
    return str(key.value)


class _Builder:
    """Values from nodes, counting them."""

    def __init__(self, composer: _Composer, label: str) -> None:
        self._composer = composer
        self._label = label
        self._nodes = 0

    def value(self, node: yaml.Node, path: tuple[str, ...], depth: int) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self._error(node, path, f"more than {MAX_NODES} values or {MAX_DEPTH} levels")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*path, str(index)), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path, depth)
        raise self._error(node, path, f"tag {node.tag} is not allowed in this file")

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> object:
        if node.tag == _STRING:
            return node.value
        if node.tag in _SCALARS:
            return self._composer.construct_object(node)
        raise self._error(node, path, f"tag {node.tag} is not allowed in this file")

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...], depth: int) -> dict[Hashable, object]:
        found: dict[Hashable, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                raise self._error(key_node, path, "merge keys (<<) are not allowed in this file")
            key = self.value(key_node, path, depth + 1)
            if not isinstance(key, Hashable):
                raise self._error(key_node, path, "a key has to be a word")
            if key in found:
                raise self._error(key_node, path, f"duplicate key {_written(key_node)!r}")
            found[key] = self.value(value_node, (*path, _written(key_node)), depth + 1)
        return found

    def _error(self, node: yaml.Node, path: tuple[str, ...], reason: str) -> ProfileError:
        file = self._label if node.start_mark is None else f"{self._label}:{node.start_mark.line + 1}"
        return ProfileError(": ".join(part for part in (file, "/".join(path), reason) if part), hint=_HINT)
