"""A host file (`probe --json` of this or another machine): decoded strictly, with messages that name the key."""

import re
from pathlib import Path
from typing import cast

import msgspec

from deployer.errors import BadInputError, ProfileError, did_you_mean, nearest
from deployer.facts.fingerprint import fingerprint
from deployer.paths import is_special
from deployer.types import FORMAT_VERSION, HostFacts

_LIMIT_BYTES = 4 * 1024 * 1024
_NEARLY = 0.75
_HINT = "make a host file with `deployer probe --json > host.json` on that machine"
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<kind>key in )?\$?(?P<path>.*)`)?$", re.DOTALL)


class _Version(msgspec.Struct, frozen=True):
    format_version: int = FORMAT_VERSION


def load_host_file(path: Path) -> HostFacts:
    """Read a host file; a field that is left out or null is unknown, and a missing fingerprint is computed.

    Raises BadInputError when the file cannot be read, ProfileError (`file: key/in/file: what`) when its shape is wrong.
    """
    document = _decode(path, _read(path))
    _check_version(path, document)
    _refuse_misspelt(path, document)
    try:
        host = msgspec.convert(_completed(document), HostFacts)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{path}: {_sentence(str(error))}", hint=_HINT) from None
    negative = _first_negative(msgspec.to_builtins(host))
    if negative is not None:
        raise ProfileError(f"{path}: {negative}: must not be negative", hint=_HINT)
    return host if host.fingerprint else msgspec.structs.replace(host, fingerprint=fingerprint(host))


def _read(path: Path) -> bytes:
    """Read the bytes, and not more than 4 MiB of them."""
    if is_special(path):
        raise BadInputError(f"{path}: not a regular file", hint=_HINT)
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
    except IsADirectoryError:
        raise BadInputError(f"{path} is a folder, not a host file", hint=_HINT) from None
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file", hint=_HINT) from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}", hint="check the file's rights") from None
    if len(content) > _LIMIT_BYTES:
        raise BadInputError(f"{path} is larger than 4 MiB; a host file has some kilobytes", hint=_HINT)
    return content.removeprefix(b"\xef\xbb\xbf")


def _decode(path: Path, content: bytes) -> dict[str, object]:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProfileError(f"{path}: not JSON: {error}", hint=_HINT) from None
    if not isinstance(document, dict):
        raise ProfileError(f"{path}: expected object, got {_json_name(document)}", hint=_HINT)
    return cast("dict[str, object]", document)


def _check_version(path: Path, document: dict[str, object]) -> None:
    """Refuse a format from the future before anything else, because its fields may mean something else."""
    try:
        version = msgspec.convert(document, _Version).format_version
    except msgspec.ValidationError as error:
        raise ProfileError(f"{path}: {_sentence(str(error))}", hint=_HINT) from None
    if not 1 <= version <= FORMAT_VERSION:
        raise ProfileError(
            f"{path}: format_version: {version} is not known here; this deployer reads up to {FORMAT_VERSION}",
            hint="update deployer, or make the host file again with this version",
        )


def _refuse_misspelt(path: Path, document: dict[str, object]) -> None:
    """Refuse a key that is nearly one that is missing: left out in silence, `gpuz` would be a host without GPUs."""
    known = {field.encode_name for field in msgspec.structs.fields(HostFacts)}
    for key in sorted(document.keys() - known):
        if near := nearest(key, sorted(known - document.keys()), _NEARLY):
            raise ProfileError(f"{path}: {key}: unknown key{did_you_mean(near)}", hint=_HINT)


def _completed(document: dict[str, object]) -> dict[str, object]:
    """Leave out what is null, and number the GPUs that have no index by their place."""
    present = {key: value for key, value in document.items() if value is not None}
    gpus = present.get("gpus")
    if isinstance(gpus, list):
        present["gpus"] = [_numbered(place, gpu) if isinstance(gpu, dict) else gpu for place, gpu in enumerate(gpus)]
    return present


def _numbered(place: int, gpu: dict[str, object]) -> dict[str, object]:
    return gpu if gpu.get("index") is not None else {**gpu, "index": place}


def _sentence(message: str) -> str:
    """Turn "Expected `int`, got `str` - at `$.gpus[0].index`" into "gpus/0/index: expected int, got str"."""
    found = _WHERE.match(message)
    what, path = (found["what"], found["path"]) if found else (message, None)
    place = re.sub(r"[.\[\]]+", "/", path or "").strip("/")
    plain = (what[:1].lower() + what[1:]).replace("`", "").replace(" | null", "").replace("object missing", "missing")
    return f"{place}: {plain}" if place else plain


def _json_name(document: object) -> str:
    return {list: "array", str: "str", type(None): "null", bool: "bool"}.get(type(document), "number")


def _first_negative(value: object, place: str = "") -> str | None:
    """Find the first number below zero; no fact of a host is one."""
    if isinstance(value, int):
        return place if value < 0 else None
    children: list[tuple[object, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    found = (_first_negative(child, f"{place}/{key}".lstrip("/")) for key, child in children)
    return next((text for text in found if text is not None), None)
