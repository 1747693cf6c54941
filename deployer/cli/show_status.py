"""Rows of `status` for a person's eyes: a table, and one line each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.cli.output import printable
from deployer.types import Live, Row

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("NAME", "STATUS", "ANSWERS", "RELEASE", "ENGINE", "MODEL", "RUNTIME", "BASE URL", "RESTARTS")
WATCHED = ("NAME", "STATUS", "ANSWERS", "MODEL", "DEVICES", "MEMORY", "TOKENS/S", "RUNNING", "WAITING", "KV CACHE")
_ANSWERS = {True: "yes", False: "no", None: "-"}
_GIB = 1024


def cells(row: Row) -> tuple[str, ...]:
    """What `status` shows of a deployment."""
    release = "-" if row.status in {"adopted", "absent"} else str(row.release)
    return (
        *(row.name, row.status, _ANSWERS[row.answers], release),
        *(row.engine or "-", _model(row), row.runtime or "-", row.base_url or "-", str(row.restarts)),
    )


def watched(row: Row) -> tuple[str, ...]:
    """What `status --watch` shows of it; `-` for what is not known."""
    seen = row.live or Live()
    return (
        *(row.name, row.status, _ANSWERS[row.answers], _model(row), _devices(row)),
        *(_memory(seen), _number(seen.tokens_per_s), _number(seen.requests_running), _number(seen.requests_waiting)),
        "-" if seen.kv_cache_usage is None else f"{seen.kv_cache_usage:.0%}",
    )


def line(row: Row, at: str) -> str:
    """The same as one line of a log, with the time in front."""
    words = [f"{title.lower().replace(' ', '_')}={cell}" for title, cell in zip(WATCHED, watched(row), strict=True)]
    why = [] if row.live is None or row.live.why is None else [f"({row.live.why})"]
    return printable(" ".join([at, *words, *why]))


def watched_table(rows: Sequence[Row]) -> "Table":
    """The table that `rich` keeps on the screen; texts from outside are no markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in WATCHED:
        table.add_column(title, no_wrap=title != "DEVICES")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in watched(row)))
    return table


def _model(row: Row) -> str:
    return "/".join(word for word in (row.model, row.quantization) if word) or "-"


def _devices(row: Row) -> str:
    if row.status == "adopted" or row.engine is None:
        return "-"
    return ",".join(row.devices) or "CPU"


def _memory(seen: Live) -> str:
    """GPUs and main memory, each named where there are several."""
    sizes = [f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size} MiB" for size in seen.memory_mib.values()]
    if len(sizes) <= 1:
        return "".join(sizes) or "-"
    names = ["host" if name == "host" else name[:8] for name in seen.memory_mib]
    return ", ".join(f"{name} {size}" for name, size in zip(names, sizes, strict=True))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value != int(value) else str(int(value))
