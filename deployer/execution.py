"""Other programs, run as argv with a time limit. Never a shell, and never an orphan left behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Timer

import msgspec


class Completed(msgspec.Struct, frozen=True):
    """What a finished program left: exit status (-signal when killed) and its text."""

    returncode: int
    stdout: str
    stderr: str
    timed_out: bool = False


def run(
    argv: Sequence[str], *, timeout_s: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Completed:
    """Run to the end and keep the output. A missing program gives status 127, a time-out 124; nothing is raised."""
    try:
        process = _start(argv, cwd=cwd, env=env, stderr=subprocess.PIPE)
    except OSError as error:
        return Completed(returncode=127, stdout="", stderr=str(error))
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        out, err = process.communicate()
        return Completed(returncode=124, stdout=out, stderr=err, timed_out=True)
    except BaseException:
        kill_group(process.pid)
        process.wait()
        raise
    return Completed(returncode=process.returncode, stdout=out, stderr=err)


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run and hand over each line (stdout and stderr together) as it comes; `stdout` of the result holds them all."""
    try:
        process = _start(argv, cwd=cwd, env=env, stderr=subprocess.STDOUT)
    except OSError as error:
        return Completed(returncode=127, stdout="", stderr=str(error))
    expired: list[bool] = []

    def expire() -> None:
        expired.append(True)
        kill_group(process.pid)

    timer = Timer(timeout_s, expire)
    timer.start()
    lines: list[str] = []
    try:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        for line in process.stdout:
            lines.append(line)
            on_line(line.rstrip("\n"))
        process.wait()
    except BaseException:
        kill_group(process.pid)
        process.wait()
        raise
    finally:
        timer.cancel()
        if process.stdout is not None:
            process.stdout.close()
    status = 124 if expired else process.returncode
    return Completed(returncode=status, stdout="".join(lines), stderr="", timed_out=bool(expired))


def kill_group(pid: int) -> None:
    """End a process started here, with all its children: SIGTERM would be ignored by some of them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _start(
    argv: Sequence[str], *, cwd: Path | None, env: Mapping[str, str] | None, stderr: int
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=None if env is None else {**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        start_new_session=True,
    )
