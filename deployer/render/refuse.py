"""What cannot stand in a rendered file is refused before anything is written."""

import ipaddress
import re
import unicodedata
from collections.abc import Iterator

from deployer.errors import BadInputError
from deployer.render.devices import CACHE_FOLDER
from deployer.types import Plan

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # Compose: project names have no dot
_USER = re.compile(r"\d{1,10}:\d{1,10}")
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_URL_PATH = re.compile(r"/[A-Za-z0-9/_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FOLDER = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9.][A-Za-z0-9._-]*)+")  # as in `folder:options`, and never a part `..`
_LIMIT = re.compile(r"[a-z]{2,12}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?")
_DEVICE = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]+")  # never a word like `all`
_PORTS = range(1, 65536)
_FILE = re.compile(r"(?!Dockerfile)[A-Z][A-Za-z]{1,30}")
_STORE = re.compile(re.escape(CACHE_FOLDER))
_HOW = "make the plan again: deployer plan MODEL --out plan.json"
_TEXT_CONTROLS = frozenset("\n\t")


def refuse_unsafe(plan: Plan) -> None:
    """Raise BadInputError naming the field and the value. The plan may come from a file that somebody edited."""
    for field, text, pattern in _patterns(plan):
        if pattern.fullmatch(text) is None:
            raise _refusal(field, text, f"does not match {pattern.pattern}")
    if plan.shm_mib is not None and plan.shm_mib <= 0:
        raise _refusal("shm_mib", str(plan.shm_mib), "is not a size in MiB")
    for field, port in (("port", plan.port), ("container_port", plan.container_port)):
        if port not in _PORTS:
            raise _refusal(field, str(port), "is not a port (1 to 65535)")
    _refuse_paths(plan)
    refuse_address(plan)
    refuse_characters(plan)


def _refuse_paths(plan: Plan) -> None:
    paths = [("model.path", plan.model.path), ("key_file", plan.key_file)]
    paths += [] if plan.key_config is None else [("key_config", plan.key_config)]
    paths += [] if plan.model.projector is None else [("model.projector", plan.model.projector)]
    for field, path in paths:
        if not path.startswith("/") or not path.strip("/") or ".." in path.split("/"):
            raise _refusal(field, path, "is not an absolute path to a file or folder")
    for file in plan.model.files:
        if file.rpartition("/")[2] in {"", ".", ".."}:
            raise _refusal("model.files", file, "is not the name of a file")


def refuse_address(plan: Plan) -> None:
    """Raise BadInputError when the plan listens on something that is not an IP address."""
    try:
        ipaddress.ip_address(plan.address)
    except ValueError as error:
        raise _refusal("address", plan.address, "is not an IP address") from error


def refuse_characters(plan: Plan) -> None:
    """Raise BadInputError for a control character in a name or path, and for NUL or half a character anywhere."""
    for field, text in _names(plan):
        if _controls(text):
            raise _refusal(field, text, "holds a control character")
    for field, text in _free_texts(plan):
        if _controls(text) - _TEXT_CONTROLS:
            raise _refusal(field, text, "holds a control character other than newline and tab")


def _controls(text: str) -> set[str]:
    return {character for character in text if unicodedata.category(character) in {"Cc", "Cs"}}


def _patterns(plan: Plan) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    yield "name", plan.name, _NAME
    yield "engine", plan.engine, _WORD
    yield "image.profile", plan.image.profile, _WORD
    yield "plan_hash", plan.plan_hash, _WORD
    yield "health.path", plan.health.path, _URL_PATH
    yield "container_user", plan.container_user, _USER
    yield from (("environment", key, _VARIABLE) for key in plan.environment)
    yield from (("writable", folder, _FOLDER) for folder in plan.writable)
    yield from (("ulimits", name, _LIMIT) for name in plan.ulimits)
    yield from (("files", name, _FILE) for name in plan.files)
    if plan.store is not None:
        yield "store", plan.store, _STORE
    if plan.key_variable is not None:
        yield "key_variable", plan.key_variable, _VARIABLE
    named = (device for device in plan.devices if device.uuid is not None and not device.tegra)
    yield from (("devices.uuid", device.uuid or "", _DEVICE) for device in named)
    image = plan.image
    yield from (("image", digest, _DIGEST) for digest in (image.digest, image.image_id) if digest is not None)
    if image.reference is not None:
        yield "image.reference", image.reference, _REFERENCE


def _names(plan: Plan) -> Iterator[tuple[str, str]]:
    model = plan.model
    yield from (("model.ref", model.ref), ("model.path", model.path), ("key_file", plan.key_file))
    yield "key_config", plan.key_config or ""
    yield "model.projector", plan.model.projector or ""
    yield "model.quantization", model.quantization
    yield from (("model.files", file) for file in model.files)
    yield from (("devices.name", device.name) for device in plan.devices if device.name is not None)


def _free_texts(plan: Plan) -> Iterator[tuple[str, str]]:
    yield from (("command", word) for word in plan.command)
    yield from (("launcher", word) for word in plan.launcher)
    yield from (("files", text) for text in plan.files.values())
    yield from (("setup", word) for step in plan.setup for word in step)
    yield from (("health.test", word) for word in plan.health.test)
    yield from (("environment", value) for value in plan.environment.values())


def _refusal(field: str, text: str, why: str) -> BadInputError:
    return BadInputError(f"plan: {field}: {ascii(text)[:120]} {why}", hint=_HOW)
