"""A run of `bench` for a person's eyes: a table for each suite, and what speaks against it."""

from collections.abc import Iterator, Sequence

import click

from deployer.cli.output import printable, table
from deployer.types.benchmark import BenchRun, Rate, Spread, Tally
from deployer.types.figures import ENOUGH_FOR_P99, figure

_MS = 1000.0


def show(run: BenchRun) -> None:
    """Everything that was measured, in the order of the contract."""
    click.echo(printable(_title(run)))
    first = run.first_request
    if first is not None and first.ttft_s is not None:
        click.echo(f"first request: TTFT {_ms(first.ttft_s)} ms, E2E {_ms(first.e2e_s)} ms (does not count)")
    for title, header, rows, notes in _tables(run):
        click.echo()
        click.echo(title)
        if rows:
            table(header, rows)
        for note in notes:
            click.echo(f"  {printable(note)}")
    if run.marks:
        click.echo()
    for mark in run.marks:
        click.echo(f"! {mark.suite or 'the run'}: {printable(mark.text)}")


def _title(run: BenchRun) -> str:
    engine = f"{run.engine or 'a server of an unknown kind'} {run.engine_version or ''}".rstrip()
    model = f"{run.model.name} {run.model.quantization or ''}".rstrip()
    load = run.load
    asked = f"{load.input_tokens} tokens in, {load.output_tokens} out, {load.seconds:g} s a suite"
    return f"{run.name or run.base_url}: {engine}, {model}; {asked}"


Rows = list[tuple[str, ...]]
Table = tuple[str, tuple[str, ...], Rows, Sequence[str]]


def _tables(run: BenchRun) -> Iterator[Table]:
    yield from _latency(run)
    yield from _batch(run)
    yield from _prompt(run)
    yield from _memory(run)
    yield from _users(run)


def _latency(run: BenchRun) -> Iterator[Table]:
    found = run.results.latency
    if found is None:
        return
    header = ("", "P50", "P90", "P99", "95 % OF P50", "N")
    rows: Rows = [
        _spread_row("TTFT, ms", found.ttft_s, _MS),
        _spread_row("TPOT, ms", found.tpot_s, _MS),
        _spread_row("ITL, ms", found.itl_s, _MS),
        _spread_row("E2E, ms", found.e2e_s, _MS),
        _spread_row("one stream, tokens/s", found.tokens_per_s, 1.0),
    ]
    tally = found.tally
    notes = [f"{tally.failed} of {tally.asked} requests failed"] if tally.failed else []
    notes += [f"{tally.unfinished} cut off by the time limit"] if tally.unfinished else []
    yield "latency: one request after the other", header, rows, notes


def _batch(run: BenchRun) -> Iterator[Table]:
    found = run.results.batch
    if found is None:
        return
    header = ("AT ONCE", "OUTPUT TOK/S", "TOTAL TOK/S", "REQUESTS/S", "WALL S", "SPEED-UP", "N", "ERRORS")
    rows: Rows = [
        (
            *(str(one.at_once), _rate(one.output_tokens_per_s), _rate(one.total_tokens_per_s)),
            *(_rate(one.requests_per_s), _rate(one.wall_s), figure(one.speed_up), str(one.wall_s.n)),
            _faults(one.tally),
        )
        for one in found.points
    ]
    notes = [] if found.stopped is None else [f"stopped: {found.stopped}"]
    yield "batch: sent at once by the client (mean +- sd of n batches)", header, rows, notes


def _prompt(run: BenchRun) -> Iterator[Table]:
    found = run.results.prompt
    if found is None:
        return
    header = ("PROMPT TOKENS", "TTFT P50 MS", "P10 TO P90", "PREFILL TOK/S", "CACHED", "N", "ERRORS")
    rows: Rows = [
        (
            *(figure(one.prompt_tokens), _ms(one.ttft_s.p50), _band(one.ttft_s)),
            *(figure(one.prefill_tokens_per_s.p50), figure(one.cached_tokens), str(one.ttft_s.n)),
            _faults(one.tally),
        )
        for one in found.points
    ]
    notes = [] if found.stopped is None else [f"stopped: {found.stopped}"]
    yield "prompt: time to first token by length", header, rows, notes


def _band(found: Spread) -> str:
    return "-" if found.p10 is None or found.p90 is None else f"{_ms(found.p10)} to {_ms(found.p90)}"


def _memory(run: BenchRun) -> Iterator[Table]:
    found = run.results.memory
    if found is None:
        return
    header = ("DEVICE", "IDLE MIB", "WARM MIB", "PEAK MIB", "DURING", "PREDICTED + MARGIN", "ERROR")
    rows: Rows = [
        (
            *(one.device, str(one.idle_mib), figure(one.warm_mib), str(one.peak_mib), one.peak_during),
            one.estimate or "-",
            "-" if one.error_percent is None else f"{one.error_percent:+.1f} %",
        )
        for one in found.devices
    ]
    notes = [] if found.why is None else [found.why]
    if found.kv_cache_usage_peak is not None:
        notes.append(f"KV cache used: {found.kv_cache_usage_peak:.1%} at most, by the engine's own metrics")
    yield f"memory: {found.samples} looks" if found.samples else "memory", header, rows, notes


def _users(run: BenchRun) -> Iterator[Table]:
    found = run.results.users
    if found is None:
        return
    header = ("USERS", "OUTPUT TOK/S", "TTFT P50 MS", "P99", "TPOT P50 MS", "P99", "GOODPUT/S", "N", "ERRORS")
    rows: Rows = [
        (
            *(str(one.users), _rate(one.output_tokens_per_s), _ms(one.ttft_s.p50), _p99(one.ttft_s)),
            *(_ms(one.tpot_s.p50), _p99(one.tpot_s), figure(one.goodput_per_s), str(one.ttft_s.n)),
            _faults(one.tally),
        )
        for one in found.points
    ]
    notes = [] if found.knee is None else [f"knee: {found.knee} users"]
    notes += [] if found.stopped is None else [f"stopped: {found.stopped}"]
    slo = run.load.slo
    title = f"users: closed loop; goodput: TTFT <= {slo.ttft_ms:g} ms and TPOT <= {slo.tpot_ms:g} ms"
    yield title, header, rows, notes


def _spread_row(title: str, found: Spread, scale: float) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        return "-" if value is None else figure(value * scale)

    interval = "-" if found.low is None else f"{shown(found.low)} to {shown(found.high)}"
    return title, shown(found.p50), shown(found.p90), _p99(found, scale), interval, str(found.n)


def _p99(found: Spread, scale: float = _MS) -> str:
    if found.p99 is not None:
        return figure(found.p99 * scale)
    return "n too small" if 0 < found.n < ENOUGH_FOR_P99 else "-"


def _faults(found: Tally) -> str:
    """Errors, and apart what our own time limit cut off."""
    return str(found.failed) + (f", {found.unfinished} cut" if found.unfinished else "")


def _rate(found: Rate) -> str:
    if found.mean is None:
        return "-"
    return figure(found.mean) + (f" +- {figure(found.sd)}" if found.sd is not None else "")


def _ms(value: float | None) -> str:
    return "-" if value is None else figure(value * _MS)
