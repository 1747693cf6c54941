from pathlib import Path

import pytest

from deployer.errors import BadInputError, PreconditionError
from deployer.runtime.identity import Identity
from deployer.runtime.record import ProcessRecord, read_record, read_spec, write_record

RECORD = ProcessRecord(
    name="demo", plan_hash="h", folder="/f", supervisor=Identity(pid=1, started_ticks=2, boot_id="b"), restarts=2
)


def test_a_record_comes_back(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["supervisor.json"]
    assert (tmp_path / "supervisor.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"name": 1}', b"[" * 100_000])
def test_a_damaged_record_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "supervisor.json").write_bytes(content)
    assert read_record(tmp_path) is None


def test_a_record_of_another_user_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PreconditionError, match="this user may not read it"):
        read_record(tmp_path)


def test_a_failed_write_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, RECORD)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="space"):
        write_record(tmp_path, ProcessRecord(name="x", plan_hash="", folder="", supervisor=RECORD.supervisor))
    assert read_record(tmp_path) == RECORD
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"argv": []}', "empty"),
        ('{"argv": "sh"}', "argv"),
        ('{"environment": {}}', "argv"),
        ('{"argv": ["a"], "environment": {"A": 1}}', "environment"),
        ("{", "truncated"),
    ],
)
def test_a_wrong_process_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "process.json").write_text(content)
    with pytest.raises(BadInputError, match=said) as caught:
        read_spec(tmp_path)
    assert str(tmp_path / "process.json") in caught.value.message


def test_a_missing_process_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        read_spec(tmp_path)
