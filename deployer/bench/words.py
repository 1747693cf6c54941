"""Figures as people read them, and text from outside made harmless for each kind of file."""

import re

from deployer.bench.compare import Cell, Configuration
from deployer.types.benchmark import BenchRun, MemoryRow
from deployer.types.figures import NOTHING, figure

BEST, LEVEL, MARKED = "★", "≈", "†"
_MARKDOWN = re.compile(r"([\\`*_\[\]|~$])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": "&#58;//", "www.": "www&#46;", "@": "&#64;"}
"""Markup, links that viewers make by themselves, and mentions."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(found: Cell | None) -> str:
    """A figure with its interval and marks."""
    if found is None:
        return NOTHING
    sign = {"best": f" {BEST}", "level": f" {LEVEL}", "": ""}[found.place]
    interval = "" if found.low is None or found.high is None else f" ({figure(found.low)} to {figure(found.high)})"
    return figure(found.value) + interval + sign + (f" {MARKED}" if found.marked else "")


def facts(one: Configuration) -> tuple[tuple[str, str], ...]:
    """What a configuration is, in rows."""
    run = one.runs[0]
    image = run.image
    settings = run.settings
    rows = (
        ("server", f"{run.whose}: {run.base_url}" + (f" ({run.name})" if run.name else "")),
        ("image", None if image is None else image.digest or image.id or image.reference or image.profile),
        ("model", " ".join(word for word in (run.model.ref, run.model.revision, run.model.format) if word)),
        ("SHA-256", ", ".join(f"{name} {value}" for name, value in list(run.model.sha256.items())[:4])),
        ("devices", ", ".join(run.devices or ())),
        ("settings", None if settings is None else _settings(run)),
        ("host", run.host_fingerprint),
        ("asked from", run.client),
        ("answers held to their length by", run.load.fixed_by or "nothing"),
        ("runs", ", ".join(f"{each.id} ({each.date})" for each in one.runs)),
    )
    return tuple((title, text) for title, text in rows if text)


def memory(row: MemoryRow) -> tuple[str, ...]:
    """A device's memory: idle, after the warm-up, peak, when, predicted, error."""
    error = NOTHING if row.error_percent is None else f"{row.error_percent:+.1f} %"
    sizes = (row.idle_mib, row.warm_mib, row.peak_mib)
    shown = [NOTHING if size is None else str(size) for size in sizes]
    return (row.device, *shown, row.peak_during, row.estimate or NOTHING, error)


MEMORY_HEADER = ("device", "idle MiB", "warm MiB", "peak MiB", "peak during", "predicted + margin MiB", "error")


def markdown(text: str) -> str:
    """Text from outside for a cell of a Markdown table: nothing in it means anything."""
    one_line = "".join(letter if letter.isprintable() else " " for letter in text)
    for sign, entity in _ENTITIES.items():
        one_line = one_line.replace(sign, entity)
    return _MARKDOWN.sub(r"\\\1", one_line)


def csv_cell(text: str) -> str:
    """Text from outside for a cell of a CSV file: no spreadsheet may take it for a formula (OWASP, CSV injection)."""
    one_line = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"'{one_line}" if one_line.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA) else one_line


def _settings(run: BenchRun) -> str:
    found = run.settings
    if found is None:
        return ""
    return (
        f"{found.slots} x {found.context} tokens, KV {found.kv_cache_type}, {found.threads} threads, "
        f"{found.gpu_layers} layers on GPUs, tensor parallel {found.tensor_parallel}"
    )
