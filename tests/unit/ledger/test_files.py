import os
import random
import resource
import signal
import stat
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.errors import StateError
from deployer.ledger import files


class Record(msgspec.Struct, frozen=True, kw_only=True):
    format_version: int = 1
    name: str


def test_a_write_replaces_the_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    files.atomic_write(path, b"old")
    files.atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_modes_hold_under_any_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder = files.make_folder(tmp_path / "a" / "b", mode=0o711)
        files.atomic_write(folder / "file", b"x", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "file").stat().st_mode) == mode
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o711


WRITER = """
import sys
from pathlib import Path
from deployer.ledger.files import atomic_write
path = Path(sys.argv[1])
atomic_write(path, b"a" * 50_000)
print("ready", flush=True)
while True:
    for letter in (b"a", b"b"):
        atomic_write(path, letter * 50_000)
"""


def test_sigkill_never_leaves_half_a_file(tmp_path: Path, script: Any) -> None:
    path = tmp_path / "state.json"
    chance = random.Random(7)
    corrupt = 0
    for _ in range(50):
        writer = script(WRITER, path)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        data = path.read_bytes()
        corrupt += data not in {b"a" * 50_000, b"b" * 50_000}
    assert corrupt == 0


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, script: Any) -> None:
    path = tmp_path / "state.json"
    files.atomic_write(path, b"old")
    code = """
import resource, sys
from pathlib import Path
from deployer.errors import StateError
from deployer.ledger.files import atomic_write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(Path(sys.argv[1]), b"x" * 5000)
except StateError as error:
    print(error.message, "|", error.hint)
"""
    out, err = script(code, path).communicate(timeout=120)
    assert "File too large" in out, err
    assert "free some space" in out
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_too_few_file_descriptors_is_a_state_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StateError, match="Too many open files"):
            files.atomic_write(tmp_path / "x", b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_folder_of_someone_else_names_path_owner_and_way_out(open_folder: Path, script: Any) -> None:
    locked = open_folder / "state"
    locked.mkdir(mode=0o555)
    code = """
import sys
from pathlib import Path
from deployer.errors import StateError
from deployer.ledger.files import atomic_write, make_folder
for action in (lambda p: atomic_write(p / "file", b"x"), lambda p: make_folder(p / "deployments" / "chat")):
    try:
        action(Path(sys.argv[1]))
    except StateError as error:
        print(error.message, "|", error.hint)
"""
    out, err = script(code, locked, unprivileged=True).communicate(timeout=120)
    lines = out.splitlines()
    assert len(lines) == 2, err
    for line in lines:
        assert f"({locked} belongs to" in line
        assert "Permission denied" in line
        assert "DEPLOYER_HOME" in line


def test_a_record_comes_back(tmp_path: Path) -> None:
    files.atomic_write(tmp_path / "r.json", files.encode(Record(name="é")))
    assert files.load(tmp_path / "r.json", Record) == Record(name="é")
    assert files.load(tmp_path / "absent.json", Record) is None


CORRUPT = {
    "empty": b"",
    "cut": b'{"format_version": 1, "na',
    "wrong shape": b"{}",
    "wrong type": b'{"name": 5}',
    "a list": b"[]",
    "null": b"null",
    "binary": bytes(range(256)),
    "not utf-8": b'{"name": "\xff"}',
    "deep": b"[" * 100_000,
    "deep value": b'{"name": "x", "y": ' + b"[" * 100_000,
    "odd version": b'{"format_version": "x", "name": "y"}',
    "huge": b'{"name": "' + b"x" * files.MAX_BYTES + b'"}',
}


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT.keys())
def test_a_damaged_file_is_kept_aside(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(data)
    with pytest.raises(StateError, match="is damaged") as caught:
        files.load(path, Record)
    kept = tmp_path / "r.json.corrupt-1"
    assert caught.value.details["corrupt"] == str(kept)
    assert kept.read_bytes() == data
    assert not path.exists()


def test_links_folders_and_pipes_are_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    (tmp_path / "real.json").write_bytes(files.encode(Record(name="x")))
    path.symlink_to("real.json")
    with pytest.raises(StateError, match="not a plain file"):
        files.load(path, Record)
    path.mkdir()
    with pytest.raises(StateError, match="not a plain file"):
        files.load(path, Record)
    os.mkfifo(path)
    with pytest.raises(StateError, match="not a plain file"):
        files.load(path, Record)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "r.json.corrupt-1",
        "r.json.corrupt-2",
        "r.json.corrupt-3",
        "real.json",
    ]


def test_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b'{"format_version": 999, "name": {"a": "new shape"}}')
    before = path.stat()
    with pytest.raises(StateError, match="format version 999; this deployer reads up to version 1"):
        files.load(path, Record)
    assert path.stat() == before


def test_an_unreadable_file_is_not_called_damaged(open_folder: Path, script: Any) -> None:
    path = open_folder / "r.json"
    path.write_bytes(b"{}")
    path.chmod(0)
    code = """
import sys
from pathlib import Path
from deployer.errors import StateError
from deployer.ledger.files import read
try:
    read(Path(sys.argv[1]))
except StateError as error:
    print(error.message, error.details)
"""
    out, err = script(code, path, unprivileged=True).communicate(timeout=120)
    assert "Permission denied" in out, err
    assert "corrupt" not in out
    assert path.exists()


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_any_bytes_give_a_record_or_a_state_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(data)
    try:
        found = files.load(path, Record)
    except StateError:
        assert (tmp_path / "r.json").exists() is False
    else:
        assert isinstance(found, Record)


@pytest.mark.parametrize(
    ("number", "hint"), [(13, "run it as the owner"), (28, "free some space"), (30, "set DEPLOYER_HOME")]
)
def test_a_disk_that_refuses_has_a_way_out_that_fits(tmp_path: Path, number: int, hint: str) -> None:
    with pytest.raises(StateError) as caught, files.state_errors("write", tmp_path):
        raise OSError(number, os.strerror(number))
    assert caught.value.hint.startswith(hint)
