"""Which value holds for a word, and who said it.

Flags first, then `DEPLOYER_*`, `deployer.yaml`, the user's `config.yaml`, the system's, and what is built in.
"""

import os
import shlex
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from deployer.errors import BadInputError
from deployer.paths import Home
from deployer.types import Request
from deployer.types.deployments import ConfigFile, Declared, Setting, Wishes

FILE = "config.yaml"
SYSTEM = Path("/etc/deployer")
FIELDS = {
    "quant": "quantization",
    "engine-arg": "engine_args",
    "kv-type": "kv_type",
    "allow-vulnerable": "allow_vulnerable",
}
"""Where a word's field of a request is named otherwise than the word."""

ALONE = ("name", "port")
"""Words of one deployment: the environment may say them, a `config.yaml` for all may not."""

_LISTS = ("allow-vulnerable", "engine-arg")


def words() -> tuple[str, ...]:
    """Every word that may be set for all deployments."""
    return tuple(field.encode_name for field in msgspec.structs.fields(Wishes))


def variable(word: str) -> str:
    """The environment variable of a word: `kv-type` to `DEPLOYER_KV_TYPE`."""
    return f"DEPLOYER_{word.replace('-', '_').upper()}"


def said(home: Home, environ: Mapping[str, str] = os.environ, system: Path = SYSTEM) -> dict[str, Setting]:
    """What the environment and the files of user and system say; words that nobody says are left out.

    Raises ProfileError for a file, and BadInputError for a variable, that cannot be used.
    """
    layers = [_from_environment(environ), *_from_files(home, environ, system)]
    found: dict[str, Setting] = {}
    for layer in layers:
        for setting in layer:
            found.setdefault(setting.word, setting)
    return {word: found[word] for word in (*words(), *ALONE) if word in found}


def every(home: Home, environ: Mapping[str, str] = os.environ, system: Path = SYSTEM) -> tuple[Setting, ...]:
    """Every word with the value that holds when no flag and no `deployer.yaml` says otherwise."""
    known = said(home, environ, system)
    every_word = (*words(), *(word for word in ALONE if word in known))
    return tuple(known.get(word) or Setting(word=word, value=_built_in(word)) for word in every_word)


def files(home: Home, environ: Mapping[str, str] = os.environ, system: Path = SYSTEM) -> tuple[ConfigFile, ...]:
    """Every `config.yaml` that is looked for, there or not; what the first says wins.

    Root has only the system's, and DEPLOYER_HOME moves everything into one.
    """
    user = home.config / FILE
    alone = bool(environ.get("DEPLOYER_HOME")) or home.config == system
    places = [ConfigFile(origin="system" if home.config == system else "user", path=str(user), present=user.exists())]
    other = system / FILE
    return (*places, *([] if alone else [ConfigFile(origin="system", path=str(other), present=other.exists())]))


def flags(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The same as defaults of the command line's parameters, by their names."""
    return {FIELDS.get(word, word): _as_flag(word, setting.value) for word, setting in settings.items()}


def request(
    name: str, declared: Declared, layers: Iterable[Wishes], *, given: Mapping[str, Any], base: Path
) -> Request:
    """The request of one deployment of a `deployer.yaml` in the folder `base`.

    `given` are the command line's values by field of a request; they win. `layers`: who else speaks, the first that
    says a word wins.
    """
    values: dict[str, Any] = {}
    for wishes in layers:
        for word, value in _spoken(wishes).items():
            values.setdefault(FIELDS.get(word, word), _as_field(word, value))
    if image := values.pop("image", None):
        profile, said, reference = str(image).partition("=")
        values |= {"image": profile, "image_reference": reference if said else None}
    if "workload" in values:
        values["workload_asked"] = True
    return Request(**{**values, **given, "model": _model(declared.model, base), "name": name, "port": declared.port})


def wishes_of(settings: Mapping[str, Setting], origins: Iterable[str]) -> Wishes:
    """The words of some origins only, of those that may be said for all."""
    wanted = set(origins)
    chosen = {word: item.value for word, item in settings.items() if item.origin in wanted and word not in ALONE}
    return msgspec.convert(chosen, Wishes)


def words_above(settings: Mapping[str, Setting], given: Iterable[str]) -> frozenset[str]:
    """Words that the command line (`given`, by field of a request) or the environment says."""
    fields = set(given)
    by_flag = {word for word in words() if FIELDS.get(word, word) in fields}
    return frozenset(by_flag | {word for word, setting in settings.items() if setting.origin == "environment"})


def parse_gpus(value: object) -> tuple[int, ...]:
    """`0,1`, a number or a list of them to indexes; `none` to an empty tuple. Raises BadInputError."""
    if value == "none":
        return ()
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    try:
        return tuple(sorted({int(part) for part in parts}))
    except ValueError:
        raise BadInputError(f"gpus {value}: not a list of GPU indexes", hint='gpus: "0,1" or gpus: none') from None


def _from_environment(environ: Mapping[str, str]) -> list[Setting]:
    every_word = (*words(), *ALONE)
    present = {word: environ[variable(word)] for word in every_word if environ.get(variable(word))}
    return [
        Setting(word=word, value=_read(word, text), origin="environment", where=variable(word))
        for word, text in present.items()
    ]


def _read(word: str, text: str) -> object:
    """A variable's value as the word's type. Raises BadInputError naming the variable."""
    from deployer.catalog.deployments import check_words

    return check_words({word: shlex.split(text) if word in _LISTS else text}, variable(word))[word]


def _from_files(home: Home, environ: Mapping[str, str], system: Path) -> list[list[Setting]]:
    return [_from_file(file) for file in files(home, environ, system) if file.present]


def _from_file(file: ConfigFile) -> list[Setting]:
    from deployer.catalog.deployments import load_config

    wishes, lines = load_config(Path(file.path))
    return [
        Setting(word=word, value=value, origin=file.origin, where=f"{file.path}:{lines.get(word, 1)}")
        for word, value in _spoken(wishes).items()
    ]


def _spoken(wishes: Wishes) -> dict[str, object]:
    """Words that were said, of those that may be said for all."""
    fields = msgspec.structs.fields(Wishes)
    values = {field.encode_name: getattr(wishes, field.name) for field in fields}
    return {word: value for word, value in values.items() if value is not None}


def _as_field(word: str, value: object) -> object:
    if word == "gpus":
        return parse_gpus(value)
    if word in _LISTS:
        return (value,) if isinstance(value, str) else tuple(typing.cast("tuple[str, ...]", value))
    return value.lower() if word == "kv-type" and isinstance(value, str) else value


def _as_flag(word: str, value: object) -> object:
    """As it would stand on the command line."""
    if word == "gpus":
        return ",".join(str(index) for index in parse_gpus(value)) or "none"
    return _as_field(word, value)


def _built_in(word: str) -> object:
    field = FIELDS.get(word, word)
    return getattr(Request(model=""), field)


def _model(text: str, base: Path) -> str:
    """A model's path that begins with a dot is meant from the file's own folder."""
    return str((base / text).resolve()) if text.startswith(("./", "../")) else text
