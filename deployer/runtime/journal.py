"""The server's log on disk: one time-stamped line each, bounded by rotation, and readable while it grows."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from deployer.runtime.lines import readable, split_lines

MAX_BYTES = 20_000_000
KEEP = 3
_BLOCK = 65_536
_POLL_S = 0.2


class Journal:
    """Writer of `server.log`. At `max_bytes` the file becomes `.1`, then `.2`; `keep` files exist at most.

    On a full disk lines are dropped: the server goes on serving. `secret` is written as `[key]`.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEEP, secret: bytes | None = None
    ) -> None:
        self._path, self._max_bytes, self._keep, self._secret = path, max_bytes, keep, secret
        self._rest = b""
        self._open()

    def write(self, chunk: bytes) -> None:
        """Append output of any size; a line is written when it is whole (or too long to wait for)."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) >= _BLOCK:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole if self._secret is None else (line.replace(self._secret, b"[key]") for line in whole):
            for piece in split_lines([line + b"\n"]):
                self._append(piece)

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self.flush()
        self._append(f"deployer: {text}".encode())

    def flush(self) -> None:
        """Write a last line that has no end."""
        if self._rest:
            self.write(b"\n")

    def close(self) -> None:
        """Write what is left and close."""
        self.flush()
        self._file.close()

    def _append(self, line: bytes) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z "
        data = stamp.encode() + line + b"\n"
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._max_bytes:
                self._rotate()
            self._file.write(data)
            self._size += len(data)

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = rotated(self._path, number - 1)
            if older.exists():
                older.replace(rotated(self._path, number))
        full = self._file
        self._open()
        full.close()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()


def rotated(path: Path, number: int) -> Path:
    """Return the name of the log's older file; 0 is the current one."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")


def show(
    path: Path,
    on_line: Callable[[str], None],
    *,
    tail: int | None,
    since: datetime | None,
    is_alive: Callable[[], bool] | None = None,
) -> None:
    """Hand over stored lines, oldest first, without their time stamp, at most `tail` of them.

    With `is_alive` it goes on with what is appended, across rotation, until the server has ended.
    """
    with contextlib.ExitStack() as stack:
        files = _oldest_first(path, stack)
        if not files:
            return
        texts = (text for stamp, text in _stored(files) if since is None or stamp >= since)
        for text in texts if tail is None else deque(texts, maxlen=max(tail, 0)):
            on_line(text)
        if is_alive is not None:
            _follow(path, files[-1], on_line, is_alive)


def _follow(path: Path, current: BinaryIO, on_line: Callable[[str], None], is_alive: Callable[[], bool]) -> None:
    rest = b""
    with contextlib.ExitStack() as stack:
        while True:
            ended, full = not is_alive(), _replaced(path, current)  # before reading: nothing comes to it afterwards
            for piece in current:
                rest += piece
                if rest.endswith(b"\n"):  # else it is still being written
                    on_line(_parsed(rest.rstrip(b"\n"))[1])
                    rest = b""
            if full:
                later = _next(path, current)
                stack.close()
                current = stack.enter_context(later)
            elif ended:
                return
            else:
                time.sleep(_POLL_S)


def _replaced(path: Path, current: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(current.fileno()).st_ino
    except FileNotFoundError:
        return False


def _next(path: Path, current: BinaryIO) -> BinaryIO:
    """The file that was begun when this one was put aside; where this one is gone already, the oldest that is left."""
    with contextlib.ExitStack() as stack:
        files = _oldest_first(path, stack)
        places = [place for place, file in enumerate(files) if _same(file, current)]
        found = files[places[0] + 1 if places else 0]
        return os.fdopen(os.dup(found.fileno()), "rb")


def _oldest_first(path: Path, stack: contextlib.ExitStack) -> list[BinaryIO]:
    """All files of the log, opened. The newest is opened first: one that is put aside meanwhile is seen twice."""
    found: list[BinaryIO] = []
    for number in range(KEEP):
        with contextlib.suppress(FileNotFoundError):
            file = stack.enter_context(rotated(path, number).open("rb"))
            if not any(_same(file, other) for other in found):
                found.insert(0, file)
    return found


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def _stored(files: Iterable[BinaryIO]) -> Iterator[tuple[datetime, str]]:
    for file in files:
        yield from (_parsed(line.rstrip(b"\n")) for line in file)


def _parsed(line: bytes) -> tuple[datetime, str]:
    stamp, _, text = line.partition(b" ")
    try:
        return datetime.fromisoformat(stamp.decode("ascii")), readable(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC), readable(line)
