"""Estimates beside what was measured, for a person's eyes."""

from collections.abc import Sequence

import click

from deployer.cli import output
from deployer.cli.output import printable
from deployer.types import MeasuredRow

HEADER = (
    *("ENGINE", "MODEL", "DEVICE", "PREDICTED", "MEASURED", "ERROR", "TOKENS/S PREDICTED", "MEASURED", "WHEN"),
    "RELEASE",
)


def table(rows: Sequence[MeasuredRow]) -> None:
    """A line a device and measurement; the error is (measured - predicted) / measured."""
    if not rows:
        click.echo("nothing has been measured here yet: `deployer up MODEL` measures what it starts", err=True)
        return
    output.table(HEADER, [cells(row) for row in rows])


def cells(row: MeasuredRow) -> tuple[str, ...]:
    """One row of the table."""
    return (
        printable(f"{row.engine} {row.engine_version} {row.image}"),
        printable(f"{row.model.rsplit('/', 1)[-1]} {row.quantization}"),
        row.device,
        f"{row.predicted_mib} MiB",
        f"{row.measured_mib} MiB" if row.measured_mib is not None else "-",
        f"{row.error_percent:+.1f} %" if row.error_percent is not None else "-",
        _rate(row.predicted_tokens_per_s),
        _rate(row.measured_tokens_per_s),
        row.when,
        f"{row.deployment} {row.release}",
    )


def line(row: MeasuredRow) -> str:
    """`memory of host: 241 MiB measured, 265 predicted (-10.0 %)`, or why it was not measured."""
    if row.measured_mib is None or row.error_percent is None:
        return printable(f"memory of {row.device}: {row.predicted_mib} MiB predicted, not measured: {row.why}")
    said = f"{row.measured_mib} MiB measured, {row.predicted_mib} predicted"
    return f"memory of {row.device}: {said} ({row.error_percent:+.1f} %)"


def _rate(tokens_per_s: float | None) -> str:
    return "-" if tokens_per_s is None else f"{tokens_per_s:.1f}"
