"""The gate: a started server is healthy only after it has really answered, and held."""

import time
from collections.abc import Callable

import msgspec

from deployer.errors import StartError
from deployer.health.answers import ProtocolError
from deployer.health.client import Client
from deployer.health.probes import Probe, probes
from deployer.health.watch import Watch
from deployer.types import Check, HealthReport, Plan, ServerState

OnStep = Callable[[str], None]
POLL_S = 0.05
POLL_TIMEOUT_S = 1.0
HOLD_S = 4.0
SAY_EVERY_S = 5.0
_SETTLE_S = 1.0
_OK = 200


def gate(
    plan: Plan,
    key: str | None,
    watch: Callable[[], ServerState],
    on_step: OnStep,
    timeout_s: float,
    *,
    last_line: Callable[[], str | None] | None = None,
    answer_timeout_s: float = 120.0,
) -> HealthReport:
    """Wait until the server is ready, prove that it serves, and hold; times are seconds of a monotonic clock.

    `timeout_s` bounds the wait for readiness, `answer_timeout_s` each proof after it: slow hosts answer slowly.

    `watch` asks the runtime; it is called about every 0.4 s from a second thread. `last_line` gives the engine's own
    last log line, told to `on_step` every 5 s while loading. Raises StartError; its `details` hold `cause`, `check`,
    `checks`, `container_exit_code` and `oom_killed`.
    """
    with Watch(watch) as watched:
        passage = _Passage(plan, key, watched, on_step, timeout_s)
        passage.wait(last_line)
        return passage.prove(answer_timeout_s)


def server_url(plan: Plan) -> str:
    """Return where the server is reached from this machine: a wildcard address stands for loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(plan.address, plan.address)  # noqa: S104
    return f"http://[{host}]:{plan.port}" if ":" in host else f"http://{host}:{plan.port}"


class _Passage:
    """One run through the gate: what is checked, what has passed, and until when."""

    def __init__(self, plan: Plan, key: str | None, watched: Watch, on_step: OnStep, timeout_s: float) -> None:
        self._plan, self._key, self._watched, self._on_step = plan, key, watched, on_step
        self._began = time.monotonic()
        self._timeout_s = timeout_s
        self._checks: list[Check] = []
        self._speed: float | None = None
        self._prompt_speed = plan.speed.prompt_tokens_per_s

    def prove(self, answer_timeout_s: float) -> HealthReport:
        """Run every proof on the ready server, and hold."""
        ready_at = time.monotonic()
        ready_after_s = ready_at - self._began
        self._pass("ready", f"{self._plan.health.path} answered 200", ready_after_s)
        self._on_step(f"ready after {ready_after_s:.1f} s")
        for probe in probes(self._plan, self._key):
            self._run(probe, answer_timeout_s)
        self._hold(ready_at)
        speed = None if self._speed is None else round(self._speed, 1)
        return HealthReport(ready_after_s=round(ready_after_s, 3), checks=tuple(self._checks), tokens_per_s=speed)

    def wait(self, last_line: Callable[[], str | None] | None) -> None:
        """Poll the health path until it answers 200."""
        client = Client(server_url(self._plan), self._key)
        say_at, last = self._began + SAY_EVERY_S, "nothing answered"
        while True:
            try:
                status = client.health(self._plan.health.path, timeout_s=self._poll_timeout_s())
                if status == _OK:
                    return
                last = f"it answered HTTP {status}"
            except ProtocolError as error:
                last = error.message
            if self._watched.fallen(POLL_S):
                raise self._failed("ready", last)
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + SAY_EVERY_S
                self._on_step(self._loading(last_line() if last_line else None))
            if self._left_s() <= 0:
                raise self._failed("ready", f"it was not ready within {self._timeout_s:g} s; last: {last}")

    def _loading(self, line: str | None) -> str:
        said = f": {line.strip()[:160]}" if line and line.strip() else ""
        return f"loading since {time.monotonic() - self._began:.0f} s{said}"

    def _run(self, probe: Probe, timeout_s: float) -> None:
        if self._watched.fallen():
            raise self._failed(probe.name, "")
        began = time.monotonic()
        try:
            finding = probe.run(Client(server_url(self._plan), self._key, timeout_s=timeout_s), self._prompt_speed)
        except ProtocolError as error:
            self._watched.fallen(_SETTLE_S if error.refused else 0.0)
            raise self._failed(probe.name, error.message) from error
        self._pass(probe.name, finding.detail, time.monotonic() - began)
        self._on_step(f"{probe.name}: {finding.detail}")
        self._speed = finding.tokens_per_s or self._speed
        self._prompt_speed = finding.prompt_tokens_per_s or self._prompt_speed

    def _hold(self, ready_at: float) -> None:
        """At least one second without a restart, overlapped with the probes."""
        self._watched.fallen(max(ready_at + HOLD_S - time.monotonic(), 0.0))
        if self._watched.look_now():
            raise self._failed("hold", "")
        held_s = time.monotonic() - ready_at
        self._pass("hold", f"{held_s:.1f} s without a restart", held_s)

    def _pass(self, name: str, detail: str, seconds: float) -> None:
        self._checks.append(Check(name=name, passed=True, detail=detail, seconds=round(seconds, 3)))

    def _failed(self, name: str, why: str) -> StartError:
        """The runtime's word (it died) goes before what a request saw."""
        cause = self._watched.cause or why
        spent = round(time.monotonic() - self._began, 3)
        checks = (*self._checks, Check(name=name, passed=False, detail=cause, seconds=spent))
        state = self._watched.state
        return StartError(
            f"{self._plan.name} did not become healthy ({name}): {cause}",
            hint=f"deployer logs {self._plan.name}",
            details={
                "cause": cause,
                "check": name,
                "checks": msgspec.to_builtins(checks),
                "container_exit_code": state.exit_code if state else None,
                "oom_killed": state.oom_killed if state else None,
                "log_tail": [],
            },
        )

    def _poll_timeout_s(self) -> float:
        return max(min(POLL_TIMEOUT_S, self._left_s()), POLL_S)

    def _left_s(self) -> float:
        return self._began + self._timeout_s - time.monotonic()
