"""How far a download is."""

import time
from collections.abc import Callable

import msgspec

_EVERY_S = 0.2
_WINDOW_S = 5.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """State of a fetch: bytes of all its files, and the rate over the last seconds (None at the start)."""

    file: str
    done_bytes: int
    total_bytes: int
    bytes_per_s: float | None = None

    @property
    def line(self) -> str:
        """One line for people: `qwen.gguf 512 of 4466 MiB (11 %), 48.2 MiB/s`."""
        share = 100 * self.done_bytes // self.total_bytes if self.total_bytes else 100
        rate = "" if self.bytes_per_s is None else f", {self.bytes_per_s / 2**20:.1f} MiB/s"
        return f"{self.file} {self.done_bytes >> 20} of {self.total_bytes >> 20} MiB ({share} %){rate}"


class Meter:
    """Counts bytes over several files and reports at most five times a second, and always at the end."""

    def __init__(self, *, total_bytes: int, done_bytes: int, report: Callable[[Progress], None]) -> None:
        self._total = total_bytes
        self._report = report
        self._file = ""
        self._done = done_bytes
        self._last = 0.0
        self._samples: list[tuple[float, int]] = []

    def begin(self, file: str) -> None:
        """Go on with the next file."""
        self._file, self._samples = file, [(time.monotonic(), self._done)]
        self._send()

    def add(self, count: int) -> None:
        """Count bytes that arrived; a negative number takes back what was thrown away."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= _EVERY_S or self._done >= self._total:
            self._samples = [sample for sample in self._samples if now - sample[0] <= _WINDOW_S] + [(now, self._done)]
            self._send()

    def _send(self) -> None:
        self._last = time.monotonic()
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        rate = (after - before) / (end - start) if end > start else None
        self._report(Progress(file=self._file, done_bytes=self._done, total_bytes=self._total, bytes_per_s=rate))
