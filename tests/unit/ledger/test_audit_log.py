import stat
from typing import Any

from deployer import ledger
from deployer.paths import Home


def test_lines_are_appended_and_read_newest_first(home: Home) -> None:
    ledger.audit(home, "up", "chat", 1, "healthy")
    ledger.audit(home, "down", "chat", None, "done", detail="asked for")
    found = ledger.audit_entries(home)
    assert [(entry.action, entry.result, entry.release) for entry in found] == [
        ("down", "done", None),
        ("up", "healthy", 1),
    ]
    assert found[0].user
    assert ledger.audit_entries(home, limit=1) == found[:1]
    assert stat.S_IMODE((home.state / "audit.jsonl").stat().st_mode) == 0o600


def test_a_line_cut_short_costs_only_itself(home: Home) -> None:
    ledger.audit(home, "up", "chat", 1, "healthy")
    path = home.state / "audit.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    ledger.audit(home, "down", "chat", None, "done")
    assert [entry.action for entry in ledger.audit_entries(home)] == ["down", "up"]
    assert path.read_bytes().startswith(whole + whole[:20] + b"\n")


def test_no_file_is_no_entries(home: Home) -> None:
    assert ledger.audit_entries(home) == ()


def test_many_writers_lose_no_line(home: Home, script: Any) -> None:
    code = """
import sys
from pathlib import Path
from typing import Any
from deployer.ledger import audit
from deployer.paths import Home
root = Path(sys.argv[1])
for number in range(20):
    audit(Home(config=root, state=root, lock=root), "up", "chat", number, "healthy")
"""
    home.state.mkdir()
    writers = [script(code, home.state) for _ in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    assert sorted(entry.release or 0 for entry in ledger.audit_entries(home)) == sorted([*range(20)] * 4)
