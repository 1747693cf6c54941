"""`python -m deployer.runtime.supervisor`: check, detach, then supervise one server.

Exit status of the visible process: 0 when the detached one has taken over; 2, 3 and 5 as everywhere, with one line on
standard error.
"""

import argparse
import fcntl
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deployer.errors import DeployerError, LockedError, PreconditionError
from deployer.runtime.containment import confine, served_environment
from deployer.runtime.identity import identify
from deployer.runtime.journal import Journal
from deployer.runtime.record import LOCK_FILE, LOG_FILE, ProcessRecord, ProcessSpec, read_spec, write_record
from deployer.runtime.supervision import Supervision

EMBEDDED = "xllamacpp"


class Served(NamedTuple):
    """What is started, and what may not be in its log."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    key: bytes | None


def main(argv: Sequence[str] | None = None) -> int:
    """Supervise the server of a release folder in a process of its own."""
    arguments = _parse(argv)
    try:
        spec = read_spec(arguments.folder)
        served, key = command(spec), read_key(spec)
        lock = _lock(arguments.state)
    except DeployerError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1
    os.close(reader)
    try:
        _detach(arguments.state)
        status = _supervise(Served(served, environment(spec, key, os.environ), key), arguments, writer)
    finally:
        os.close(lock)
    return status


def command(spec: ProcessSpec) -> tuple[str, ...]:
    """Return the argv to execute: a program's absolute path, or this interpreter for the embedded engine.

    Raises PreconditionError when the program is not installed.
    """
    program, *flags = spec.argv
    if program == EMBEDDED:
        if importlib.util.find_spec(EMBEDDED) is None:
            raise PreconditionError("the Python package 'xllamacpp' is not installed", hint="install deployer[process]")
        return (sys.executable, "-P", "-m", "deployer.runtime.embedded", *flags)
    found = shutil.which(program)
    if found is None:
        raise PreconditionError(f"the program '{program}' is not on PATH", hint="install it, or use another runtime")
    return (str(Path(found).absolute()), *flags)


def read_key(spec: ProcessSpec) -> bytes | None:
    """Return the key of the server, None when it has none. Raises PreconditionError for a file that cannot be used."""
    if not spec.key_file:
        return None
    try:
        key = Path(spec.key_file).read_bytes().strip()
    except OSError as error:
        raise PreconditionError(f"the key file {spec.key_file}: {error.strerror}", hint="deployer up") from error
    if not key:
        raise PreconditionError(f"the key file {spec.key_file} is empty", hint="deployer up")
    return key


def environment(spec: ProcessSpec, key: bytes | None, own: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment, with the key where it takes it from there."""
    found = served_environment(spec.environment, own)
    return found if key is None or spec.key_variable is None else {**found, spec.key_variable: key.decode()}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deployer.runtime.supervisor", description=__doc__)
    parser.add_argument("folder", type=_absolute, help="release folder with process.json")
    parser.add_argument("--state", type=_absolute, required=True, help="folder for the record and the log")
    parser.add_argument("--name", required=True)
    parser.add_argument("--plan", default="", help="plan hash, for the record")
    return parser.parse_args(argv)


def _absolute(text: str) -> Path:
    """A path that stays true after the change of folder."""
    return Path(text).absolute()


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise LockedError(f"{folder} is supervised by another process") from error
    return lock


def _detach(folder: Path) -> None:
    """Leave the caller's session and terminal; a traceback of ours goes to the log."""
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    confine()


def _supervise(served: Served, arguments: argparse.Namespace, ready: int) -> int:
    me = identify(os.getpid())
    if me is None:
        raise PreconditionError("/proc does not show this process")
    record = ProcessRecord(name=arguments.name, plan_hash=arguments.plan, folder=str(arguments.folder), supervisor=me)
    write_record(Path.cwd(), record)
    os.write(ready, b"1")
    os.close(ready)
    log = Journal(Path.cwd() / LOG_FILE, secret=served.key)
    try:
        return Supervision(served.argv, served.environment, record=record, folder=Path.cwd(), log=log).run()
    finally:
        log.close()


if __name__ == "__main__":
    sys.exit(main())
