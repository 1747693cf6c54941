"""What a starting server writes: a line after which it never becomes ready ends the wait for it."""

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from deployer.errors import DeployerError
from deployer.types import FailureSignature, ServerState

LOOK_S = 2.0
SHARE = 20
"""A look may take a twentieth of the time: after a slow one (a long log, a busy Docker) the next one is further off."""

GRACE_S = 5.0
"""So long a server that has said it may end by itself, which tells more: its exit status and its last lines."""

_OVERLAP_S = 2.0
_LINE_LIMIT = 300
_EPOCH = datetime(1970, 1, 2, tzinfo=UTC)


class LastWords:
    """Reads the log of a server that is not ready yet, from where it left off, and looks for a signature that is final.

    `read` gives the lines since a moment of the server's own clock (`started_at` of its state), so that neither what
    was there before this start nor another clock on this machine can mislead it.
    """

    def __init__(self, read: Callable[[datetime], Sequence[str]], signatures: Sequence[FailureSignature]) -> None:
        self._read = read
        self._patterns = tuple(re.compile(signature.pattern) for signature in signatures if signature.final)
        self._start: str | None = None
        self._begin(None)

    def __call__(self, state: ServerState) -> str | None:
        """One sentence once a final line is there and the server has not ended for `GRACE_S`; None before."""
        if state.started_at != self._start:
            self._begin(state.started_at)
        now = time.monotonic()
        if self._line is None and self._from is not None and self._patterns and now >= self._next_at:
            self._look(self._from, now)
        if self._line is None or now < self._found_at + GRACE_S:
            return None
        return f"its log says that it cannot start, and it does not end: {self._line.strip()[:_LINE_LIMIT]}"

    def _begin(self, started_at: str | None) -> None:
        self._start, self._from = started_at, _moment(started_at)
        self._first_seen = self._found_at = time.monotonic()
        self._read_s = self._next_at = 0.0
        self._line: str | None = None

    def _look(self, started: datetime, now: float) -> None:
        """Read on from the last look, less an overlap: seconds pass alike on every clock."""
        since = started + timedelta(seconds=max(self._read_s - _OVERLAP_S, 0.0))
        with contextlib.suppress(DeployerError):  # a runtime that does not answer is found by who asks for the state
            lines = self._read(since)
            self._read_s = now - self._first_seen
            self._line = next((line for line in lines if any(one.search(line) for one in self._patterns)), None)
        ended = time.monotonic()
        self._next_at, self._found_at = ended + max(LOOK_S, SHARE * (ended - now)), ended


def _moment(text: str | None) -> datetime | None:
    """Docker writes the year 1 for what has not started."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found if found > _EPOCH else None
