"""Start the files of one release and hold the server to the health gate."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from deployer import catalog, health, ledger
from deployer.errors import StartError
from deployer.paths import Home
from deployer.runtime import RUNTIMES, Runtime, processor
from deployer.types import Gpu, HealthReport, Plan, Release
from deployer.workflow import gpu_use, running
from deployer.workflow.report import Reporter, timed
from deployer.workflow.setting_up import set_up

LOG_TAIL = 30
LOG_READ = 400


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to bring up. `timeout_s` bounds the wait for readiness; None takes it from the bytes to load."""

    timeout_s: float | None = None
    allow_build: bool = True


def serve(plan: Plan, release: Release, home: Home, options: Options, report: Reporter) -> HealthReport:
    """Start a release and wait until it has proved itself. Raises StartError with the cause from its own log."""
    runtime, before, since = RUNTIMES[plan.runtime](home), gpu_use.gpus(plan), _log_begins(plan)
    with timed(report, f"start {plan.engine} with {plan.runtime}"):
        runtime.start(plan, ledger.folder(home, release), report.detail)
    with timed(report, "wait until it answers") as outcome:
        try:
            found = _gate(plan, home, options, report, before)
        except StartError as error:
            raise _explained(error, plan, home, since) from error
        outcome(f"healthy: ready after {found.ready_after_s:.1f} s, {len(found.checks)} checks passed")
    return found


def _gate(plan: Plan, home: Home, options: Options, report: Reporter, before: Mapping[str, Gpu]) -> HealthReport:
    runtime = RUNTIMES[plan.runtime](home)
    key = ledger.read_key(home, plan.name)
    timeout_s = options.timeout_s or plan.start_period_s
    return health.gate(
        plan,
        key,
        lambda: runtime.state(plan.name),
        report.detail,
        timeout_s=timeout_s,
        last_line=lambda: _last_line(plan, home),
        evidence=lambda: gpu_use.evidence(plan, home, before),
        processor=lambda: processor(runtime.state(plan.name)),
        prepare=(lambda: set_up(plan, home, report, timeout_s)) if plan.setup else None,
        last_words=_last_words(plan, runtime),
    )


def _last_words(plan: Plan, runtime: Runtime) -> health.LastWords:
    """What ends the wait for a server that says that it cannot start."""

    def read(since: datetime) -> list[str]:
        lines: list[str] = []
        runtime.logs(plan.name, tail=LOG_READ, follow=False, since=since, on_line=lines.append)
        return lines

    return health.LastWords(read, catalog.load_engine(plan.engine).failures)


def _log_begins(plan: Plan) -> datetime | None:
    """From when on the log is that of the server about to start; None: all of it (a container has its own)."""
    return datetime.now(UTC) - timedelta(seconds=1) if plan.runtime == "process" else None


def _sentence(found: health.Diagnosis) -> str:
    cause = found.cause.rstrip(".")
    return f"{cause} ({found.evidence})" if found.evidence else cause


def _last_line(plan: Plan, home: Home) -> str | None:
    lines: list[str] = []
    running.logs(plan, home, tail=1, follow=False, on_line=lines.append)
    return lines[-1] if lines else None


def _explained(error: StartError, plan: Plan, home: Home, since: datetime | None) -> StartError:
    """The same failure, with the cause named from the engine's own log, and its last lines."""
    lines: list[str] = []
    running.logs(plan, home, tail=LOG_READ, follow=False, since=since, on_line=lines.append)
    state = running.state(home, plan)
    signatures = catalog.load_engine(plan.engine).failures
    found = health.diagnose("\n".join(lines), state.exit_code, state.oom_killed, signatures)
    return StartError(
        _sentence(found) if found.known else error.message,
        hint=found.hint if found.known else error.hint,
        details={
            **error.details,
            "observed": error.message,
            "log_tail": lines[-LOG_TAIL:],
            "container_exit_code": state.exit_code,
        },
    )
