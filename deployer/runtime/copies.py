"""Several containers of one deployment, each with a whole copy of the model: which they are, and their state as one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from deployer.runtime.naming import LABEL_COPY
from deployer.types import ServerState, ServerStatus

Entry = Mapping[str, Any]
"""A container as Docker lists it."""

_FALLEN = ("exited", "restarting", "missing")


def newest(entries: Iterable[Entry]) -> dict[int, Entry]:
    """Of the containers of one name those that were made last, by the number of their copy; 0: there is only one."""
    found: dict[tuple[int, int], Entry] = {}
    last = (0, 1)
    for entry in sorted(entries, key=lambda entry: int(entry["Created"])):
        last = place(entry)
        found[last] = entry
    return {number: entry for (number, count), entry in sorted(found.items()) if count == last[1]}


def place(entry: Entry) -> tuple[int, int]:
    """Which copy it is, of how many; (0, 1) for a container that is the only one."""
    number, _, count = str(entry["Labels"].get(LABEL_COPY, "")).partition("/")
    return (int(number), int(count)) if number.isdecimal() and count.isdecimal() else (0, 1)


def together(states: Mapping[int, ServerState], count: int) -> ServerState:
    """The state of them all: `degraded` where some serve and others do not.

    Its fields are those of the first that does not run, else of the first; restarts are added up.
    """
    some = next(iter(states.values()))
    nothing = ServerState(name=some.name, runtime=some.runtime, status="missing")
    copies = tuple(states.get(number, nothing) for number in range(1, count + 1))
    fallen = [number for number, state in enumerate(copies, start=1) if state.status in _FALLEN]
    status = _status(copies)
    return msgspec.structs.replace(
        copies[fallen[0] - 1] if fallen else copies[0],
        status=status,
        restarts=sum(state.restarts for state in copies),
        plan_hash=some.plan_hash,
        detail=_words(fallen, count) if fallen else copies[0].detail,
        copies=copies,
    )


def _status(copies: Sequence[ServerState]) -> ServerStatus:
    found = {state.status for state in copies}
    if "running" in found and found & {*_FALLEN}:
        return "degraded"
    order: tuple[ServerStatus, ...] = ("starting", "restarting", "exited", "missing", "running")
    return next(status for status in order if status in found)


def _words(fallen: Sequence[int], count: int) -> str:
    numbers = ", ".join(map(str, fallen))
    return f"copy {numbers} of {count} does not run" if len(fallen) == 1 else f"copies {numbers} of {count} do not run"
