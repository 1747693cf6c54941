"""A server whose log says that it cannot start, and which goes on running, is not waited for."""

import importlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployer.errors import PreconditionError, StartError
from deployer.health import LastWords, gate
from deployer.types import FailureSignature, Plan, ServerState

STARTED = "2026-11-20T12:00:00.123456789Z"
FINAL = FailureSignature(pattern="Engine failed for good", cause="it failed", hint="-", final=True, source="here")
MODULE = importlib.import_module("deployer.health.last_words")
OTHER = FailureSignature(pattern="out of memory", cause="memory", hint="-")


class Clock:
    """Time that passes only while the watch waits, and while a log is read."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Log:
    """A log as a runtime keeps it: each line with the server's own time; it remembers from when it was read."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.began = clock, clock.now_s
        self.lines: list[tuple[float, str]] = []
        self.reads: list[datetime] = []

    def write(self, text: str) -> None:
        self.lines.append((self.clock.now_s - self.began, text))

    def read(self, since: datetime) -> Sequence[str]:
        self.reads.append(since)
        start = datetime.fromisoformat(STARTED)
        return [text for at_s, text in self.lines if start + timedelta(seconds=at_s) >= since]


def running(started_at: str | None = STARTED) -> ServerState:
    return ServerState(name="demo", runtime="compose", status="running", container_id="c1", started_at=started_at)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module under test, which stands still between two looks."""
    made = Clock()
    monkeypatch.setattr(MODULE, "time", made)
    return made


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log(clock)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with tenths of seconds."""
    for name, value in {"LOOK_S": 0.1, "GRACE_S": 0.5, "_OVERLAP_S": 0.2}.items():
        monkeypatch.setattr(MODULE, name, value)


def listen(words: LastWords, clock: Clock, seconds: float, state: Callable[[], ServerState] = running) -> str | None:
    """Show it the state every 20 ms, as `Watch` does, until it says something."""
    until = clock.now_s + seconds
    while (said := words(state())) is None and clock.now_s < until:
        clock.now_s += 0.02
    return said


def test_a_final_line_counts_after_the_grace(log: Log) -> None:
    words, began = LastWords(log.read, (OTHER, FINAL)), log.clock.now_s
    log.write("ERROR Engine failed for good.")
    said = listen(words, log.clock, 5)
    assert 0.5 <= log.clock.now_s - began < 0.7
    assert said == "its log says that it cannot start, and it does not end: ERROR Engine failed for good."


def test_what_is_not_final_is_waited_for(log: Log) -> None:
    words = LastWords(log.read, (OTHER, FINAL))
    log.write("CUDA out of memory, trying with less")
    assert listen(words, log.clock, 1.2) is None


def test_without_a_final_signature_the_log_is_never_read(log: Log) -> None:
    assert listen(LastWords(log.read, (OTHER,)), log.clock, 0.3) is None
    assert log.reads == []


def test_it_reads_on_from_where_it_left_off_and_misses_nothing(log: Log) -> None:
    words = LastWords(log.read, (FINAL,))
    assert listen(words, log.clock, 1.5) is None
    log.write("Engine failed for good")
    assert listen(words, log.clock, 5) is not None
    assert 4 < len(log.reads) < 40
    assert log.reads[0] == datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
    assert log.reads == sorted(log.reads)
    assert log.reads[-1] - log.reads[0] > timedelta(seconds=1)


def test_another_start_begins_anew(log: Log) -> None:
    words = LastWords(log.read, (FINAL,))
    log.write("Engine failed for good")
    assert listen(words, log.clock, 0.3) is None  # within the grace
    log.lines.clear()
    later = "2026-11-20T13:00:00+00:00"
    assert listen(words, log.clock, 1.0, lambda: running(later)) is None
    assert log.reads[-1] >= datetime.fromisoformat(later)


@pytest.mark.parametrize("started_at", [None, "0001-01-01T00:00:00Z", "soon"])
def test_what_has_not_started_is_not_read(log: Log, started_at: str | None) -> None:
    log.write("Engine failed for good")
    assert listen(LastWords(log.read, (FINAL,)), log.clock, 0.8, lambda: running(started_at)) is None
    assert log.reads == []


def test_a_runtime_that_does_not_answer_is_no_final_word(clock: Clock) -> None:
    looks: list[datetime] = []

    def silent(since: datetime) -> Sequence[str]:
        looks.append(since)
        raise PreconditionError("Docker does not answer")

    assert listen(LastWords(silent, (FINAL,)), clock, 0.8) is None
    assert len(looks) > 2


def test_a_slow_read_is_followed_by_a_long_pause(clock: Clock) -> None:
    looks: list[float] = []

    def slow(since: datetime) -> Sequence[str]:
        looks.append(clock.now_s)
        clock.now_s += 0.05
        return [str(since)]

    assert listen(LastWords(slow, (FINAL,)), clock, 1.5) is None
    assert len(looks) == 2
    assert looks[1] - looks[0] >= 1.0


def failing(server: Any, plan: Plan, words: LastWords, timeout_s: float) -> StartError:
    with pytest.raises(StartError) as caught:
        gate(plan, server.key, running, lambda _: None, timeout_s, last_words=words)
    return caught.value


def final(_: datetime) -> Sequence[str]:
    return ["Engine failed for good: no compiler"]


def test_the_gate_ends_early(server: Any, make_plan: Callable[..., Plan]) -> None:
    server.ready_after_s = 1e9
    error = failing(server, make_plan(port=server.port), LastWords(final, (FINAL,)), 600)
    assert error.details["check"] == "ready"
    assert "cannot start, and it does not end: Engine failed for good: no compiler" in error.message


def test_a_server_that_is_ready_after_all_passes(
    server: Any, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "GRACE_S", 60.0)
    reads: list[datetime] = []

    def read(since: datetime) -> Sequence[str]:
        reads.append(since)
        return final(since)

    server.routes["/health"] = lambda handler: handler.reply(200 if reads else 503, {})
    words = LastWords(read, (FINAL,))
    report = gate(make_plan(port=server.port), server.key, running, lambda _: None, 60, last_words=words)
    assert report.passed
    assert len(reads) == 1
