"""What a file of this folder holds: one real host, what was asked for, and what has to be decided."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from deployer.types import HostFacts, ModelSpec

FOLDER = Path(__file__).parent


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has to be true of the decision; what is left out may be anything. Text is matched as regular expressions.

    `error`: `no-fit` when nothing may run, `allowed` when nothing may run or what follows. `headline`: what its message
    says.
    `engine`, `image` (by engine), `accelerator`, `quantization`, `tensor_parallel`: acceptable values. `device_count`:
    least and most. `budget`: free MiB, by GPU index, that the estimate may count on at most. `refused`: by `engine`,
    what a plan forced to that engine says (`engine>=version`: older versions may serve; a CPU image may serve), or by
    `engine/image` what the free plan says of images of this name. `sentence`: somewhere in what the user is told.
    """

    error: Literal["no-fit", "allowed"] | None = None
    headline: str | None = None
    engine: tuple[str, ...] = ()
    image: dict[str, tuple[str, ...]] = {}
    not_image: tuple[str, ...] = ()
    accelerator: tuple[str, ...] = ()
    cuda: str | None = None
    runtime: str | None = None
    devices: tuple[int, ...] | Literal["cpu"] | None = None
    device_count: tuple[int, int] | None = None
    tensor_parallel: tuple[int, ...] = ()
    quantization: tuple[str, ...] = ()
    not_quantization: tuple[str, ...] = ()
    not_version: str | None = None
    context_below: int | None = None
    command: dict[str, str] = {}
    when_rocm: dict[str, str] = {}
    compose: tuple[str, ...] = ()
    budget: dict[str, int] = {}
    refused: dict[str, str] = {}
    sentence: tuple[str, ...] = ()


class Also(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another question to the same host: what differs, and what is expected then."""

    when: str
    expect: Expect
    host: dict[str, object] = {}
    request: dict[str, object] = {}
    model: ModelSpec | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of `cases/`."""

    source: str
    lesson: str
    host: dict[str, object]
    request: dict[str, object]
    expect: Expect
    operator_action: str | None = None
    assumed: tuple[str, ...] = ()
    model: ModelSpec | None = None
    also: tuple[Also, ...] = ()


class Ask(NamedTuple):
    """One question: the host, the request, the model where it is not in the catalog, and what is expected."""

    host: HostFacts
    request: dict[str, object]
    model: ModelSpec | None
    expect: Expect


def load() -> dict[str, Case]:
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Case) for path in sorted(FOLDER.glob("*.json"))}


def asks(case: Case) -> Iterator[tuple[str, Ask]]:
    yield "", Ask(msgspec.convert(case.host, HostFacts, strict=True), case.request, case.model, case.expect)
    for other in case.also:
        facts = msgspec.convert(merged(case.host, other.host), HostFacts)
        yield f": {other.when}", Ask(facts, {**case.request, **other.request}, other.model or case.model, other.expect)


def merged(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    """`one` with the values of `other`, folder by folder."""
    found = dict(one)
    for key, value in other.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found
