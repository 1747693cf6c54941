import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from deployer.runtime.journal import Journal, rotated, show


def shown(path: Path, *, tail: int | None = None, since: datetime | None = None) -> list[str]:
    lines: list[str] = []
    show(path, lines.append, tail=tail, since=since)
    return lines


def written(path: Path, *chunks: bytes, max_bytes: int = 1_000_000) -> Path:
    journal = Journal(path, max_bytes=max_bytes)
    for chunk in chunks:
        journal.write(chunk)
    journal.close()
    return path


def test_lines_come_back_whole_without_their_stamp(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    log = written(tmp_path / "log", b"one\ntw", b"o\n\x1b[1m", b"three")
    assert shown(log) == ["one", "two", "\\x1b[1mthree"]
    days = {moment.strftime("%Y-%m-%dT") for moment in (before, datetime.now(UTC))}
    assert log.read_text()[:11] in days


def test_the_last_lines(tmp_path: Path) -> None:
    log = written(tmp_path / "log", b"".join(b"%d\n" % number for number in range(100)))
    assert shown(log, tail=2) == ["98", "99"]
    assert shown(log, tail=0) == []
    assert len(shown(log, tail=1000)) == 100


def test_lines_since_a_moment(tmp_path: Path) -> None:
    written(tmp_path / "log", b"old\n")
    time.sleep(0.02)
    moment = datetime.now(UTC)
    written(tmp_path / "log", b"new\n")
    assert shown(tmp_path / "log", since=moment) == ["new"]
    assert shown(tmp_path / "log", since=moment + timedelta(hours=1)) == []


def test_the_size_is_bounded_and_the_newest_lines_stay(tmp_path: Path) -> None:
    log = written(tmp_path / "log", b"".join(b"line %d\n" % number for number in range(5000)), max_bytes=10_000)
    sizes = [rotated(log, number).stat().st_size for number in range(3)]
    assert max(sizes) <= 10_000
    assert not rotated(log, 3).exists()
    lines = shown(log)
    assert lines[-1] == "line 4999"
    assert lines == [f"line {number}" for number in range(5000 - len(lines), 5000)]


def test_output_without_a_line_end_is_bounded_too(tmp_path: Path) -> None:
    log = written(tmp_path / "log", *(b"x" * 60_000 for _ in range(20)), max_bytes=100_000)
    assert sum(len(line) for line in shown(log)) <= 300_000
    assert rotated(log, 2).exists()


def test_a_full_disk_drops_lines_and_nothing_else(tmp_path: Path) -> None:
    full = tmp_path / "log"
    full.symlink_to("/dev/full")
    journal = Journal(full)
    journal.write(b"lost\n")
    journal.say("lost too")
    journal.close()
    assert full.is_symlink()


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert shown(tmp_path / "log") == []


def test_following_goes_on_across_rotation_until_the_end(tmp_path: Path) -> None:
    path, alive = tmp_path / "log", threading.Event()
    lines: list[str] = []
    journal = Journal(path, max_bytes=2_000)
    journal.write(b"before\n")
    alive.set()
    reader = threading.Thread(
        target=show, args=(path, lines.append), kwargs={"tail": None, "since": None, "is_alive": alive.is_set}
    )
    reader.start()
    for number in range(40):
        journal.write(b"number %d, with some more text\n" % number)
        time.sleep(0.01 if number % 10 else 0.25)
    alive.clear()
    reader.join(timeout=60)
    journal.close()
    assert not reader.is_alive()
    assert lines == ["before", *(f"number {number}, with some more text" for number in range(40))]


def followed(path: Path, *steps: Callable[[], None]) -> list[str]:
    """What is shown where each step happens just before a look, and the server has ended at the last one."""
    lines: list[str] = []
    left = list(steps)

    def alive() -> bool:
        if left:
            left.pop(0)()
        return bool(left)

    show(path, lines.append, tail=None, since=None, is_alive=alive)
    return lines


def test_following_skips_no_file_when_several_fill_up_between_two_looks(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log", max_bytes=2_000)
    journal.write(b"before\n")

    def much() -> None:
        for number in range(80):
            journal.write(b"number %d, with some more text\n" % number)

    lines = followed(tmp_path / "log", lambda: None, much, journal.close)
    assert lines == ["before", *(f"number {number}, with some more text" for number in range(80))]
    assert rotated(tmp_path / "log", 2).exists()


def test_following_loses_nothing_that_comes_just_before_the_file_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    journal = Journal(path, max_bytes=2_000)
    journal.write(b"before\n")
    asked, left = sys.modules["deployer.runtime.journal"]._replaced, list(range(40))

    def after_writing(path: Path, current: BinaryIO) -> bool:
        while left:
            journal.write(b"number %d, with some more text\n" % left.pop(0))
        return bool(asked(path, current))

    monkeypatch.setattr("deployer.runtime.journal._replaced", after_writing)
    lines = followed(path, lambda: None, lambda: None, journal.close)
    assert lines == ["before", *(f"number {number}, with some more text" for number in range(40))]


def test_following_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "log", b"one\n")

    def add(text: bytes) -> Callable[[], None]:
        def more() -> None:
            with path.open("ab") as file:
                file.write(text)

        return more

    assert followed(path, add(b"2026-11-20T12:00:00.000000Z two ha"), add(b"lves\n"), add(b"")) == ["one", "two halves"]
