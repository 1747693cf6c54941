"""Which release serves, which one a rollback means, and what a killed `up` leaves behind."""

import os
from pathlib import Path

import msgspec
import pytest

from deployer import ledger
from deployer.errors import BadInputError
from deployer.paths import Home
from deployer.runtime.identity import identify
from deployer.runtime.record import ProcessRecord, write_record
from deployer.types import Bundle, Release, ReleaseStatus
from deployer.workflow import lifecycle, recovery
from tests.unit.plans import build_plan

NAME = "demo"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def released(home: Home, plan: str, status: ReleaseStatus, message: str | None = None) -> Release:
    """One more release, with the plan that this letter stands for."""
    made = msgspec.structs.replace(build_plan(NAME, port=1024, runtime="process"), plan_hash=plan * 64)
    release = ledger.create(home, made, Bundle(files={}), message)
    if status == "healthy":
        ledger.make_current(home, ledger.mark(home, release, status))
    return ledger.mark(home, release, status)


def running(home: Home, plan: str) -> None:
    """This test's own process stands for the server of that plan."""
    mine = identify(os.getpid())
    assert mine is not None
    folder = home.deployments / NAME / "process"
    folder.mkdir(parents=True)
    record = {"name": NAME, "plan_hash": plan * 64, "folder": "/f", "status": "running"}
    write_record(folder, msgspec.convert({**record, "supervisor": mine, "server": mine}, ProcessRecord))


def test_a_rollback_means_another_plan(home: Home) -> None:
    for plan in ("a", "b"):
        released(home, plan, "superseded")
    released(home, "c", "failed")
    released(home, "b", "healthy")
    assert lifecycle.rollback_target(home, NAME, None).number == 1
    assert lifecycle.rollback_target(home, NAME, 2).number == 2


def test_a_rollback_to_the_same_plan_is_the_last_resort(home: Home) -> None:
    released(home, "a", "superseded")
    released(home, "a", "healthy")
    assert lifecycle.rollback_target(home, NAME, None).number == 1
    with pytest.raises(BadInputError, match="demo has no healthy release 2; others that were healthy: 1"):
        lifecycle.rollback_target(home, NAME, 2)


@pytest.mark.parametrize(
    ("serving", "number", "detail"),
    [("a", 1, None), ("b", 2, "not verified, its `up` goes on or was cut off"), ("c", 1, None)],
)
def test_status_names_the_release_that_really_runs(home: Home, serving: str, number: int, detail: str | None) -> None:
    released(home, "a", "healthy")
    released(home, "b", "pending")
    running(home, serving)
    (row,) = lifecycle.status(home, NAME)
    assert (row.status, row.answers, row.release, row.detail) == ("running", False, number, detail)


def test_status_says_why_a_state_is_unknown(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    plan = build_plan(NAME, runtime="compose")
    ledger.create(home, plan, Bundle(files={}))
    (row,) = lifecycle.status(home, NAME)
    assert (row.status, row.answers) == ("unknown", None)
    assert row.detail == "Docker does not answer: there is no unix:///nonexistent.sock"


def test_what_was_cut_off_is_closed_by_the_next_up(home: Home) -> None:
    for status in ("healthy", "pending"):
        released(home, "a", status)
    released(home, "a", "pending", "how it ended is not known")
    recovery.close(home, NAME)
    assert [(release.status, release.message) for release in ledger.history(home, NAME)] == [
        ("pending", "how it ended is not known"),
        ("failed", "cut off before it was verified"),
        ("healthy", None),
    ]
