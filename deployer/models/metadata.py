"""Numbers of a GGUF header, each checked."""

from deployer.errors import ModelFileError
from deployer.models.gguf import GgufHeader
from deployer.models.names import printable

_LARGE = 1 << 24


def number(header: GgufHeader, key: str, *, high: int, low: int = 0, default: int | None = None) -> int:
    """A whole number, or the largest of an array with one number a layer. Raises ModelFileError naming the key."""
    array = header.arrays.get(key)
    found = header.metadata.get(key, default) if array is None else max(array.values or (), default=None)
    if found is None:
        raise broken(header, f"the key {key} is missing")
    if type(found) is not int or not low <= found <= high:
        raise broken(header, f"{key} is {shown(found)}, not a whole number from {low} to {high}")
    return found


def each(header: GgufHeader, key: str, layers: int) -> tuple[int, ...]:
    """The numbers of all layers where they differ; empty where the key has one number, or as many equal ones.

    Raises ModelFileError for what is no list of whole numbers from 0.
    """
    array = header.arrays.get(key)
    if array is None or array.values is None or len(array.values) < layers:
        return ()
    found = tuple(int(value) for value in array.values[:layers] if type(value) is int and 0 <= value <= _LARGE)
    if len(found) < layers:
        raise broken(header, f"{key} is no list of whole numbers")
    return found if len(set(found)) > 1 else ()


def flags(header: GgufHeader, key: str, layers: int) -> tuple[bool, ...] | None:
    """Yes or no for each of `layers`, from an array of booleans or numbers; None where there is no such array."""
    array = header.arrays.get(key)
    if array is None or array.values is None or len(array.values) < layers:
        return None
    return tuple(bool(value) for value in array.values[:layers])


def shown(value: object) -> str:
    """A value for a message."""
    return "missing" if value is None else printable(repr(value))


def broken(header: GgufHeader, reason: str) -> ModelFileError:
    """The error for a header that makes no sense."""
    return ModelFileError(f"{header.label}: {reason}", hint="it may not be a language model, or its conversion failed")
