import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from deployer.errors import BadInputError, PreconditionError
from deployer.paths import Home
from deployer.runtime import ProcessRuntime
from deployer.runtime.identity import Identity, identify
from deployer.runtime.record import ProcessRecord, read_record, write_record
from deployer.runtime.supervision import GRACE_S
from deployer.types import Plan, ServerState

FOREVER = "echo serving; while :; do sleep 0.05; done"


class Bench:
    """One process runtime in a folder of its own, with programs of a few words as servers."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root, self.plan = root, plan
        self.home = Home(config=root / "config", state=root / "state", lock=root / "lock")
        self.runtime = ProcessRuntime(self.home)
        self.process = self.home.deployments / "demo" / "process"
        self.said: list[str] = []

    def start(self, script: str, **environment: str) -> None:
        self.start_argv(["sh", "-c", script], environment)

    def serve(self) -> ProcessRecord:
        """Start one that runs until it is stopped, and wait until its record says so: it is not written to again."""
        self.start(FOREVER)
        self.wait(lambda: self.state().status == "running" and "serving" in self.log())
        record = read_record(self.process)
        assert record is not None
        return record

    def start_argv(self, argv: list[str], environment: dict[str, str] | None = None) -> None:
        folder = self.root / "release"
        folder.mkdir(exist_ok=True)
        (folder / "process.json").write_text(json.dumps({"argv": argv, "environment": environment or {}}))
        self.runtime.start(self.plan, folder, self.said.append)

    def state(self) -> ServerState:
        return self.runtime.state("demo")

    def stop(self, timeout_s: float = 60.0) -> bool:
        return self.runtime.stop("demo", self.said.append, timeout_s)

    def log(self) -> list[str]:
        lines: list[str] = []
        self.runtime.logs("demo", tail=None, follow=False, since=None, on_line=lines.append)
        return lines

    def wait(self, done: Callable[[], bool], within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < deadline, (self.state(), self.log())
            time.sleep(0.02)

    def supervisor_pid(self) -> int:
        record = read_record(self.process)
        assert record is not None
        return record.supervisor.pid


@pytest.fixture
def bench(tmp_path: Path, make_plan: Callable[..., Plan]) -> Iterator[Bench]:
    made = Bench(tmp_path, make_plan())
    yield made
    made.stop(0.5)


def running_with(word: str) -> list[int]:
    """Pids whose command line holds the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes() and identify(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_server_runs_detached_and_is_found_again(bench: Bench) -> None:
    bench.serve()
    state = ProcessRuntime(bench.home).state("demo")
    assert (state.status, state.restarts, state.plan_hash, state.runtime) == ("running", 0, "a" * 64, "process")
    assert state.pid is not None
    assert os.getsid(state.pid) == bench.supervisor_pid() != os.getsid(0)
    assert bench.runtime.states() == (state,)
    assert Path(f"/proc/{state.pid}/fd/0").readlink() == Path(os.devnull)


def test_stop_leaves_nothing_and_can_be_repeated(bench: Bench, tmp_path: Path) -> None:
    word = f"{tmp_path}-child"
    bench.start(f"sh -c 'while :; do sleep 0.05; done # {word}' & echo serving; wait")
    bench.wait(lambda: "serving" in bench.log() and len(running_with(word)) == 2)
    assert bench.stop()
    bench.wait(lambda: running_with(word) == [])  # what was killed needs a moment to go
    assert running_with(str(bench.process)) == []
    assert bench.state() == ServerState(name="demo", runtime="process", status="missing")
    assert bench.runtime.states() == ()
    assert not bench.stop()
    assert "serving" in bench.log()


def test_a_server_that_ignores_the_request_is_killed(bench: Bench) -> None:
    bench.start(f"trap '' TERM; {FOREVER}")
    bench.wait(lambda: "serving" in bench.log())
    pid = bench.state().pid
    assert pid is not None
    began = time.monotonic()
    assert bench.stop(timeout_s=0.3)
    assert time.monotonic() - began < GRACE_S
    assert identify(pid) is None


def test_a_crash_loop_ends_after_three_restarts(bench: Bench) -> None:
    bench.start("echo crash; exit 3")
    bench.wait(lambda: bench.state().status == "exited")
    state = bench.state()
    assert (state.restarts, state.exit_code, state.detail) == (3, 3, "gave up after 3 restarts")
    assert bench.log().count("crash") == 4
    bench.wait(lambda: running_with(str(bench.process)) == [])


def test_a_crashed_server_is_started_again(bench: Bench, tmp_path: Path) -> None:
    bench.start(f"if [ -e {tmp_path}/once ]; then {FOREVER}; fi; touch {tmp_path}/once; kill -SEGV $$")
    bench.wait(lambda: "serving" in bench.log())
    state = bench.state()
    assert (state.status, state.restarts, state.exit_code) == ("running", 1, 139)


def test_a_server_that_ends_well_is_not_started_again(bench: Bench) -> None:
    bench.start("exit 0")
    bench.wait(lambda: bench.state().status == "exited")
    assert (bench.state().restarts, bench.state().exit_code) == (0, 0)


def test_the_server_dies_with_a_killed_supervisor(bench: Bench) -> None:
    record = bench.serve()
    assert record.server is not None
    pid = record.server.pid
    os.kill(record.supervisor.pid, signal.SIGKILL)
    bench.wait(lambda: identify(pid) is None)
    assert (bench.state().status, bench.state().detail) == ("exited", "the supervisor was killed")
    bench.serve()
    assert bench.state().pid not in {None, pid}


def test_a_stranger_with_the_recorded_numbers_is_left_alone(bench: Bench) -> None:
    record = bench.serve()
    assert record.server is not None
    assert bench.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        reused = {
            who: msgspec.structs.replace(identity, pid=stranger.pid)
            for who, identity in (("supervisor", record.supervisor), ("server", record.server))
        }
        write_record(bench.process, msgspec.structs.replace(record, **reused))
        assert bench.state().status == "exited"
        assert bench.stop()
        time.sleep(0.05)
        assert stranger.poll() is None
        stranger.kill()


def test_after_a_reboot_nothing_is_signalled(bench: Bench) -> None:
    record = bench.serve()
    old = msgspec.structs.replace(record.supervisor, boot_id="another boot")
    server = record.server
    assert server is not None
    rebooted = msgspec.structs.replace(
        record, supervisor=old, server=msgspec.structs.replace(server, boot_id="another boot")
    )
    write_record(bench.process, rebooted)
    assert bench.state().detail == "the host was restarted since"
    assert bench.stop()
    assert identify(server.pid) is not None
    write_record(bench.process, record)


def test_starting_again_replaces_what_ran(bench: Bench) -> None:
    first = bench.serve().server
    assert first is not None
    bench.serve()
    assert bench.state().pid not in {None, first.pid}
    assert identify(first.pid) is None


def test_two_supervisors_of_one_name_are_refused(bench: Bench) -> None:
    record = bench.serve()
    (bench.process / "supervisor.json").unlink()
    with pytest.raises(PreconditionError, match="supervised by another"):
        bench.start(FOREVER)
    write_record(bench.process, record)


def test_a_program_that_is_not_installed(bench: Bench) -> None:
    with pytest.raises(PreconditionError, match="'llama-server-of-nobody' is not on PATH"):
        bench.start_argv(["llama-server-of-nobody"])
    assert bench.state().status == "missing"


def test_a_wrong_process_file(bench: Bench) -> None:
    with pytest.raises(BadInputError, match="`argv` is empty"):
        bench.start_argv([])


def test_the_server_inherits_no_secret_and_no_privilege(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("LC_TIME", "C")
    bench.start(f"env; grep NoNewPrivs /proc/self/status; ulimit -c; umask; pwd; {FOREVER}", OWN="yes")
    bench.wait(lambda: "serving" in bench.log())
    log = "\n".join(bench.log())
    assert "hf_secret" not in log
    assert {"OWN=yes", "LC_TIME=C", "NoNewPrivs:\t1", "0", "0077", str(bench.process)} <= set(bench.log())
    assert (bench.process / "server.log").stat().st_mode & 0o077 == 0


def test_control_characters_of_a_server_do_not_reach_the_terminal(bench: Bench) -> None:
    bench.start(f"printf '\\033]0;owned\\007\\n'; {FOREVER}")
    bench.wait(lambda: "serving" in bench.log())
    assert "\\x1b]0;owned\\x07" in bench.log()


def test_following_the_log_ends_with_the_server(bench: Bench) -> None:
    bench.start("echo one; sleep 0.4; echo two; exit 0")
    lines: list[str] = []
    bench.runtime.logs("demo", tail=None, follow=True, since=None, on_line=lines.append)
    assert lines == ["one", "two", "deployer: the server ended with exit status 0"]


def test_a_supervisor_that_ends_while_it_is_looked_at_has_the_last_word(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Identity(pid=2**22 + 1, started_ticks=1, boot_id="b")
    before = ProcessRecord(name="demo", plan_hash="h", folder="/f", supervisor=supervisor, status="restarting")
    after = msgspec.structs.replace(before, status="exited", exit_codes=(3, 3), detail="gave up after 3 restarts")
    records = iter([before, after])
    monkeypatch.setattr("deployer.runtime.process.read_record", lambda _: next(records))
    assert (bench.state().detail, next(records, None)) == ("gave up after 3 restarts", None)


def test_a_server_that_ended_just_now_is_shown_with_its_exit_status(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, gone = identify(os.getpid()), Identity(pid=2**22 + 1, started_ticks=1, boot_id="b")
    assert me is not None
    before = ProcessRecord(name="demo", plan_hash="h", folder="/f", supervisor=me, server=gone, status="running")
    after = msgspec.structs.replace(before, status="restarting", server=None, exit_codes=(127,))
    records = iter([before, before, after])
    monkeypatch.setattr("deployer.runtime.process.read_record", lambda _: next(records))
    state = bench.state()
    assert (state.status, state.exit_code, next(records, None)) == ("restarting", 127, None)


def test_a_name_cannot_leave_its_folder(bench: Bench) -> None:
    for call in (bench.runtime.state, lambda name: bench.runtime.stop(name, print, 1)):
        with pytest.raises(BadInputError):
            call("../../etc")


def start_with_key(bench: Bench, script: str, key: str | None, variable: str | None) -> None:
    folder = bench.root / "release"
    folder.mkdir()
    key_file = bench.root / "api_key"
    if key is not None:
        key_file.write_text(f"{key}\n")
    document = {"argv": ["sh", "-c", script], "key_file": str(key_file), "key_variable": variable}
    (folder / "process.json").write_text(json.dumps(document))
    bench.runtime.start(bench.plan, folder, bench.said.append)


def test_the_key_is_handed_over_and_kept_out_of_the_log(bench: Bench) -> None:
    start_with_key(bench, f'test "$THE_KEY" = secret-key && echo "got $THE_KEY"; {FOREVER}', "secret-key", "THE_KEY")
    bench.wait(lambda: "serving" in bench.log())
    assert "got [key]" in bench.log()
    server, supervisor = bench.state().pid, bench.supervisor_pid()
    assert b"secret-key" in Path(f"/proc/{server}/environ").read_bytes()
    assert b"secret-key" not in Path(f"/proc/{supervisor}/environ").read_bytes()
    assert b"secret-key" not in (bench.process / "server.log").read_bytes()


def test_a_server_that_reads_its_key_itself_has_it_nowhere_else(bench: Bench) -> None:
    start_with_key(bench, FOREVER, "secret-key", None)
    bench.wait(lambda: "serving" in bench.log())
    assert b"secret-key" not in Path(f"/proc/{bench.state().pid}/environ").read_bytes()


@pytest.mark.parametrize("key", [None, " "])
def test_without_a_usable_key_nothing_is_started(bench: Bench, key: str | None) -> None:
    with pytest.raises(PreconditionError, match="key file"):
        start_with_key(bench, FOREVER, key, "THE_KEY")
