"""The files of a report: a table for people, a table for programs, a page with charts, and each run as JSON."""

import csv
import functools
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from deployer.bench import words
from deployer.bench.chart import colour, dash
from deployer.bench.charts import charts
from deployer.bench.compare import COLUMNS, Configuration, Group, compare
from deployer.bench.definitions import DEFINITIONS, VERSION
from deployer.bench.figures import figures
from deployer.paths import data_dir
from deployer.types.benchmark import BenchRun, MemoryResult

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "bench.html.j2"
LEGEND = (
    f"{words.BEST} best of its column. {words.LEVEL} level with the best within noise. {words.MARKED} something speaks "
    "against it (below), so that it is not ranked; nor is what has no interval yet. In brackets: the 95 % interval, "
    "widened to all runs."
)
CSV_HEADER = (
    *(
        "run",
        "date",
        "configuration",
        "whose",
        "base_url",
        "engine",
        "engine_version",
        "image",
        "model",
        "quantization",
    ),
    *("devices", "suite", "point", "metric", "value", "low", "high", "n", "marked"),
)


def run_file_name(run: BenchRun) -> str:
    """Name of a run's own file."""
    return f"run-{run.id}.json"


def run_file(run: BenchRun) -> str:
    """A run as its own file."""
    return msgspec.json.format(msgspec.json.encode(run), indent=2).decode() + "\n"


def bundle(runs: Sequence[BenchRun]) -> dict[str, str]:
    """The comparison of all runs as `report.md`, `results.csv` and `report.html`; the same runs, the same bytes."""
    ordered = sorted(runs, key=lambda run: (run.date, run.id))
    groups = compare(ordered)
    return {"report.md": _markdown(groups), "results.csv": _csv(groups), "report.html": _page(groups)}


def _markdown(groups: Sequence[Group]) -> str:
    lines = ["# Measured", "", LEGEND, ""]
    for group in groups:
        lines += [f"## {group.title}", "", *_table(group), ""]
        for one in group.configurations:
            lines += [f"### {one.number}. {words.markdown(one.label)}", ""]
            lines += [f"- {title}: {words.markdown(text)}" for title, text in words.facts(one)]
            lines += [f"- {words.MARKED} {words.markdown(note)}" for note in one.notes]
            lines += ["", *_memory_table(one)]
    lines += [f"## Definitions, version {VERSION}", ""]
    lines += [f"- **{word}**: {meaning}" for word, meaning in DEFINITIONS.items()]
    return "\n".join(lines) + "\n"


def _table(group: Group) -> list[str]:
    header = ("#", "configuration", *(column.title for column in COLUMNS), "runs")
    rows = [
        (
            str(one.number),
            words.markdown(one.label),
            *(words.cell(one.cells.get(column.key)) for column in COLUMNS),
            str(len(one.runs)),
        )
        for one in group.configurations
    ]
    return _markdown_rows(header, rows)


def _memory_table(one: Configuration) -> list[str]:
    """Of the newest run."""
    found = one.runs[-1].results.memory
    if found is None:
        return []
    if not found.devices:
        return [f"Memory: {words.markdown(found.why or 'not measured')}", ""]
    rows = [tuple(words.markdown(text) for text in words.memory(row)) for row in found.devices]
    return [*_markdown_rows(words.MEMORY_HEADER, rows), ""]


def _markdown_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _csv(groups: Sequence[Group]) -> str:
    """One figure a line, of every run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for one in (one for group in groups for one in group.configurations):
        for run in one.runs:
            writer.writerows(_csv_rows(one, run))
    return text.getvalue()


def _csv_rows(one: Configuration, run: BenchRun) -> Iterable[tuple[str, ...]]:
    image = "" if run.image is None else run.image.digest or run.image.id or run.image.reference or ""
    known = (
        *(run.id, run.date, str(one.number), run.whose, run.base_url, run.engine or "", run.engine_version or ""),
        *(image, run.model.name, run.model.quantization or "", ", ".join(run.devices or ())),
    )
    safe = tuple(words.csv_cell(text) for text in known)
    for found in figures(run.results):
        marked = not run.complete or any(mark.suite in (None, found.suite) for mark in run.marks)
        numbers = ("" if value is None else repr(value) for value in (found.value, found.low, found.high))
        point = words.csv_cell(found.point)
        yield (*safe, found.suite, point, found.metric, *numbers, str(found.n), "yes" if marked else "no")


def _page(groups: Sequence[Group]) -> str:
    return _template().render(
        groups=[{"title": group.title, "charts": charts(group), "rows": _page_rows(group)} for group in groups],
        columns=[column.title for column in COLUMNS],
        memory_header=words.MEMORY_HEADER,
        legend=LEGEND,
        marked=words.MARKED,
        definitions=DEFINITIONS,
        version=VERSION,
    )


def _page_rows(group: Group) -> list[dict[str, object]]:
    return [_page_row(one, one.runs[-1].results.memory or MemoryResult()) for one in group.configurations]


def _page_row(one: Configuration, memory: MemoryResult) -> dict[str, object]:
    return {
        "number": one.number,
        "label": one.label,
        "runs": len(one.runs),
        "notes": one.notes,
        "colour": colour(one.number),
        "dash": dash(one.number),
        "cells": [words.cell(one.cells.get(column.key)) for column in COLUMNS],
        "facts": words.facts(one),
        "memory": [words.memory(row) for row in memory.devices],
        "memory_why": memory.why or "",
    }


@functools.cache
def _template() -> "Template":
    """Every value is escaped as it is printed, and a name that is missing is an error."""
    import jinja2

    loader = jinja2.FileSystemLoader(data_dir("templates"))
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return made.get_template(TEMPLATE)
