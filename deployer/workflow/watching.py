"""`status --watch`: the same question again and again, with speeds from one answer to the next."""

import time
from collections.abc import Callable, Iterator

import msgspec

from deployer.paths import Home
from deployer.types import Live, Row
from deployer.workflow import lifecycle, live


def watch(
    home: Home, name: str | None, interval_s: float, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[Row, ...]]:
    """Rows with metrics, at once and then every `interval_s` seconds (later where asking takes longer); never ends."""
    before: dict[str, Live | None] = {}
    while True:
        began = time.monotonic()
        rows = lifecycle.status(home, name, metrics=True)
        yield tuple(_with_speed(row, before.get(row.name)) for row in rows)
        before = {row.name: row.live for row in rows}
        sleep(max(began + interval_s - time.monotonic(), 0.0))


def _with_speed(row: Row, before: Live | None) -> Row:
    return row if row.live is None else msgspec.structs.replace(row, live=live.since(before, row.live))
