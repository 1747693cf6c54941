"""Checked profiles kept as msgpack, so that a command does not read and check the YAML again.

The only place of this floor that writes. A file is used when it was made from exactly these sources (names, sizes and
times of all files that the result follows from, and of the code that checks them), belongs to this user and can be
written by nobody else; otherwise, and whenever anything goes wrong, the sources are read as if there were no cache.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

MAX_BYTES = 16_000_000
_DIGEST = hashlib.sha256().digest_size
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CODE = (Path(__file__).parent, Path(__file__).parent.parent / "types")


def cache_folder() -> Path:
    """`DEPLOYER_HOME/cache`, root's /var/cache/deployer, or the user's XDG cache folder."""
    moved = os.environ.get("DEPLOYER_HOME")
    if moved:
        return Path(moved).expanduser().absolute() / "cache"
    if os.geteuid() == 0:
        return Path("/var/cache/deployer")
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if xdg.startswith("/") else Path.home() / ".cache") / "deployer"


def cached(name: str, kind: type[T], sources: Sequence[Path], build: Callable[[], T]) -> T:
    """What `build` gives, from the cache when it was built from the same sources before.

    `sources` are folders (all files below them count). Raises only what `build` raises.
    """
    file, key = cache_folder() / f"{name}.msgpack", _key(sources)
    with contextlib.suppress(OSError, msgspec.DecodeError):
        content = _read(file)
        if key and content[: 2 * _DIGEST] == key + _digest(content[2 * _DIGEST :]):
            return msgspec.msgpack.decode(content[2 * _DIGEST :], type=kind)
    made = build()
    if key and key == _key(sources):  # else a source changed while it was read
        payload = msgspec.msgpack.encode(made)
        with contextlib.suppress(OSError):
            _write(file, key + _digest(payload) + payload)
    return made


def _key(sources: Sequence[Path]) -> bytes:
    """Digest of names, sizes and times; nothing for a folder that cannot be read."""
    digest = hashlib.sha256()
    try:
        for folder in (*_CODE, *sources):
            for path, size, changed_ns in sorted(_files(folder)):
                digest.update(f"{path}\0{size}\0{changed_ns}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        return b""
    return digest.digest()


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(Path(entry.path))
            else:
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns


def _read(path: Path) -> bytes:
    """The file's bytes. Raises OSError, also for a file or folder that somebody else owns or may write."""
    _refuse_foreign(path.parent.lstat(), stat.S_ISDIR)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        _refuse_foreign(found, stat.S_ISREG)
        if found.st_size > MAX_BYTES:
            raise OSError("too large for a cache of profiles")
        return file.read()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all. Raises OSError, also for a folder that somebody else owns or may write."""
    import tempfile  # only when something changed

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_foreign(path.parent.lstat(), stat.S_ISDIR)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_foreign(found: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    if not is_kind(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        raise OSError("not a cache of this user alone")


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()
