"""Files that are either old or new, never half: temporary file, fsync, rename, fsync of the folder.

Reading is bounded and never trusts what it finds: a damaged file is kept aside as `<name>.corrupt-<n>`, a file of a
newer version is refused untouched, and every failure of the disk becomes a StateError that says whose folder it is.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from deployer.errors import StateError
from deployer.ledger.names import user_name
from deployer.paths import Home
from deployer.types import FORMAT_VERSION

MAX_BYTES = 4 * 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_A_PLAIN_FILE = (errno.ELOOP, errno.ENXIO)

T = TypeVar("T")


class _Header(msgspec.Struct, frozen=True):
    format_version: int = FORMAT_VERSION


def atomic_write(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replace `path` by `data` so that a crash leaves the old bytes or the new ones.

    `mode` holds under any umask; `owner` is a uid and gid to give the file to, for root only. StateError when the
    folder cannot be written; the old file is then as it was.
    """
    with state_errors("write", path):
        temporary = path.with_name(f".{path.name}.{unique()}.tmp")
        try:
            write_new(temporary, data, mode, owner)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_new(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a file that must not exist yet, to the disk; the caller syncs the folder. OSError where it fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def unique() -> str:
    """Return a name that no other process chooses: this process's number and 8 random hex digits."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder that nothing needs any more, as far as that is allowed."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def make_folder(folder: Path, mode: int = 0o755) -> Path:
    """Make a folder and its missing parents with this mode under any umask; one that is there stays as it is."""
    with state_errors("make", folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=mode)
                path.chmod(mode)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return folder


def ensure_writable(home: Home) -> None:
    """Make the state folder and write a file in it: a disk that refuses is better met before anything is stopped.

    StateError names the folder, its owner and the way out.
    """
    probe = make_folder(home.state) / f".writable-{os.getpid()}"
    atomic_write(probe, b"")
    with state_errors("write", probe):
        probe.unlink(missing_ok=True)


def read(path: Path, max_bytes: int = MAX_BYTES) -> bytes | None:
    """Read a whole plain file; None when there is none.

    StateError when it cannot be read, and (after setting it aside) when it is a link, a folder, a device, or larger
    than `max_bytes`.
    """
    with state_errors("read", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NOT_A_PLAIN_FILE:
                _refuse_corrupt(path, path.lstat(), "it is not a plain file")
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                _refuse_corrupt(path, status, "it is not a plain file")
            if status.st_size > max_bytes:
                _refuse_corrupt(path, status, f"it has {status.st_size} bytes, more than {max_bytes}")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(max_bytes)
        finally:
            os.close(descriptor)


def load(path: Path, kind: type[T]) -> T | None:
    """Decode a JSON record strictly; None when there is none.

    StateError when it was written by a newer version (left untouched), and when it is damaged: it is then kept as
    `<name>.corrupt-<n>`, and `details["corrupt"]` says where.
    """
    before = _status(path)
    data = read(path)
    if data is None:
        return None
    try:
        version = msgspec.json.decode(data, type=_Header).format_version
        if version > FORMAT_VERSION:
            raise StateError(
                f"{path} has format version {version}; this deployer reads up to version {FORMAT_VERSION}",
                hint="use the newer deployer that wrote it; nothing was changed",
                details={"path": str(path), "format_version": version, "supported": FORMAT_VERSION},
            )
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _refuse_corrupt(path, before, str(error))


def encode(record: object) -> bytes:
    """Write a record as indented JSON with a final newline: people read these files too."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


@contextlib.contextmanager
def state_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn OSError into a StateError that names the path, the reason, the owner of the folder and the way out."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _FULL:
            hint = f"free some space on the disk of {path.parent} and run the command again; nothing was lost"
        elif error.errno == errno.EROFS:
            hint = "set DEPLOYER_HOME to a folder that can be written"
        else:
            hint = "run it as the owner (sudo for root), or set DEPLOYER_HOME to a folder of your own"
        raise StateError(
            f"cannot {doing} {path}: {reason}{_whose(path)}",
            hint=hint,
            details={"path": str(path), "errno": error.errno},
        ) from error


def _whose(path: Path) -> str:
    for folder in (path, *path.parents):
        status = _status(folder)
        if status is not None and stat.S_ISDIR(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            return (
                f" ({folder} belongs to {user_name(status.st_uid)}, mode {mode:04o}; you are {user_name(os.geteuid())})"
            )
    return ""


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _refuse_corrupt(path: Path, seen: os.stat_result | None, why: str) -> NoReturn:
    kept = set_aside(path) if _same(seen, _status(path)) else None
    where = f"; it was kept as {kept}" if kept else ""
    raise StateError(
        f"{path} is damaged ({why}){where}",
        hint="run the command again: what can be rebuilt is rebuilt"
        if kept
        else "remove it or restore it from a backup",
        details={"path": str(path), "corrupt": str(kept or path)},
    )


def _same(seen: os.stat_result | None, there: os.stat_result | None) -> bool:
    """Tell whether this is still the file that was read: another process may have put a good one in its place."""
    return seen is not None and there is not None and (seen.st_ino, seen.st_dev) == (there.st_ino, there.st_dev)


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file to `<name>.corrupt-<n>`, the first free number; None where that is not allowed."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}.corrupt-{number}")):
        number += 1
    try:
        path.rename(kept)
    except OSError:
        return None
    return kept
