"""Look after a starting server from a second thread: dead, restarting or replaced is known within a second."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from deployer.errors import DeployerError
from deployer.health.diagnose import exit_in_words
from deployer.types import ServerState

LOOK_S = 0.4
_SILENT_LOOKS = 10


class Watch:
    """Calls `look` every 0.4 s until the server has fallen; `cause` is then the sentence, `state` the last one seen.

    `last_words` is shown every state until `ready`: a sentence from it is a fall too, of a server that goes on running.
    """

    def __init__(
        self, look: Callable[[], ServerState], last_words: Callable[[ServerState], str | None] | None = None
    ) -> None:
        self._look, self._lock = look, threading.Lock()
        self._last_words = last_words
        self._fallen, self._done = threading.Event(), threading.Event()
        self._first: ServerState | None = None
        self._errors = 0
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.state: ServerState | None = None
        self.cause: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=LOOK_S)

    def fallen(self, within_s: float = 0.0) -> bool:
        """Tell whether the server has fallen; waits up to `within_s` for that."""
        return self._fallen.wait(within_s)

    def settled(self, within_s: float) -> bool:
        """Wait as `fallen` does, and look once more: on a busy machine the last look may be older than the fall."""
        return self.fallen(within_s) or self.look_now()

    def ready(self) -> None:
        """From now on what the server writes is no cause."""
        self._last_words = None

    def look_now(self) -> bool:
        """Look once more at once; True when the server has fallen."""
        with self._lock:
            if not self._fallen.is_set():
                self._see()
        return self._fallen.is_set()

    def _run(self) -> None:
        while not self._done.is_set() and not self.look_now():
            self._done.wait(LOOK_S)

    def _see(self) -> None:
        try:
            state = self._look()
        except DeployerError as error:
            self._errors += 1
            if self._errors >= _SILENT_LOOKS:
                self._fall(f"the server's state cannot be read: {error.message}")
            return
        self._errors, self.state = 0, state
        cause = _judge(self._first or state, state)
        if self._first is None or self._known(self._first) is None:
            self._first = state
        if cause := cause or self._said(state):
            self._fall(cause)

    def _said(self, state: ServerState) -> str | None:
        listen = self._last_words
        said = listen(state) if listen is not None else None
        return said if self._last_words is not None else None

    def _fall(self, cause: str) -> None:
        self.cause = cause
        self._fallen.set()

    @staticmethod
    def _known(state: ServerState) -> str | int | None:
        return state.container_id or state.pid


def _judge(first: ServerState, now: ServerState) -> str | None:
    """One sentence for a server that will not become healthy by waiting; None while it may."""
    if now.status == "missing":
        return "the server is gone: something removed it"
    if now.gateway is not None or now.status in ("exited", "degraded"):
        ended = exit_in_words(now.exit_code, oom_killed=now.oom_killed)
        ended = f"{now.detail}: {ended}" if now.status == "degraded" else ended
        return ended if now.gateway is None else f"the gateway before it {now.gateway}"
    if now.status == "restarting" or now.restarts > first.restarts:
        return f"it crashes and is started again: {exit_in_words(now.exit_code, oom_killed=now.oom_killed)}"
    if first.container_id and now.container_id != first.container_id:
        return "another container took its place"
    if first.pid and not first.container_id and now.pid and now.pid != first.pid:
        return "another process took its place"
    return None
