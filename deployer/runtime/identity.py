"""Which process is meant: a pid alone may belong to a stranger after reuse or a reboot."""

import os
import select
import signal
import time
from pathlib import Path

from deployer.types import Value

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START_TIME = 0, 19  # fields 3 and 22 of /proc/<pid>/stat, counted after the program name (proc_pid_stat(5))


class Identity(Value, frozen=True, kw_only=True):
    """A process for all time: pid, start time in clock ticks since boot, and the boot."""

    pid: int
    started_ticks: int
    boot_id: str


def identify(pid: int) -> Identity | None:
    """Return who has this pid now; None when nobody has, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE] in {"Z", "X"}:
        return None
    return Identity(pid=pid, started_ticks=int(fields[_START_TIME]), boot_id=_BOOT_ID.read_text().strip())


def alive(identity: Identity | None) -> bool:
    """Tell whether this very process still runs."""
    return identity is not None and identify(identity.pid) == identity


def send(identity: Identity, signum: signal.Signals) -> bool:
    """Signal this very process; False when it is gone. A stranger with the same pid is never signalled."""
    handle = _handle(identity)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def wait_gone(identity: Identity, timeout_s: float) -> bool:
    """Wait until this very process has ended; False after `timeout_s`."""
    handle = _handle(identity)
    if handle is None:
        return True
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return bool(poller.poll(max(timeout_s, 0) * 1000)) or not alive(identity)
    finally:
        os.close(handle)


def end(identity: Identity, *, grace_s: float, kill_wait_s: float = 5.0) -> bool:
    """SIGTERM, wait, SIGKILL, wait; True when it is gone at the end."""
    deadline = time.monotonic() + grace_s
    send(identity, signal.SIGTERM)
    if wait_gone(identity, deadline - time.monotonic()):
        return True
    send(identity, signal.SIGKILL)
    return wait_gone(identity, kill_wait_s)


def _handle(identity: Identity) -> int | None:
    """Open a pidfd first and compare afterwards: the handle then cannot move to a new process."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if alive(identity):
        return handle
    os.close(handle)
    return None
