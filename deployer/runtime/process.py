"""Runtime `process`: a server without a container, under a supervisor that survives this command."""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from deployer.errors import BadInputError, PreconditionError, StartError
from deployer.execution import Completed, run
from deployer.paths import Home
from deployer.runtime.containment import python_path
from deployer.runtime.identity import alive, end, identify, wait_gone
from deployer.runtime.interface import OnLine
from deployer.runtime.journal import show
from deployer.runtime.lines import escape
from deployer.runtime.naming import checked_name
from deployer.runtime.record import LOG_FILE, RECORD_FILE, ProcessRecord, read_record
from deployer.types import Plan, ServerState

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0
_NOTED_WITHIN_S = 2.0
_LOOK_AGAIN_S = 0.02


class ProcessRuntime:
    """Servers as supervised local processes; each has its record and log in `<deployment>/process/`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def start(self, plan: Plan, folder: Path, on_line: OnLine) -> None:
        """Start `process.json` of the folder, replacing what ran under this name; returns once it is supervised."""
        state = self._folder(plan.name)
        self.stop(plan.name, on_line, _STOP_TIMEOUT_S)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        module = ("-P", "-m", "deployer.runtime.supervisor", str(folder.absolute()))
        options = ("--state", str(state.absolute()), "--name", plan.name, "--plan", plan.plan_hash)
        on_line(f"starting the supervisor of {plan.name}")
        _check(
            run((sys.executable, *module, *options), timeout_s=_START_TIMEOUT_S, cwd=state, env=python_path(os.environ))
        )

    def refuse_foreign(self, name: str) -> None:
        """Nothing to refuse: what runs is known by the record in our own folder alone."""

    def stop(self, name: str, on_line: OnLine, timeout_s: float) -> bool:
        """End the supervisor and its server, each known by pid and start time; False when there was no record."""
        folder = self._folder(name)
        record = read_record(folder)
        if record is None:
            return False
        if alive(record.supervisor):
            on_line(f"stopping {name} (pid {record.supervisor.pid})")
        gone = end(record.supervisor, grace_s=timeout_s)
        server = (read_record(folder) or record).server
        if server is not None and not wait_gone(server, 1.0):
            gone = end(server, grace_s=0.0) and gone
        if not gone:
            raise PreconditionError(f"the processes of {name} do not end", hint=f"look at pid {record.supervisor.pid}")
        with contextlib.suppress(FileNotFoundError):
            (folder / RECORD_FILE).unlink()
        return True

    def state(self, name: str) -> ServerState:
        """Return the state as the kernel and the record show it; `missing` without a record."""
        record = _settled(self._folder(name))
        return _state(record) if record else ServerState(name=name, runtime="process", status="missing")

    def states(self) -> tuple[ServerState, ...]:
        """Return every recorded deployment, sorted by name."""
        folders = sorted(self._home.deployments.glob(f"*/process/{RECORD_FILE}"))
        records = (_settled(path.parent) for path in folders)
        return tuple(_state(record) for record in records if record)

    def execute(self, name: str, argv: Sequence[str], on_line: OnLine, timeout_s: float) -> Completed:
        """Raises PreconditionError: no engine that runs as a process needs it."""
        raise PreconditionError(
            f"{checked_name(name)} runs as a process: {argv[0]} cannot be run in it", hint="use --runtime compose"
        )

    def logs(self, name: str, *, tail: int | None, follow: bool, since: datetime | None, on_line: OnLine) -> None:
        """Hand over the log; `follow` ends when the supervisor has."""
        folder = self._folder(name)

        def is_alive() -> bool:
            record = read_record(folder)
            return record is not None and alive(record.supervisor)

        show(folder / LOG_FILE, on_line, tail=tail, since=since, is_alive=is_alive if follow else None)

    def _folder(self, name: str) -> Path:
        return self._home.deployments / checked_name(name) / "process"


def _settled(folder: Path) -> ProcessRecord | None:
    """The record, where an end that the kernel shows already has been written down too.

    A supervisor that is gone wrote its last word before it went, and one whose server has just ended is about to.
    """
    deadline = time.monotonic() + _NOTED_WITHIN_S
    while True:
        record = read_record(folder)
        if record is None or (record.status == "exited" and record.server is None):
            return record
        if not alive(record.supervisor):
            return read_record(folder)
        if record.server is None or alive(record.server) or time.monotonic() >= deadline:
            return record
        time.sleep(_LOOK_AGAIN_S)


def _state(record: ProcessRecord) -> ServerState:
    supervised = alive(record.supervisor)
    status, detail = record.status, record.detail
    if not supervised and status != "exited":
        status, detail = "exited", _why_gone(record)
    elif status == "running" and not alive(record.server):
        status = "restarting"
    return ServerState(
        name=record.name,
        runtime="process",
        status=status,
        pid=record.server.pid if record.server and status == "running" else None,
        started_at=record.started_at,
        restarts=record.restarts,
        exit_code=record.exit_codes[-1] if record.exit_codes else None,
        oom_killed=record.oom_killed,
        plan_hash=record.plan_hash,
        detail=detail,
    )


def _why_gone(record: ProcessRecord) -> str:
    me = identify(os.getpid())
    if me is not None and me.boot_id != record.supervisor.boot_id:
        return "the host was restarted since"
    return "the supervisor was killed"


def _check(done: Completed) -> None:
    if done.returncode == 0:
        return
    said = escape(done.stderr.strip().rpartition("\n")[2]) or f"exit status {done.returncode}"
    if done.returncode == BadInputError.exit_code:
        raise BadInputError(said, hint="render the plan again")
    if done.returncode in {3, 5}:
        raise PreconditionError(said, hint="deployer probe")
    raise StartError(f"the supervisor did not start: {said}", details={"cause": said, "log_tail": []})
