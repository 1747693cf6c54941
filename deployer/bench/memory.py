"""What the server holds while it is asked: a reading a second, beside the plan's estimate."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import msgspec

from deployer.types import DeviceMemory
from deployer.types.benchmark import MemoryResult, MemoryRow

EVERY_S = 1.0
IDLE, WARM = "idle", "warm"
_LET_GO_S = 6.0


class Reading(msgspec.Struct, frozen=True):
    """One look: MiB by device, and the part of the KV cache that is used (0 to 1), where either is known."""

    mib: Mapping[str, int] = {}
    kv_cache_usage: float | None = None


class Sampler:
    """Looks once a second, in a thread of its own, from `with` on; `phase` is what happens meanwhile."""

    def __init__(self, look: Callable[[], Reading], every_s: float = EVERY_S) -> None:
        self._look, self._every_s = look, every_s
        self.phase = IDLE
        self.seen: list[tuple[str, Reading]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_LET_GO_S)

    def now(self) -> None:
        """Look once more, at once."""
        self.seen.append((self.phase, self._look()))

    def _run(self) -> None:
        wait_s = self._every_s
        while not self._stop.wait(wait_s):
            began_s = time.monotonic()
            self.now()
            wait_s = max(self._every_s - (time.monotonic() - began_s), 0.0)


def result(
    seen: Sequence[tuple[str, Reading]], predicted: Sequence[DeviceMemory], every_s: float, prompt_cache_mib: int = 0
) -> MemoryResult:
    """Idle, warm and peak of every device that was seen, beside the estimate."""
    estimates = {device.device: device for device in predicted}
    names = [*dict.fromkeys(name for _, reading in seen for name in reading.mib)]
    usages = [reading.kv_cache_usage for _, reading in seen if reading.kv_cache_usage is not None]
    return MemoryResult(
        samples=len(seen),
        every_s=every_s,
        devices=tuple(
            _row(name, seen, estimates.get(name), prompt_cache_mib if name == "host" else 0) for name in names
        ),
        kv_cache_usage_peak=round(max(usages), 4) if usages else None,
        why=None if names else "its processes cannot be seen from here",
    )


def _row(
    name: str, seen: Sequence[tuple[str, Reading]], estimate: DeviceMemory | None, prompt_cache_mib: int
) -> MemoryRow:
    known = [(phase, reading.mib[name]) for phase, reading in seen if name in reading.mib]
    warm = [size for phase, size in known if phase == WARM]
    during, peak = max(known, key=lambda item: item[1])
    predicted = None if estimate is None else estimate.total_mib
    return MemoryRow(
        device=name,
        idle_mib=known[0][1],
        warm_mib=warm[-1] if warm else None,
        peak_mib=peak,
        peak_during=during,
        predicted_mib=predicted,
        margin_mib=None if estimate is None else estimate.margin_mib,
        prompt_cache_mib=prompt_cache_mib,
        error_percent=None if predicted is None or not peak else _error_percent(peak, predicted, prompt_cache_mib),
    )


def _error_percent(peak_mib: int, predicted_mib: int, prompt_cache_mib: int) -> float:
    nearest_mib = min(max(peak_mib, predicted_mib), predicted_mib + prompt_cache_mib)
    return round(100 * (peak_mib - nearest_mib) / peak_mib, 1)
