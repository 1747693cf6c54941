"""Plain values to typed ones; every error says file, path in the file, what was expected and what was found."""

import re
import types
from typing import Any, NoReturn, TypeVar

import msgspec

from deployer.errors import ProfileError, did_you_mean, nearest

T = TypeVar("T")

_AT = re.compile(r"^(?P<reason>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<key>.*)`")
_MISSING = re.compile(r"missing required field `(?P<key>.*)`")
_EXPECTED = re.compile(r"Expected `(?P<expected>.*)`, got `(?P<found>.*)`")
_ENUM = re.compile(r"Invalid enum value (?P<found>.*)")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_WORDS = {"array": "list", "object": "mapping"}


def convert(value: object, kind: type[T], label: str) -> T:
    """Decode strictly into `kind`. Raises ProfileError as `file: images/2/cuda: expected str, got float`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        _refuse(str(error), kind, label)


def _refuse(message: str, kind: object, label: str) -> NoReturn:
    match = _AT.match(message)
    reason, path = (match["reason"], match["path"] or "") if match else (message, "")
    steps = tuple(name or index for name, index in _STEP.findall(path))
    text, hint = _explain(reason, _kind_at(kind, steps))
    raise ProfileError(": ".join(part for part in (label, "/".join(steps), text) if part), hint=hint)


def _explain(reason: str, kind: object) -> tuple[str, str]:
    """The sentence and the way out, from msgspec's reason and the type that was wanted there."""
    if match := _UNKNOWN.search(reason):
        known = _field_names(kind)
        meant = did_you_mean(nearest(match["key"], known))
        return f"unknown key {match['key']!r}{meant}", f"known keys: {', '.join(known)}"
    if match := _MISSING.search(reason):
        return f"missing key {match['key']!r}", "add it"
    if match := _EXPECTED.search(reason):
        return _wrong_type(match["expected"], match["found"])
    if match := _ENUM.search(reason):
        words = _words_of(msgspec.json.schema(kind))
        meant = did_you_mean(nearest(match["found"].strip("'"), words))
        return f"expected one of {', '.join(words)}, got {match['found']}{meant}", "correct the word"
    return reason, "correct the file"


def _wrong_type(expected: str, found: str) -> tuple[str, str]:
    words = " or ".join(_WORDS.get(word, word) for word in expected.split(" | ") if word != "null")
    got = _WORDS.get(found, found)
    is_guess = "str" in expected.split(" | ") and got in {"int", "float", "bool", "date", "datetime"}
    hint = 'YAML read it as another type: write it in quotes, such as "12.4"' if is_guess else "correct the value"
    return f"expected {words}, got {got}{', quote it' if is_guess else ''}", hint


def _words_of(schema: dict[str, Any]) -> list[str]:
    """The words of an enumeration, also where the value may be left out."""
    parts: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return [str(word) for part in parts for word in part.get("enum", ()) if word is not None]


def _field_names(kind: object) -> tuple[str, ...]:
    return tuple(getattr(kind, "__struct_encode_fields__", ()))


def _kind_at(kind: Any, steps: tuple[str, ...]) -> Any:
    """The type wanted at a path, as far as structs and sequences of structs lead; else `object`."""
    for step in steps:
        if _field_names(kind):
            kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == step), object)
        else:
            arguments = getattr(kind, "__args__", (object,))
            kind = arguments[-1] if getattr(kind, "__origin__", None) is dict else arguments[0]
        kind = _present(kind)
    return kind


def _present(kind: Any) -> Any:
    """The type itself of one that may be left out (`Health | None`)."""
    if isinstance(kind, types.UnionType):
        return next(argument for argument in kind.__args__ if argument is not types.NoneType)
    return kind
