"""The table of `deployer fit` for a person: 80 columns are enough, and a wider terminal gets more of the bar."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby

from deployer.cli import output
from deployer.types.fit import FitCell, FitRow, FitTable

CELL = 6
NAME_LEAST, BAR_LEAST, BAR_MOST = 6, 8, 30
WIDE = 112
"""From this many columns on, the bar is followed by its numbers."""

_THOUSAND, _TEN_GIB = 1024, 100
_FULL_TYPES = ("f16", "bf16", "f32", "auto", None)


def show(table: FitTable, *, extra: Sequence[str] = (), asked: str | None = None, width: int | None = None) -> None:
    """Print it, on stdout."""
    output.lines(lines(table, width or shutil.get_terminal_size().columns, extra, asked=asked))


def lines(table: FitTable, width: int, extra: Sequence[str] = (), *, asked: str | None = None) -> Iterator[str]:
    """The page, line by line, none wider than `width` (at least 80), but for sentences.

    `asked`: the type of keys and values that was asked for, which needs no star.
    """
    usual = (*_FULL_TYPES, asked)
    users = f"{table.users} user{'s' if table.users != 1 else ''}"
    yield f"{table.model} on {table.host or 'this host'}: {users}, each with the context at the head of the column"
    for _, group in groupby(table.rows, key=lambda row: (row.place, row.label, row.engine, row.image)):
        yield ""
        yield from _group(tuple(group), table, width, usual)
    yield ""
    yield from _legend(table, usual)
    yield from ("", *(f"- {text}" for text in extra)) if extra else ()
    yield from (f"! {warning}" for warning in table.warnings)
    if table.refused:
        yield f"{table.refused} other images of these engines cannot run here or not this model: deployer engines"


def _group(rows: Sequence[FitRow], table: FitTable, width: int, usual: Sequence[str | None]) -> Iterator[str]:
    """One set of devices: a line for each form that fits somewhere, and one for all that never do."""
    first = rows[0]
    yield f"{first.label}  ({first.engine} {first.image})"
    shown = [row for row in rows if any(cell.fits is not False for cell in row.cells)]
    name = max([NAME_LEAST, *(len(row.quantization) for row in shown)])
    if shown:
        heads = " ".join(_tokens(context).rjust(CELL) for context in table.contexts)
        yield f"  {'':<{name}} {heads} {'largest':>7} at {_tokens(table.context)}".rstrip()
    for row in shown:
        cells = " ".join(_cell(cell, usual).rjust(CELL) for cell in row.cells)
        largest = "?" if row.max_context is None else str(row.max_context)
        start = f"  {row.quantization:<{name}} {cells} {largest:>7} "
        yield (start + _bar(row, table.context, width - len(start), numbers=width >= WIDE)).rstrip()
    large = [f"{row.quantization} {_gib(_room(row.cells[0]))}" for row in rows if row not in shown]
    if large:
        yield f"  too large: {', '.join(large)}"


def _cell(cell: FitCell, usual: Sequence[str | None]) -> str:
    """Room in GiB, or how far the GPUs get: layers on them, or layers whose experts are not."""
    if cell.fits is None:
        return "?"
    star = "" if cell.kv_cache_type in usual else "*"
    if cell.fits and cell.cpu_moe_layers:
        return f"e{cell.cpu_moe_layers}{star}"
    if cell.fits and cell.gpu_layers and cell.layers and cell.gpu_layers < cell.layers:
        return f"{cell.gpu_layers}/{cell.layers}{star}"
    return f"{_gib(_room(cell))}{star}"


def _room(cell: FitCell) -> int:
    return cell.room_mib or 0


def _gib(mib: int) -> str:
    """Signed GiB; below 100 with one decimal."""
    return f"{mib / 1024:+.1f}" if abs(mib) < _TEN_GIB * _THOUSAND else f"{mib / 1024:+.0f}"


def _tokens(context: int) -> str:
    return f"{context // 1024}k" if context % 1024 == 0 else str(context)


def _bar(row: FitRow, context: int, width: int, *, numbers: bool) -> str:
    """Memory of the fullest device at the asked context; a full bar with `!` where it does not fit."""
    cell = next(cell for cell in row.cells if cell.context == context)
    available = _fullest(cell)
    if available is None or cell.room_mib is None:
        return "unknown"
    need = available - cell.room_mib
    said = f" {need} of {available} MiB" if numbers else f" {min(need * 100 // max(available, 1), 999)}%"
    space = max(min(width - len(said), BAR_MOST), BAR_LEAST)
    filled = min(space, space * need // max(available, 1))
    return ("!" if cell.fits is False else "#") * filled + "." * (space - filled) + said


def _fullest(cell: FitCell) -> int | None:
    """MiB that the device with the least room has; None where one is unknown."""
    devices = () if cell.memory is None else cell.memory.devices
    known = [
        (device.available_mib - device.total_mib - device.margin_mib, device.available_mib)
        for device in devices
        if device.available_mib is not None
    ]
    return min(known)[1] if known and len(known) == len(devices) else None


def _legend(table: FitTable, usual: Sequence[str | None]) -> Iterator[str]:
    """What the signs mean that are there."""
    cells = [cell for row in table.rows for cell in row.cells]
    texts = [_cell(cell, usual) for cell in cells]
    yield "+     GiB that stay free on the fullest device, - GiB that are missing (margins counted)"
    if any("/" in text for text in texts):
        yield "a/b   a of the b layers are on the GPUs, the others in main memory: slower"
    if any(text.startswith("e") for text in texts):
        yield "eN    all layers are on the GPUs, but the experts of N of them in main memory"
    if any(text.endswith("*") for text in texts):
        types = sorted({cell.kv_cache_type or "" for cell in cells if cell.kv_cache_type not in usual})
        yield f"*     with keys and values in {', '.join(types)}, else it would not fit so"
    if "?" in texts:
        yield "?     the memory of a device is unknown"
    yield f"largest  the largest context, in tokens, that fits; then the memory taken at {_tokens(table.context)}"
