"""The supervisor's loop: one server child, its output into the journal, a few restarts, and no orphan."""

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from deployer.runtime.containment import oom_kills, spawn
from deployer.runtime.identity import identify
from deployer.runtime.journal import Journal
from deployer.runtime.record import ProcessRecord, write_record

MAX_RESTARTS = 3
BACKOFF_S = (0.5, 1.0, 2.0)
STABLE_S = 600.0  # a server that ran this long may be restarted three times again
GRACE_S = 30.0  # running answers may end
_BLOCK = 65_536
_WAKE_S = 1.0


class Supervision:
    """Runs `argv` until it ends for good or SIGTERM comes.

    Exit status 0 ends it; any other is followed by a restart, up to three times, after growing pauses. All happens in
    one thread, so that forking is safe and the parent-death signal of the child follows this process.
    """

    def __init__(
        self, argv: tuple[str, ...], environment: dict[str, str], *, record: ProcessRecord, folder: Path, log: Journal
    ) -> None:
        self._argv, self._environment = argv, environment
        self._record, self._folder, self._log = record, folder, log
        self._stopping = threading.Event()
        self._kill_at: float | None = None
        self._wake, self._waker = socket.socketpair()

    def run(self) -> int:
        """Serve until the end and return the last exit status (128 + signal when killed); the record follows."""
        with self._listening():
            status, attempts = 0, 0
            while True:
                began = time.monotonic()
                status = self._serve()
                attempts = 0 if time.monotonic() - began >= STABLE_S else attempts
                if self._stopping.is_set() or status == 0 or attempts >= MAX_RESTARTS:
                    break
                self._note(status="restarting", server=None)
                self._pause(BACKOFF_S[attempts])
                if self._stopping.is_set():
                    break
                attempts += 1
                self._note(restarts=self._record.restarts + 1)
            self._note(status="exited", server=None, detail=self._last_word(status))
        return status

    def _serve(self) -> int:
        """Start the child, attend to it until it has ended, and record how."""
        kills = oom_kills()
        reader, writer = os.pipe()
        pid = spawn(self._argv, self._environment, writer)
        os.close(writer)
        self._note(status="running", server=identify(pid), started_at=datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            self._attend(pid, reader)
        finally:
            os.close(reader)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        status = 128 - status if status < 0 else status
        self._log.say(f"the server ended with exit status {status}")
        killed = None if kills is None else (oom_kills() or 0) > kills
        self._note(exit_codes=(*self._record.exit_codes, status)[-10:], oom_killed=killed)
        return status

    def _attend(self, pid: int, reader: int) -> None:
        os.set_blocking(reader, False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(reader, selectors.EVENT_READ)
            while not _ended(pid):
                for key, _ in selector.select(_WAKE_S):
                    if key.fileobj is self._wake:
                        self._wake.recv(_BLOCK)
                    elif not self._copy(reader):
                        selector.unregister(reader)
                self._press(pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # its children; the number is ours until the child is waited for
        self._copy(reader)
        self._log.flush()

    def _copy(self, reader: int) -> bool:
        """Move what the child wrote into the journal; False at its end."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(reader, _BLOCK):
                self._log.write(chunk)
                if len(chunk) < _BLOCK:
                    return True
            return False
        return True

    def _press(self, pid: int) -> None:
        """Once asked to stop: SIGTERM to the child, SIGKILL when its grace is over."""
        if not self._stopping.is_set():
            return
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE_S
            os.kill(pid, signal.SIGTERM)
        elif time.monotonic() >= self._kill_at:
            os.kill(pid, signal.SIGKILL)

    def _pause(self, seconds: float) -> None:
        """Wait, but not past a request to stop."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            self._wake.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self._wake.recv(_BLOCK)
        self._wake.settimeout(0)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        for end in (self._wake, self._waker):
            end.settimeout(0)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            self._wake.close()
            self._waker.close()

    def _stop(self, *_: object) -> None:
        self._stopping.set()

    def _last_word(self, status: int) -> str:
        if self._stopping.is_set():
            return "stopped"
        return "ended by itself" if status == 0 else f"gave up after {MAX_RESTARTS} restarts"

    def _note(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)
        with contextlib.suppress(OSError):  # a full disk must not end the server
            write_record(self._folder, self._record)


def _ended(pid: int) -> bool:
    """Tell whether the child has ended, without giving up its number."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
