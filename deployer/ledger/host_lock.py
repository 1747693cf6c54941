"""One change at a time on a host, because what is contended is the GPU, not the deployment.

`flock` on a file of a local disk: the kernel releases it when its holder dies, and no child inherits it (Python opens
files close-on-exec, PEP 446). A readable file beside it says who holds it; that file alone locks nothing.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from deployer.errors import LockedError, StateError
from deployer.ledger.files import atomic_write, encode, load, make_folder, state_errors
from deployer.ledger.names import is_alive, now, whoami
from deployer.paths import Home
from deployer.types import FORMAT_VERSION

_POLL_S = 0.1
_NAMED_WITHIN_S = 5.0  # a holder on a slow disk needs a moment to write who it is
_NAME_POLL_S = 0.02
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "fuse.sshfs"}
    | {"fuse.glusterfs", "fuse.ceph", "ncpfs", "ocfs2", "gpfs"}
)


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock, with which command, since when (UTC)."""

    format_version: int = FORMAT_VERSION
    user: str
    pid: int
    operation: str
    since: str
    hostname: str


@contextlib.contextmanager
def lock(
    home: Home, operation: str, *, wait_s: float = 0.0, on_note: Callable[[str], None] | None = None
) -> Iterator[Holder]:
    """Hold the host's lock while the block runs.

    Waits up to `wait_s` seconds (0: not at all), then LockedError with the holder in its message and `details`. A
    holder that has not said yet who it is gets up to 5 s for that, in which the lock is taken when it becomes free.
    `on_note` hears of the wait, and of a lock folder on a network file system. StateError when the folder is unusable.
    """
    note = on_note or (lambda _: None)
    folder = _lock_folder(home, note)
    with state_errors("open", folder / "host.lock"):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(folder / "host.lock", flags, 0o600)
    try:
        _acquire(descriptor, folder, wait_s, note)
        mine = Holder(user=whoami(), pid=os.getpid(), operation=operation, since=now(), hostname=os.uname().nodename)
        atomic_write(_side_file(folder), encode(mine), mode=0o644)
        try:
            yield mine
        finally:
            _side_file(folder).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def lock_holder(home: Home) -> Holder | None:
    """Who holds the lock now, as far as the side file knows; None when nobody seems to. Never waits, never locks."""
    try:
        holder = load(_side_file(home.lock), Holder)
    except StateError:
        return None
    return holder if holder is not None and is_alive(holder.pid) else None


def network_filesystem(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Type of the network file system that holds `path` (`nfs4`), where `flock` may not lock; None when local.

    Format: proc_pid_mountinfo(5): field 5 is the mount point, the type follows the ` - ` separator.
    """
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    target = path.resolve()
    found = (0, "")
    for line in lines:
        left, _, right = line.partition(" - ")
        for mount_point, kind in zip(left.split()[4:5], right.split()[:1], strict=False):
            mount = Path(mount_point.replace("\\040", " "))
            if target.is_relative_to(mount) and len(mount.parts) >= found[0]:
                found = (len(mount.parts), kind)
    return found[1] if found[1] in _NETWORK else None


def _lock_folder(home: Home, note: Callable[[str], None]) -> Path:
    folder = make_folder(home.lock)
    strangers = folder.parent.stat().st_mode & stat.S_IWOTH
    if folder.is_symlink() or (strangers and folder.stat().st_uid not in {0, os.geteuid()}):
        raise StateError(
            f"the lock folder {folder} belongs to someone else",
            hint="remove it, or set DEPLOYER_HOME to a folder of your own",
            details={"path": str(folder)},
        )
    kind = network_filesystem(folder)
    if kind:
        note(f"the lock folder {folder} is on {kind}: another machine may not see the lock; use a local disk")
    return folder


def _acquire(descriptor: int, folder: Path, wait_s: float, note: Callable[[str], None]) -> None:
    began = time.monotonic()
    deadline, named_by = began + wait_s, began + _NAMED_WITHIN_S
    told = False
    while not _try_lock(descriptor):
        holder, now_s = _known_holder(folder), time.monotonic()
        if holder is None and now_s < named_by:
            time.sleep(_NAME_POLL_S)
            continue
        if now_s >= deadline:
            raise _locked(holder)
        if not told:
            told = True
            note(f"waiting up to {wait_s:g} s: {_describe(holder)}")
        time.sleep(min(_POLL_S, max(0.0, deadline - now_s)))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _known_holder(folder: Path) -> Holder | None:
    """Read the side file; None when a holder locked a moment ago and has not written it yet."""
    with contextlib.suppress(StateError):
        holder = load(_side_file(folder), Holder)
        if holder is not None and is_alive(holder.pid):
            return holder
    return None


def _describe(holder: Holder | None) -> str:
    if holder is None:
        return "another deployer process is changing this host"
    return f"{holder.user} is running `{holder.operation}` (pid {holder.pid}) since {holder.since}"


def _locked(holder: Holder | None) -> LockedError:
    return LockedError(
        f"{_describe(holder)}, and only one change at a time can use the GPUs",
        hint="wait for it and run the command again; the lock ends with its process, however that ends",
        details={"holder": None if holder is None else msgspec.to_builtins(holder)},
    )


def _side_file(folder: Path) -> Path:
    return folder / "holder.json"
