"""`bench`: the five measurements of a live server, and the comparison of all runs in a folder."""

import os
import time
from functools import partial
from pathlib import Path

import msgspec

from deployer import bench, health, ledger
from deployer.errors import BadInputError, DeployerError, InterruptedByUserError, VerificationError
from deployer.paths import is_special
from deployer.types import FORMAT_VERSION
from deployer.types.benchmark import BenchLoad, BenchRun
from deployer.workflow import bench_record, bench_watch
from deployer.workflow.asking import Asking
from deployer.workflow.bench_record import Wish
from deployer.workflow.bench_subject import Subject, subject
from deployer.workflow.report import Reporter, timed

__all__ = ["Subject", "Wish", "ensure_report", "measure", "report", "subject"]

REQUEST_TIMEOUT_S = 3600.0
"""No limit of its own: that of the suite is always shorter."""
_MOST_BYTES = 4 * 1024 * 1024
_RUNS = "run-*.json"


def measure(found: Subject, wish: Wish, reporter: Reporter) -> tuple[BenchRun, DeployerError | None]:
    """Measure, and return the run; when interrupted, or when nothing can be measured, with the error."""
    began_s, measured, load = time.monotonic(), bench.Measured(), bench_record.load(found, wish)
    asking = Asking(
        lambda: health.Client(found.target.base_url, found.target.key, timeout_s=REQUEST_TIMEOUT_S), found.model
    )
    run = msgspec.structs.replace(bench_record.record(found, load), marks=bench_watch.strangers(found))
    error = _run(found, load, asking, measured, reporter)
    return bench_record.ended(
        run,
        measured,
        msgspec.structs.replace(load, fixed_by=asking.fixed_by),
        took_s=time.monotonic() - began_s,
        error=error,
    ), error


def _run(
    found: Subject, load: BenchLoad, asking: Asking, measured: bench.Measured, reporter: Reporter
) -> DeployerError | None:
    """Fill `measured`; what ended it early is returned."""
    watch = bench_watch.watch(found)
    try:
        bench.run(measured, load, asking, watch, step=partial(timed, reporter), tell=reporter.detail)
    except KeyboardInterrupt:
        return InterruptedByUserError("interrupted: what was measured until then is shown")
    except InterruptedByUserError as error:
        return error
    return _nothing(measured, found)


def _nothing(measured: bench.Measured, found: Subject) -> DeployerError | None:
    """An error where not one answer could be measured."""
    why = None if measured.first is None else measured.first.error
    if why is None:
        return None
    hint = f"deployer logs {found.words}" if found.plan is not None else f"deployer check {found.words}"
    return VerificationError(f"nothing could be measured: {why}", hint=hint)


def ensure_report(folder: Path) -> None:
    """Make the folder of a report now: an hour of measuring must not end at a disk that refuses.

    Raises BadInputError for what is no folder, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(f"--report {folder}: {reason}", hint="name a folder that you may write") from error


def report(folder: Path, run: BenchRun, reporter: Reporter) -> tuple[Path, ...]:
    """Add this run to a folder, and write the comparison of all runs in it again; returns what was written.

    What cannot be read there is left out, and said. Raises StateError when it cannot be written.
    """
    files = {bench.run_file_name(run): bench.run_file(run)}
    runs = [one for one in _runs(folder, reporter) if one.id != run.id]
    files |= bench.bundle([*runs, run])
    for name, text in files.items():
        ledger.atomic_write(folder / name, text.encode(), mode=0o644)
    return tuple(folder / name for name in files)


def _runs(folder: Path, reporter: Reporter) -> list[BenchRun]:
    """Every run of the folder, by name, which begins with its date."""
    found = []
    for path in sorted(folder.glob(_RUNS)):
        try:
            found.append(_read(path))
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            reporter.note(f"{path} is left out of the report: {error}")
    return found


def _read(path: Path) -> BenchRun:
    if is_special(path):
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
    run = msgspec.json.decode(data, type=BenchRun)
    if run.format_version > FORMAT_VERSION:
        raise ValueError(f"it has format version {run.format_version}; this deployer reads up to {FORMAT_VERSION}")
    return run
