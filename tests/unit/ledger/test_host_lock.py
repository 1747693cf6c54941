import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import LockedError, StateError
from deployer.ledger import files
from deployer.ledger.host_lock import lock, lock_holder, network_filesystem
from deployer.ledger.names import whoami
from deployer.paths import Home

HOLD = """
import sys
from pathlib import Path
from deployer.ledger import lock
from deployer.paths import Home
root = Path(sys.argv[1])
with lock(Home(config=root / "config", state=root / "state", lock=root / "lock"), "up chat"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_second_is_told_who_holds_it(tmp_path: Path, home: Home, script: Any) -> None:
    other = script(HOLD, tmp_path)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=rf"`up chat` \(pid {other.pid}\)") as caught, lock(home, "down"):
        pass
    assert other.poll() is None  # refused while it is held, and not when its holder ended
    assert caught.value.exit_code == 5
    holder = caught.value.details["holder"]
    assert isinstance(holder, dict)
    assert (holder["pid"], holder["operation"]) == (other.pid, "up chat")
    seen = lock_holder(home)
    assert seen is not None
    assert seen.pid == other.pid


def test_sigkill_of_the_holder_frees_it(tmp_path: Path, home: Home, script: Any) -> None:
    other = script(HOLD, tmp_path)
    assert other.stdout.readline() == "held\n"
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert lock_holder(home) is None
    with lock(home, "up") as holder:
        assert lock_holder(home) == holder
    assert lock_holder(home) is None


def test_a_child_does_not_keep_it(tmp_path: Path, home: Home, script: Any) -> None:
    code = HOLD.replace(
        'print("held", flush=True)',
        'import subprocess; child = subprocess.Popen(["sleep", "600"]); print(child.pid, flush=True)',
    )
    other = script(code, tmp_path)
    child = int(other.stdout.readline())
    other.send_signal(signal.SIGKILL)
    other.wait()
    try:
        until = time.monotonic() + 60
        while Path(f"/proc/{child}/comm").read_text() != "sleep\n":  # it gets its name after its pipe is closed
            assert time.monotonic() < until
            time.sleep(0.01)
        with lock(home, "up"):
            pass
    finally:
        subprocess.run(["kill", "-9", str(child)], check=True)


def test_twenty_at_once_go_one_after_the_other(tmp_path: Path, script: Any) -> None:
    code = """
import sys, time
from pathlib import Path
from deployer.errors import LockedError
from deployer.ledger import lock
from deployer.paths import Home
root = Path(sys.argv[1])
home = Home(config=root / "config", state=root / "state", lock=root / "lock")
while not (root / "go").exists():
    time.sleep(0.01)
try:
    with lock(home, f"up {sys.argv[2]}"):
        print("won", flush=True)
        while not (root / "end").exists():
            time.sleep(0.02)
except LockedError as error:
    print(error.exit_code, error.message, flush=True)
"""
    processes = [script(code, tmp_path, number) for number in range(20)]
    (tmp_path / "go").touch()
    lines = [process.stdout.readline() for process in processes]
    (tmp_path / "end").touch()
    assert [process.wait(timeout=60) for process in processes] == [0] * 20
    winners = [processes[number] for number, line in enumerate(lines) if line == "won\n"]
    assert len(winners) == 1
    losers = [line for line in lines if line != "won\n"]
    assert all(line.startswith("5 ") and f"(pid {winners[0].pid})" in line for line in losers)


def test_waiting_ends_with_the_lock(tmp_path: Path, home: Home, script: Any) -> None:
    other = script(HOLD, tmp_path)
    assert other.stdout.readline() == "held\n"
    notes: list[str] = []

    def let_go(note: str) -> None:
        notes.append(note)
        other.stdin.write("\n")
        other.stdin.flush()

    with lock(home, "up", wait_s=120, on_note=let_go):
        assert other.wait(timeout=60) == 0
    assert len(notes) == 1
    assert f"waiting up to 120 s: {whoami()} is running `up chat` (pid {other.pid})" in notes[0]


def test_waiting_ends_with_the_time(tmp_path: Path, home: Home, script: Any) -> None:
    other = script(HOLD, tmp_path)
    assert other.stdout.readline() == "held\n"
    notes: list[str] = []
    started = time.monotonic()
    with pytest.raises(LockedError), lock(home, "up", wait_s=0.4, on_note=notes.append):
        pass
    assert time.monotonic() - started >= 0.4
    assert other.poll() is None
    assert [note for note in notes if "waiting" in note] == notes


def test_a_holder_that_is_slow_to_say_who_it_is_is_named_all_the_same(tmp_path: Path, home: Home, script: Any) -> None:
    """Its side file comes after the second one asked, as on a disk that is slow to flush."""
    other = script(HOLD, tmp_path)
    assert other.stdout.readline() == "held\n"
    side = home.lock / "holder.json"
    kept, asked = side.read_bytes(), []
    side.unlink()

    def load(path: Path, kind: Any) -> Any:
        asked.append(path)
        if len(asked) == 3:
            side.write_bytes(kept)
        return files.load(path, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deployer.ledger.host_lock.load", load)
        patch.setattr("deployer.ledger.host_lock._NAMED_WITHIN_S", 600.0)
        with pytest.raises(LockedError, match=rf"\(pid {other.pid}\)"), lock(home, "down"):
            pass
    assert len(asked) == 3


def test_an_error_inside_frees_it(home: Home) -> None:
    with pytest.raises(KeyboardInterrupt), lock(home, "up"):
        raise KeyboardInterrupt
    with lock(home, "up"):
        assert (home.lock / "holder.json").exists()
    assert not (home.lock / "holder.json").exists()


def test_others_may_read_who_holds_it(home: Home) -> None:
    with lock(home, "up"):
        assert stat.S_IMODE((home.lock / "holder.json").stat().st_mode) == 0o644
        assert stat.S_IMODE(home.lock.stat().st_mode) == 0o755


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path, home: Home) -> None:
    (tmp_path / "elsewhere").mkdir()
    home.lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="belongs to someone else"), lock(home, "up"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_place_of_the_folder_is_a_state_error(home: Home) -> None:
    home.lock.write_text("")
    with pytest.raises(StateError, match=r"Not a directory|File exists"), lock(home, "up"):
        pass


def test_a_network_file_system_is_seen(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        f"40 22 0:40 / {tmp_path} rw shared:2 master:1 - nfs4 server:/home rw\n"
        f"41 40 0:41 / {tmp_path}/local rw - tmpfs tmpfs rw\n"
        "broken line\n"
    )
    assert network_filesystem(tmp_path / "lock", mountinfo) == "nfs4"
    assert network_filesystem(tmp_path / "local" / "lock", mountinfo) is None
    assert network_filesystem(Path("/usr"), mountinfo) is None
    assert network_filesystem(tmp_path, tmp_path / "absent") is None
