"""Rows of `status` for a person's eyes: a table, and one line each; and the gateway."""

from collections.abc import Iterator

from deployer.cli import layout
from deployer.cli.output import printable
from deployer.types import Live, Row
from deployer.types.several import GatewayState, Overview

HEADER = ("NAME", "STATUS", "ANSWERS", "RELEASE", "ENGINE", "MODEL", "RUNTIME", "BASE URL", "RESTARTS")
WATCHED = ("NAME", "STATUS", "ANSWERS", "MODEL", "DEVICES", "MEMORY", "TOKENS/S", "RUNNING", "WAITING", "KV CACHE")
_ANSWERS = {True: "yes", False: "no", None: "-"}
_GIB = 1024
_FILE = "deployer.yaml"
_WAY_OUT = {
    "unknown": "Docker does not answer: deployer probe",
    "damaged": "its record cannot be read: deployer up -f FILE says which file to remove",
}


def cells(row: Row) -> tuple[str, ...]:
    """What `status` shows of a deployment."""
    release = "-" if row.status in {"adopted", "absent"} else str(row.release)
    return (
        *(row.name, _status(row), _ANSWERS[row.answers], release),
        *(row.engine or "-", _model(row), row.runtime or "-", row.base_url or "-", str(row.restarts)),
    )


def watched(row: Row) -> tuple[str, ...]:
    """What `status --watch` shows of it; `-` for what is not known."""
    seen = row.live or Live()
    return (
        *(row.name, _status(row), _ANSWERS[row.answers], _model(row), _devices(row)),
        *(_memory(seen), _number(seen.tokens_per_s), _number(seen.requests_running), _number(seen.requests_waiting)),
        "-" if seen.kv_cache_usage is None else f"{seen.kv_cache_usage:.0%}",
    )


def line(row: Row, at: str) -> str:
    """The same as one line of a log, with the time in front."""
    words = [f"{title.lower().replace(' ', '_')}={cell}" for title, cell in zip(WATCHED, watched(row), strict=True)]
    why = [] if row.live is None or row.live.why is None else [f"({row.live.why})"]
    return printable(" ".join([at, *words, *why]))


def page(found: Overview, width: int) -> Iterator[str]:
    """What `status --watch` keeps on a screen of `width` columns."""
    rows = [tuple(printable(cell) for cell in watched(row)) for row in found.deployments]
    yield from layout.table(WATCHED, rows, width)
    if found.gateway is not None:
        for text in gateway(found.gateway):
            yield from layout.wrapped(printable(text), width)


def gateway(found: GatewayState) -> Iterator[str]:
    """Its state, where it answers and for which models, and what is not as it should be."""
    where = f": {found.base_url}" if found.base_url else ""
    served = f" for {', '.join(found.models)}" if found.models else ""
    yield f"{found.name} {_word(found)}{where}{served}"
    if found.down and found.answers:
        yield f"  ! 503 for {', '.join(found.down)}: not running, or not answering"
    if not found.answers:
        yield f"  ! {_WAY_OUT.get(found.status) or f'bring it up: deployer up -f {found.file or _FILE}'}"


def gateway_line(found: GatewayState, at: str) -> str:
    """The same as one line of a log."""
    cells = {
        "status": found.status,
        "answers": _ANSWERS[found.answers],
        "base_url": found.base_url or "-",
        "models": ",".join(found.models) or "-",
        "down": ",".join(found.down) or "-",
    }
    return printable(" ".join([at, f"name={found.name}", *(f"{word}={cell}" for word, cell in cells.items())]))


def _word(found: GatewayState) -> str:
    if found.status != "running":
        return found.status
    return "running, answers" if found.answers else "running, does not answer"


def _status(row: Row) -> str:
    return row.status if row.detail is None else f"{row.status}: {row.detail}"


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
