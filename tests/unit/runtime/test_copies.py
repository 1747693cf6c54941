"""Several containers as one server: which count, what their states mean together, and their logs as one."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from deployer.runtime.container_logs import as_they_come, as_written, in_order
from deployer.runtime.copies import newest, place, together
from deployer.runtime.processor import processor
from deployer.runtime.resident import resident
from deployer.types import ServerState, ServerStatus


def entry(created: int, copy: str | None = None) -> dict[str, Any]:
    labels = {"io.deployer.name": "demo"} | ({} if copy is None else {"io.deployer.copy": copy})
    return {"Id": f"id{created}", "Created": created, "Labels": labels}


def state(status: ServerStatus = "running", **changes: Any) -> ServerState:
    made = ServerState(name="demo", runtime="compose", status=status, container_id="c", plan_hash="p")
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("entries", "ids"),
    [
        ([], {}),
        ([entry(1)], {0: "id1"}),
        ([entry(2), entry(1)], {0: "id2"}),
        ([entry(1, "1/2"), entry(2, "2/2")], {1: "id1", 2: "id2"}),
        ([entry(1, "1/2"), entry(2, "2/2"), entry(3, "1/2")], {1: "id3", 2: "id2"}),
        ([entry(1), entry(2, "1/2"), entry(3, "2/2")], {1: "id2", 2: "id3"}),
        ([entry(1, "1/2"), entry(2, "2/2"), entry(3)], {0: "id3"}),
        ([entry(1, "4/4"), entry(2, "1/2")], {1: "id2"}),
        ([entry(1, "x/2")], {0: "id1"}),
    ],
)
def test_what_was_made_last_counts(entries: list[dict[str, Any]], ids: dict[int, str]) -> None:
    assert {number: found["Id"] for number, found in newest(entries).items()} == ids


def test_a_place_is_read_from_the_label() -> None:
    assert place(entry(1, "3/4")) == (3, 4)
    assert place(entry(1)) == (0, 1)


@pytest.mark.parametrize(
    ("states", "status", "detail"),
    [
        ({1: "running", 2: "running"}, "running", None),
        ({1: "running", 2: "exited"}, "degraded", "copy 2 of 2 does not run"),
        ({1: "restarting", 2: "running"}, "degraded", "copy 1 of 2 does not run"),
        ({2: "running"}, "degraded", "copy 1 of 2 does not run"),
        ({1: "running", 2: "starting"}, "starting", None),
        ({1: "starting", 2: "exited"}, "starting", "copy 2 of 2 does not run"),
        ({1: "exited", 2: "exited"}, "exited", "copies 1, 2 of 2 do not run"),
        ({1: "restarting", 2: "exited"}, "restarting", "copies 1, 2 of 2 do not run"),
        ({2: "exited"}, "exited", "copies 1, 2 of 2 do not run"),
    ],
)
def test_states_together(states: dict[int, ServerStatus], status: str, detail: str | None) -> None:
    found = together({number: state(one) for number, one in states.items()}, 2)
    assert (found.status, found.detail) == (status, detail)
    assert [copy.status for copy in found.copies] == [states.get(number, "missing") for number in (1, 2)]
    assert found.plan_hash == "p"


def test_what_fell_is_what_is_told_and_restarts_add_up() -> None:
    found = together({1: state(restarts=1), 2: state("exited", restarts=2, exit_code=137, oom_killed=True)}, 2)
    assert (found.exit_code, found.oom_killed, found.restarts) == (137, True, 3)
    assert found.engines == found.copies
    assert state().engines == (state(),)


def test_memory_and_processor_time_are_of_all_copies() -> None:
    own = state(container_id=None, pid=os.getpid())
    one, two = resident(own), resident(together({1: own, 2: own}, 2))
    assert (one.anonymous_mib or 0) > 0
    assert two.anonymous_mib == pytest.approx(2 * (one.anonymous_mib or 0), rel=0.05)
    assert two.file_mib == pytest.approx(one.file_mib, abs=3)  # pages of the same file count once
    assert len(two.pids) == 2 * len(one.pids)
    single, double = processor(own), processor(together({1: own, 2: own}, 2))
    assert single is not None
    assert double is not None
    assert double.own_s >= 2 * single.own_s


def test_what_cannot_be_seen_of_one_copy_is_said() -> None:
    own, gone = state(container_id=None, pid=os.getpid()), state("exited", container_id=None, pid=None)
    found = resident(together({1: own, 2: gone}, 2))
    assert found.pids
    assert found.why == "the server has no process"
    assert processor(together({1: own, 2: gone}, 2)) is None


def log(*lines: str) -> Callable[[], Iterable[bytes]]:
    return lambda: (line.encode() for line in lines)


def test_logs_are_put_in_order_by_time() -> None:
    said: list[str] = []
    first = log("2026-11-20T12:00:00.100000000Z a", "2026-11-20T12:00:00.300000000Z c", "a piece of the line before")
    second = log("2026-11-20T12:00:00.200000000Z b", "2026-11-20T12:00:00.400000000Z ")
    in_order({"copy 1: ": first, "copy 2: ": second}, said.append)
    assert said == ["copy 1: a", "copy 2: b", "copy 1: c", "copy 1: a piece of the line before", "copy 2: "]


def test_logs_that_are_followed_end_when_all_have_ended() -> None:
    said: list[str] = []
    as_they_come({"copy 1: ": log("a", "b"), "copy 2: ": log("c\x1b[0m")}, said.append)
    assert sorted(said) == ["copy 1: a", "copy 1: b", "copy 2: c\\x1b[0m"]


def test_what_fails_while_a_log_is_read_is_raised_to_who_reads() -> None:
    def broken() -> Iterable[bytes]:
        yield b"a"
        raise ConnectionError("the daemon went away")

    with pytest.raises(ConnectionError, match="went away"):
        as_they_come({"copy 1: ": broken, "copy 2: ": log()}, lambda _: None)


def test_one_log_has_its_mark() -> None:
    said: list[str] = []
    as_written(log("ended"), "gateway: ", said.append)
    assert said == ["gateway: ended"]
