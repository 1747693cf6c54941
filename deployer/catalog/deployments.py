"""Read `deployer.yaml` and `config.yaml` strictly: errors name the file, the line and the nearest valid word."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deployer.catalog.document import parse_document, read_text
from deployer.catalog.shape import convert
from deployer.errors import ProfileError
from deployer.types.deployments import Alone, Declared, DeploymentsFile, GatewayWish, Sheet, Wishes

T = TypeVar("T")

MAX_DEPLOYMENTS = 64
_ADDRESS_HINT = "127.0.0.1, or an address of this host"
_STEPS = re.compile(r"^(?P<path>[^\s:]+): ")


class _Source(msgspec.Struct, frozen=True):
    """One file: its name in messages and its text."""

    label: str
    text: str

    def convert(self, value: object, kind: type[T], *steps: str) -> T:
        """A typed value. Raises ProfileError as `file:line: path: reason`."""
        try:
            return convert(value, kind, "")
        except ProfileError as error:
            found = _STEPS.match(error.message)
            inner = found["path"].split("/") if found else []
            unknown = re.search(r"unknown key '(.*?)'", error.message)
            place = [*steps, *inner, *([unknown[1]] if unknown else [])]
            text = error.message[found.end() :] if found else error.message
            raise self.error(text, (*steps, *inner), line_of(self.text, place), error.hint) from None

    def error(self, reason: str, steps: Iterable[str], line: int | None, hint: str) -> ProfileError:
        where = self.label if line is None else f"{self.label}:{line}"
        return ProfileError(": ".join(part for part in (where, "/".join(steps), reason) if part), hint=hint)

    def checked(self, wishes: Wishes | GatewayWish, *steps: str) -> None:
        """What a type cannot say: an address is an IP address."""
        import ipaddress

        if wishes.address is None:
            return
        try:
            ipaddress.ip_address(wishes.address)
        except ValueError:
            line = line_of(self.text, (*steps, "address"))
            reason = f"{wishes.address!r} is not an IP address"
            raise self.error(reason, (*steps, "address"), line, _ADDRESS_HINT) from None


def load_deployments(path: Path) -> DeploymentsFile:
    """Read a `deployer.yaml`. Raises ProfileError as `file:line: path/in/file: reason`; limits as in `document`."""
    label = str(path)
    source = _Source(label, read_text(path, label))
    value = parse_document(source.text, label)
    if value is None:
        raise ProfileError(f"{label}: it says nothing", hint="deployments: {chat: {model: NAME}}")
    sheet = source.convert(value, Sheet)
    if not 0 < len(sheet.deployments) <= MAX_DEPLOYMENTS:
        count = f"{len(sheet.deployments)} deployments; from 1 to {MAX_DEPLOYMENTS} can stand in a file"
        raise source.error(count, ("deployments",), line_of(source.text, ("deployments",)), "correct the file")
    return DeploymentsFile(
        label=label,
        deployments={name: _declared(source, name, value) for name, value in sheet.deployments.items()},
        defaults=_wishes(source, sheet.defaults, "defaults"),
        gateway=_gateway(source, sheet.gateway),
        lines={name: line_of(source.text, ("deployments", name)) or 1 for name in sheet.deployments},
        text=source.text,
    )


def place(file: DeploymentsFile, *steps: str) -> str:
    """`file:line: path/in/file`, which begins the message about a value of a file that was read."""
    line = line_of(file.text, steps)
    return f"{file.label if line is None else f'{file.label}:{line}'}: {'/'.join(steps)}"


def load_config(path: Path) -> tuple[Wishes, Mapping[str, int]]:
    """Read a `config.yaml`: the words that hold for every deployment, and the line of each. It may be empty."""
    source = _Source(str(path), read_text(path, str(path)))
    wishes = _wishes(source, parse_document(source.text, source.label))
    words = (field.encode_name for field in msgspec.structs.fields(Wishes))
    places = {word: line_of(source.text, (word,)) for word in words}
    return wishes, {word: line for word, line in places.items() if line is not None}


def line_of(text: str, steps: Iterable[str]) -> int | None:
    """Line (from 1) of the last part of a path that is there; None when not even its first part is.

    `text` has been parsed before: it is neither deep nor large.
    """
    import yaml

    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    node, line = loader(text).get_single_node(), None
    for step in steps:
        found = _child(node, step)
        if found is None:
            break
        node, line = found
    return line


def _child(node: Any, step: str) -> tuple[Any, int] | None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        pairs = ((key, value) for key, value in node.value if key.value == step)
        return next(((value, key.start_mark.line + 1) for key, value in pairs), None)
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        item = node.value[int(step)]
        return item, item.start_mark.line + 1
    return None


def _declared(source: _Source, name: str, value: object) -> Declared:
    found = source.convert(value, Declared, "deployments", name)
    source.checked(found, "deployments", name)
    return found


def _wishes(source: _Source, value: object, *steps: str) -> Wishes:
    found = Wishes() if value is None else source.convert(value, Wishes, *steps)
    source.checked(found, *steps)
    return found


def _gateway(source: _Source, value: object) -> GatewayWish | None:
    """`gateway: true` has no wishes of its own."""
    if value is None or value is False:
        return None
    if value is not True and not isinstance(value, dict):
        line = line_of(source.text, ("gateway",))
        raise source.error(f"expected true, or a mapping, not {value!r}", ("gateway",), line, "gateway: true")
    found = GatewayWish() if value is True else source.convert(value, GatewayWish, "gateway")
    source.checked(found, "gateway")
    return found


def check_words(values: Mapping[str, object], label: str) -> dict[str, Any]:
    """Words that came as text, as their types. Raises ProfileError as `label: reason`."""
    try:
        found = msgspec.convert(values, Alone, strict=False)
    except msgspec.ValidationError as error:
        reason = re.sub(r" - at `.*`$", "", str(error)).replace("`", "")
        raise ProfileError(f"{label}: {reason}", hint="correct the value, or unset it") from error
    _Source(label, "").checked(found)
    return {word: getattr(found, word.replace("-", "_")) for word in values}
