"""`status --watch`: the same question again and again, with speeds from one answer to the next."""

import time
from collections.abc import Callable, Iterator

import msgspec

from deployer.paths import Home
from deployer.types import Live, Row
from deployer.types.several import Overview
from deployer.workflow import live, overview


def watch(
    home: Home, name: str | None, interval_s: float, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Overview]:
    """Looks with metrics, at once and then every `interval_s` seconds (later where asking takes longer); never ends."""
    before: dict[str, Live | None] = {}
    while True:
        began = time.monotonic()
        found = overview.look(home, name, metrics=True)
        rows = tuple(_with_speed(row, before.get(row.name)) for row in found.deployments)
        yield msgspec.structs.replace(found, deployments=rows)
        before = {row.name: row.live for row in found.deployments}
        sleep(max(began + interval_s - time.monotonic(), 0.0))


def _with_speed(row: Row, before: Live | None) -> Row:
    return row if row.live is None else msgspec.structs.replace(row, live=live.since(before, row.live))
