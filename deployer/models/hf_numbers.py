"""Whole numbers and lists of a `config.json`, each checked before it is used."""

from collections.abc import Mapping
from typing import Any

from deployer.errors import ModelFileError
from deployer.models.names import printable


class Numbers:
    """The body of a config.json, with a label for messages."""

    def __init__(self, body: Mapping[str, Any], label: str) -> None:
        self.body = body
        self._label = label

    def number(self, *keys: str, low: int = 1, high: int = 1 << 28, default: int | None = None) -> int:
        """The first of `keys` that has a value. Raises ModelFileError when it is missing or senseless."""
        key = next((key for key in keys if self.body.get(key) is not None), keys[0])
        found = self.body.get(key)
        found = default if found is None else found
        if found is None:
            raise broken(f"{self._label}: config.json: {key} is missing")
        if type(found) is not int or not low <= found <= high:
            raise self.senseless(key, found, f"a number from {low} to {high}")
        return found

    def size(self, *keys: str, default: int = 0) -> int:
        """A number from 0, `default` where none of `keys` has a value."""
        return self.number(*keys, low=0, default=default)

    def part(self, key: str) -> "Numbers":
        """An object inside; empty where there is none."""
        found = self.body.get(key)
        return Numbers(found if isinstance(found, dict) else {}, f"{self._label}: {key}")

    def listed(self, key: str, layers: int) -> tuple[Any, ...]:
        """What a list says of the first `layers`; empty where it is none, or is too short."""
        found = self.body.get(key)
        return tuple(found[:layers]) if isinstance(found, list) and len(found) >= layers else ()

    def counts(self, key: str, layers: int) -> tuple[int, ...]:
        """`listed`, where all of it has to be whole numbers from 0. Raises ModelFileError for anything else."""
        found = self.listed(key, layers)
        if not all(type(count) is int and 0 <= count <= 1 << 24 for count in found):
            raise self.senseless(key, self.body[key], "a list of whole numbers")
        return found

    def layer_types(self, layers: int, *kinds: str) -> tuple[bool, ...] | None:
        """For each layer whether `layer_types` says one of `kinds`; None where it does not fit, or never says so."""
        found = self.listed("layer_types", layers)
        flags = tuple(name in kinds for name in found)
        return flags if any(flags) else None

    def senseless(self, key: str, found: object, wanted: str) -> ModelFileError:
        """The error for a value that makes no sense."""
        return broken(f"{self._label}: config.json: {key} is {printable(repr(found))}, not {wanted}")


def broken(reason: str) -> ModelFileError:
    """The error for a config.json that cannot be used."""
    return ModelFileError(reason, hint="give a folder with a complete transformers model, or a .gguf file")
