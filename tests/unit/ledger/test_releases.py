import os
import random
import shutil
import signal
import stat
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer import ledger
from deployer.errors import BadInputError, StateError
from deployer.ledger.names import check_file_name, checked_name
from deployer.ledger.releases import numbers
from deployer.paths import Home
from deployer.types import Bundle, HealthReport, Plan, Release, ReleaseStatus

BUNDLE = Bundle(files={"compose.yaml": "services: {}\n", "Dockerfile": "FROM scratch\n"})


def make(home: Home, plan: Plan, count: int = 1) -> Release:
    return [ledger.create(home, plan, BUNDLE) for _ in range(count)][-1]


def promote(home: Home, number: int) -> None:
    ledger.make_current(home, ledger.mark(home, ledger.read_release(home, "chat", number), "healthy"))


def test_a_release_is_a_whole_folder(home: Home, plan: Plan) -> None:
    release = make(home, plan)
    names = sorted(path.name for path in ledger.folder(home, release).iterdir())
    assert (release.name, release.number, release.status, release.engine) == ("chat", 1, "pending", "llama.cpp")
    assert release.image == plan.image.digest
    assert names == ["Dockerfile", "compose.yaml", "plan.json", "release.json"]
    assert ledger.read_plan(home, release) == plan
    assert ledger.read_bundle(home, release) == BUNDLE
    assert ledger.read_release(home, "chat", 1) == release
    assert ledger.deployments(home) == ("chat",)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_others_can_use_the_folder_by_hand(home: Home, plan: Plan, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = ledger.folder(home, make(home, plan))
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "compose.yaml").stat().st_mode) == 0o644
    for path in (folder, folder.parent, folder.parent.parent, home.deployments, home.state):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_numbers_are_never_used_again(home: Home, plan: Plan) -> None:
    assert make(home, plan, 3).number == 3
    shutil.rmtree(home.deployments / "chat" / "releases" / "3")
    assert make(home, plan).number == 4
    (home.deployments / "chat" / "last-number").write_bytes(b"\xff\x00")
    assert make(home, plan).number == 5
    assert make(home, msgspec.structs.replace(plan, name="other")).number == 1


def test_marking_changes_only_the_record(home: Home, plan: Plan, report: HealthReport) -> None:
    release = ledger.create(home, plan, BUNDLE, message="first")
    folder = ledger.folder(home, release)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    marked = ledger.mark(home, release, "healthy", health=report)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert (marked.status, marked.message, marked.health) == ("healthy", "first", report)
    assert {name for name in after if after[name] != before.get(name)} == {"release.json"}
    assert ledger.history(home, "chat") == (marked,)


def test_a_release_that_does_not_exist(home: Home, plan: Plan) -> None:
    absent = msgspec.structs.replace(make(home, plan), number=9)
    for action in (ledger.read_plan, ledger.make_current, ledger.folder):
        with pytest.raises(BadInputError, match="has no release 9") as caught:
            action(home, absent)
        assert caught.value.details["existing"] == [1]


def test_a_lost_or_damaged_record_is_made_again_from_the_plan(home: Home, plan: Plan) -> None:
    make(home, plan, 2)
    folder = home.deployments / "chat" / "releases"
    (folder / "1" / "release.json").unlink()
    (folder / "2" / "release.json").write_bytes(b'{"name"')
    second, first = ledger.history(home, "chat")
    assert (first.number, first.status, first.plan_hash) == (1, "pending", plan.plan_hash)
    assert "missing" in (first.message or "")
    assert "damaged" in (second.message or "")
    assert (folder / "2" / "release.json.corrupt-1").read_bytes() == b'{"name"'
    assert ledger.mark(home, second, "failed").status == "failed"
    assert ledger.read_bundle(home, second) == BUNDLE


def test_a_newer_record_is_refused(home: Home, plan: Plan) -> None:
    release = make(home, plan)
    path = ledger.folder(home, release) / "release.json"
    newer = msgspec.json.encode(msgspec.structs.replace(release, format_version=999))
    path.write_bytes(newer)
    with pytest.raises(StateError, match="999"):
        ledger.mark(home, release, "failed")
    warnings: list[str] = []
    assert ledger.history(home, "chat", warnings.append) == ()
    assert "999" in warnings[0]
    assert path.read_bytes() == newer


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", ".", "a\n", "a" * 42, "a b", "é", "a_b", "--help"])
def test_bad_names_are_refused(home: Home, plan: Plan, name: str) -> None:
    with pytest.raises(BadInputError, match="cannot name"):
        make(home, msgspec.structs.replace(plan, name=name))
    assert not home.deployments.exists()


@given(st.text(max_size=60))
def test_a_checked_name_stays_in_its_folder(text: str) -> None:
    for check in (checked_name, check_file_name):
        try:
            name = check(text)
        except BadInputError:
            continue
        assert Path("/root", name).parent == Path("/root")
        assert not name.startswith(("-", "."))
        assert "\n" not in name


@pytest.mark.parametrize("file", ["../x", "a/b", "", ".hidden", "plan.json", "release.json", "a\nb"])
def test_bad_file_names_of_a_bundle_leave_nothing(home: Home, plan: Plan, file: str) -> None:
    with pytest.raises(BadInputError):
        ledger.create(home, plan, Bundle(files={file: "x"}))
    assert ledger.deployments(home) == ()


def test_current_follows_the_newest_success(home: Home, plan: Plan) -> None:
    assert ledger.current(home, "chat") is None
    assert ledger.current_plan(home, "chat") is None
    make(home, plan, 3)
    promote(home, 1)
    promote(home, 3)
    now = ledger.current(home, "chat")
    assert now is not None
    assert (now.number, now.status) == (3, "healthy")
    assert ledger.current_plan(home, "chat") == plan
    assert [release.status for release in ledger.history(home, "chat")] == ["healthy", "pending", "superseded"]
    assert (home.deployments / "chat" / "current" / "compose.yaml").read_text() == "services: {}\n"


@pytest.mark.parametrize("damage", ["gone", "dangling", "a file"])
def test_a_lost_link_falls_back_to_the_newest_healthy(home: Home, plan: Plan, damage: str) -> None:
    make(home, plan, 3)
    promote(home, 2)
    link = home.deployments / "chat" / "current"
    link.unlink()
    if damage == "dangling":
        link.symlink_to("releases/77")
    if damage == "a file":
        link.write_text("2")
    found = ledger.current(home, "chat")
    assert found is not None
    assert found.number == 2
    ledger.make_current(home, found)
    assert link.is_symlink()


STATUSES: list[ReleaseStatus] = ["pending", "healthy", "failed", "superseded", "stopped"]
GOOD = {"healthy", "superseded", "stopped"}


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=8), st.integers(0, 4), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
def test_pruning_never_takes_what_may_be_needed(
    home: Home, plan: Plan, statuses: list[ReleaseStatus], keep: int, data: st.DataObject
) -> None:
    shutil.rmtree(home.deployments, ignore_errors=True)
    for status in statuses:
        ledger.mark(home, make(home, plan), status)
    count = len(statuses)
    serving = data.draw(st.integers(1, count))
    ledger.make_current(home, ledger.read_release(home, "chat", serving))
    good = [release.number for release in ledger.history(home, "chat") if release.status in GOOD]
    gone = ledger.prune(home, "chat", keep=keep)
    left = set(numbers(home, "chat"))
    assert left.isdisjoint(gone)
    assert left | set(gone) == set(range(1, count + 1))
    assert {serving, count, *good[:2]} <= left
    assert set(range(count, max(0, count - keep), -1)) <= left
    assert ledger.prune(home, "chat", keep=keep) == ()


def test_success_prunes_by_itself(home: Home, plan: Plan) -> None:
    for number in range(1, 13):
        make(home, plan)
        promote(home, number)
    assert numbers(home, "chat") == tuple(range(12, 2, -1))


LOOP = """
import sys, msgspec
from pathlib import Path
from deployer import ledger
from deployer.paths import Home
from deployer.types import Bundle, Plan
root = Path(sys.argv[1])
home = Home(config=root, state=root, lock=root)
plan = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Plan)
print("ready", flush=True)
while True:
    release = ledger.create(home, plan, Bundle(files={"compose.yaml": "x" * 50_000}))
    ledger.make_current(home, ledger.mark(home, release, "healthy"))
    ledger.prune(home, "chat", keep=3)
"""


def test_sigkill_anywhere_leaves_whole_releases(home: Home, plan: Plan, tmp_path: Path, script: Any) -> None:
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(plan))
    chance = random.Random(3)
    for _ in range(25):
        process = script(LOOP, home.state, tmp_path / "plan.json")
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        warnings: list[str] = []
        for release in ledger.history(home, "chat", warnings.append):
            assert ledger.read_bundle(home, release).files == {"compose.yaml": "x" * 50_000}
            assert ledger.read_plan(home, release) == plan
            assert release.message is None
        link = home.deployments / "chat" / "current"
        assert not link.is_symlink() or link.exists()
        assert warnings == []
    make(home, plan)
    ledger.prune(home, "chat")
    folder = home.deployments / "chat" / "releases"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_writers_at_the_same_time_get_their_own_numbers(home: Home, plan: Plan, tmp_path: Path, script: Any) -> None:
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(plan))
    create = "ledger.create(home, plan, Bundle(files={})).number"
    code = LOOP.split("while True", maxsplit=1)[0] + f"print(*[{create} for _ in range(8)])"
    writers = [script(code, home.state, tmp_path / "plan.json") for _ in range(4)]
    taken = [number for writer in writers for number in writer.communicate(timeout=60)[0].split()[1:]]
    assert sorted(map(int, taken)) == list(range(1, 33))


def test_a_folder_that_cannot_be_written_is_refused_early(open_folder: Path, script: Any) -> None:
    (open_folder / "state").mkdir(mode=0o555)
    code = """
import sys
from pathlib import Path
from deployer import ledger
from deployer.errors import StateError
from deployer.paths import Home
root = Path(sys.argv[1])
try:
    ledger.ensure_writable(Home(config=root, state=root / "state", lock=root))
except StateError as error:
    print(error.exit_code, error.message, "|", error.hint)
"""
    out, err = script(code, open_folder, unprivileged=True).communicate(timeout=120)
    assert out.startswith("3 "), err
    assert f"({open_folder / 'state'} belongs to" in out
    assert "DEPLOYER_HOME" in out


def test_a_folder_that_can_be_written_stays_empty(home: Home) -> None:
    ledger.ensure_writable(home)
    assert list(home.state.iterdir()) == []
