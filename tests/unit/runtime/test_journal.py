import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
    log = written(tmp_path / "log", b"one\ntw", b"o\n\x1b[1m", b"three")
    assert shown(log) == ["one", "two", "\\x1b[1mthree"]
    assert log.read_text().startswith(datetime.now(UTC).strftime("%Y-%m-%dT"))


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
    reader.join(timeout=5)
    journal.close()
    assert not reader.is_alive()
    assert lines == ["before", *(f"number {number}, with some more text" for number in range(40))]
