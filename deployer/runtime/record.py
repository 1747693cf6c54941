"""What a supervisor writes of itself, so that any later command can find and judge it."""

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, PreconditionError
from deployer.runtime.identity import Identity
from deployer.types import FORMAT_VERSION, ServerStatus, Value

RECORD_FILE = "supervisor.json"
LOG_FILE = "server.log"
LOCK_FILE = "supervisor.lock"
SPEC_FILE = "process.json"
_LARGEST_BYTES = 1_000_000


class ProcessSpec(Value, frozen=True, kw_only=True):
    """`process.json` of a release folder: what to run. It never holds a secret, only the name of a key file.

    The key goes into the environment of the server alone where `key_variable` names a place for it, and never into its
    log.
    """

    argv: tuple[str, ...]
    environment: dict[str, str] = {}
    key_file: str = ""
    key_variable: str | None = None


class ProcessRecord(Value, frozen=True, kw_only=True):
    """`supervisor.json`: who supervises, who serves, and what has happened."""

    format_version: int = FORMAT_VERSION
    name: str
    plan_hash: str
    folder: str
    supervisor: Identity
    server: Identity | None = None
    status: ServerStatus = "starting"
    started_at: str | None = None
    restarts: int = 0
    exit_codes: tuple[int, ...] = ()
    oom_killed: bool | None = None
    detail: str | None = None


def read_spec(folder: Path) -> ProcessSpec:
    """Read `process.json`; raises BadInputError naming the file and the wrong field."""
    path = folder / SPEC_FILE
    try:
        spec = msgspec.json.decode(_bounded(path), type=ProcessSpec)
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}", hint="render the plan again") from error
    except msgspec.MsgspecError as error:
        raise BadInputError(f"{path}: {error}", hint="render the plan again") from error
    if not spec.argv:
        raise BadInputError(f"{path}: `argv` is empty", hint="render the plan again")
    return spec


def read_record(folder: Path) -> ProcessRecord | None:
    """Read `supervisor.json`; None when there is none or it cannot be read as one.

    Raises PreconditionError where this user may not read it: whether a server runs is then not known.
    """
    try:
        return msgspec.json.decode(_bounded(folder / RECORD_FILE), type=ProcessRecord)
    except PermissionError as error:
        hint = "run the command as the user who started it (sudo for root)"
        raise PreconditionError(f"{folder / RECORD_FILE}: this user may not read it", hint=hint) from error
    except (OSError, msgspec.MsgspecError):
        return None


def write_record(folder: Path, record: ProcessRecord) -> None:
    """Replace `supervisor.json` in one step: temporary file, fsync, rename, fsync of the folder."""
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".supervisor-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(folder / RECORD_FILE)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST_BYTES)
