"""Runs beside each other: one row a configuration, and the best of each column where it is more than noise."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from deployer.types.benchmark import BenchResults, BenchRun, Rate, Slo, Spread, Suite

Place = Literal["best", "level", ""]
_MS = 1000.0


class Sample(msgspec.Struct, frozen=True):
    """One figure of one run, with its interval where there is one, and of how many values it is."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1


class Column(msgspec.Struct, frozen=True):
    """One figure, and whether more of it is better."""

    key: str
    title: str
    suite: Suite
    more_is_better: bool
    read: Callable[[BenchResults], Sample | None]


class Cell(msgspec.Struct, frozen=True):
    """A figure of a configuration over its runs.

    `low` to `high`: within this lies what was measured, noise included; None: unknown. `marked`: something speaks
    against it. `place`: the best of its column, or level with the best within noise.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    runs: int
    marked: bool
    place: Place = ""


class Configuration(msgspec.Struct, frozen=True):
    """Equal server, model, settings and host; `number` from 1. `notes`: what speaks against its runs."""

    number: int
    label: str
    runs: tuple[BenchRun, ...]
    notes: tuple[str, ...]
    cells: dict[str, Cell]


class Group(msgspec.Struct, frozen=True):
    """Configurations that were asked for the same, by the same definitions."""

    title: str
    slo: Slo
    configurations: tuple[Configuration, ...]


def _spread(found: Spread | None, scale: float = 1.0) -> Sample | None:
    if found is None or found.p50 is None:
        return None
    return Sample(found.p50 * scale, _scaled(found.low, scale), _scaled(found.high, scale), found.n)


def _rate(found: Rate) -> Sample | None:
    return None if found.mean is None else Sample(found.mean, found.low, found.high, found.n)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _highest(samples: Iterable[Sample | None]) -> Sample | None:
    return max((sample for sample in samples if sample is not None), key=lambda one: one.value, default=None)


def _goodput(found: BenchResults) -> Sample | None:
    points = () if found.users is None else found.users.points
    known = [Sample(one.goodput_per_s, n=one.tally.answered) for one in points if one.goodput_per_s is not None]
    return _highest(known)


def _memory(found: BenchResults) -> Sample | None:
    if found.memory is None or not found.memory.devices:
        return None
    return Sample(float(sum(row.peak_mib for row in found.memory.devices)))


def _latency(word: str, scale: float = 1.0) -> Callable[[BenchResults], Sample | None]:
    return lambda found: None if found.latency is None else _spread(getattr(found.latency, word), scale)


def _batch(found: BenchResults) -> Sample | None:
    return None if found.batch is None else _highest(_rate(one.output_tokens_per_s) for one in found.batch.points)


def _prefill(found: BenchResults) -> Sample | None:
    return None if found.prompt is None else _highest(_spread(one.prefill_tokens_per_s) for one in found.prompt.points)


def _users(found: BenchResults) -> Sample | None:
    return None if found.users is None else _highest(_rate(one.output_tokens_per_s) for one in found.users.points)


LESS, MORE = False, True
COLUMNS = (
    Column("ttft_ms", "TTFT p50, ms", "latency", LESS, _latency("ttft_s", _MS)),
    Column("tpot_ms", "TPOT p50, ms", "latency", LESS, _latency("tpot_s", _MS)),
    Column("e2e_ms", "E2E p50, ms", "latency", LESS, _latency("e2e_s", _MS)),
    Column("tokens_per_s", "one stream, tokens/s", "latency", MORE, _latency("tokens_per_s")),
    Column("batch_tokens_per_s", "best batch, output tokens/s", "batch", MORE, _batch),
    Column("prefill_tokens_per_s", "best prefill, tokens/s", "prompt", MORE, _prefill),
    Column("users_tokens_per_s", "most users' output tokens/s", "users", MORE, _users),
    Column("goodput_per_s", "best goodput, requests/s", "users", MORE, _goodput),
    Column("memory_mib", "memory peak, MiB", "memory", LESS, _memory),
)


def compare(runs: Sequence[BenchRun]) -> tuple[Group, ...]:
    """Group the runs by what was asked, then by configuration; in the order in which they were made."""
    groups: dict[bytes, list[BenchRun]] = {}
    for run in runs:
        groups.setdefault(_asked(run), []).append(run)
    found, number = [], 1
    for members in groups.values():
        configurations = _configurations(members, number)
        number += len(configurations)
        found.append(Group(_title(members[0]), members[0].load.slo, _ranked(configurations)))
    return tuple(found)


def label(run: BenchRun) -> str:
    """What a configuration is called: engine, model, devices, settings, and its address where it is not ours."""
    engine = f"{run.engine or 'unknown engine'} {run.engine_version or ''}".rstrip()
    model = f"{run.model.name} {run.model.quantization or ''}".rstrip()
    parts = [engine, model, ", ".join(run.devices or ())]
    if run.settings is not None:
        parts.append(f"{run.settings.slots} x {run.settings.context} tokens")
    if run.whose != "deployed":
        parts.append(run.base_url)
    return " · ".join(part for part in parts if part)


def _asked(run: BenchRun) -> bytes:
    """What has to be equal before two figures are compared."""
    load = run.load
    lengths = (load.input_tokens, load.output_tokens, load.prompt_output_tokens, load.slo)
    return msgspec.json.encode((run.definitions_version, lengths))


def _title(run: BenchRun) -> str:
    load = run.load
    return (
        f"{load.input_tokens} tokens in, {load.output_tokens} out; SLO: TTFT {load.slo.ttft_ms:g} ms, "
        f"TPOT {load.slo.tpot_ms:g} ms; definitions {run.definitions_version}"
    )


def _same(run: BenchRun) -> bytes:
    """What makes a configuration."""
    where = None if run.whose == "deployed" else run.base_url
    parts = (run.engine, run.engine_version, run.image, run.model, run.devices, run.settings, run.host_fingerprint)
    return msgspec.json.encode((*parts, where), order="deterministic")


def _configurations(runs: Sequence[BenchRun], first: int) -> list[Configuration]:
    by_key: dict[bytes, list[BenchRun]] = {}
    for run in runs:
        by_key.setdefault(_same(run), []).append(run)
    return [
        Configuration(number, label(members[0]), tuple(members), _notes(members), _cells(members))
        for number, members in enumerate(by_key.values(), first)
    ]


def _notes(runs: Sequence[BenchRun]) -> tuple[str, ...]:
    found = [f"{mark.suite or 'run'}: {mark.text}" for run in runs for mark in run.marks]
    found += [f"run {run.id} ended early" for run in runs if not run.complete]
    return tuple(dict.fromkeys(found))


def _cells(runs: Sequence[BenchRun]) -> dict[str, Cell]:
    found = ((column, [(run, column.read(run.results)) for run in runs]) for column in COLUMNS)
    return {
        column.key: _cell(
            [sample for _, sample in known if sample], marked=any(_marked(run, column) for run, _ in known)
        )
        for column, known in found
        if any(sample is not None and math.isfinite(sample.value) for _, sample in known)
    }


def _marked(run: BenchRun, column: Column) -> bool:
    return not run.complete or any(mark.suite in (None, column.suite) for mark in run.marks)


def _cell(samples: Sequence[Sample], *, marked: bool) -> Cell:
    """Mean over runs; the interval holds every run's own, and the runs themselves where there are several."""
    values = [sample.value for sample in samples]
    several = len(samples) > 1
    lows = [sample.low for sample in samples if sample.low is not None] + (values if several else [])
    highs = [sample.high for sample in samples if sample.high is not None] + (values if several else [])
    return Cell(
        value=sum(values) / len(values),
        low=min(lows, default=None),
        high=max(highs, default=None),
        n=sum(sample.n for sample in samples),
        runs=len(samples),
        marked=marked,
    )


def _ranked(configurations: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """Name the best of each column, or those that noise does not tell from it."""
    cells = [dict(one.cells) for one in configurations]
    for column in COLUMNS:
        able = [found for found in cells if column.key in found and _has_noise(found[column.key])]
        if len(able) <= 1:
            continue
        values = [found[column.key] for found in able]
        best = (max if column.more_is_better else min)(values, key=lambda one: one.value)
        level = [one for one in values if _overlap(one, best)]
        place: Place = "best" if len(level) == 1 else "level"
        for found in able:
            if found[column.key] in level:
                found[column.key] = msgspec.structs.replace(found[column.key], place=place)
    return tuple(msgspec.structs.replace(one, cells=found) for one, found in zip(configurations, cells, strict=True))


def _has_noise(cell: Cell) -> bool:
    """True for a figure that can be ranked: nothing speaks against it, and it is known how far chance moves it."""
    return not cell.marked and cell.low is not None and cell.high is not None


def _overlap(one: Cell, other: Cell) -> bool:
    low, high = max(one.low or 0.0, other.low or 0.0), min(one.high or 0.0, other.high or 0.0)
    return low <= high
