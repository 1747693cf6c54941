"""How a workflow tells a person what it is doing."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol


class Reporter(Protocol):
    """Receives progress. The command line prints it to stderr; `--json` runs stay quiet but for warnings."""

    def step(self, text: str) -> None:
        """A step begins."""

    def done(self, text: str, seconds: float) -> None:
        """The step ended well."""

    def detail(self, text: str) -> None:
        """A line of progress inside the step (pull, build, the engine's own log)."""

    def note(self, text: str) -> None:
        """Something the reader has to know, also when quiet."""


@contextlib.contextmanager
def timed(report: Reporter, text: str) -> Iterator[Callable[[str], None]]:
    """Announce a step; the yielded function replaces the text of its success line."""
    started = time.monotonic()
    outcome = [text]
    report.step(text)
    yield lambda better: outcome.__setitem__(0, better)
    report.done(outcome[0], time.monotonic() - started)
