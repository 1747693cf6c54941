"""The child's lines, decoded: one for the driver, then one for each GPU. Pure."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """One call: its value, or its `nvmlReturn_t`; neither when it was not made."""

    value: T | None = None
    error: int | None = None


class SliceLine(msgspec.Struct, frozen=True):
    """One MIG slice; memory is (total, free, reserved) in bytes."""

    uuid: Answer[str] = Answer()
    name: Answer[str] = Answer()
    memory: Answer[tuple[int, int, int | None]] = Answer()


class DeviceLine(msgspec.Struct, frozen=True):
    """One GPU as the child wrote it."""

    index: int
    handle_error: int | None = None
    name: Answer[str] = Answer()
    uuid: Answer[str] = Answer()
    pci_bus_id: Answer[str] = Answer()
    compute_capability: Answer[tuple[int, int]] = Answer()
    memory: Answer[tuple[int, int, int | None]] = Answer()
    processes: Answer[tuple[tuple[int, str | None, int | None], ...]] = Answer()
    mig: Answer[tuple[int, int]] = Answer()
    slices: tuple[SliceLine, ...] = ()
    display: Answer[int] = Answer()


class DriverLine(msgspec.Struct, frozen=True):
    """The first line: why NVML did not start, or the driver."""

    init_error: int | None = None
    driver: Answer[str] = Answer()
    cuda: Answer[int] = Answer()
    count: Answer[int] = Answer()


class Lines(msgspec.Struct, frozen=True):
    """All that the child wrote."""

    driver: DriverLine | None
    devices: tuple[DeviceLine, ...]


def parse(lines: Sequence[str]) -> Lines:
    """Decode the child's lines; what it did not finish writing is left out."""
    try:
        driver = msgspec.json.decode(lines[0], type=DriverLine) if lines else None
        devices = tuple(msgspec.json.decode(line, type=DeviceLine) for line in lines[1:])
    except msgspec.MsgspecError:
        return Lines(None, ())
    return Lines(driver, devices)
