"""The gate: a started server is healthy only after it has really answered, and held."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from deployer.errors import StartError
from deployer.health.answers import ProtocolError
from deployer.health.client import Client
from deployer.health.gpu_use import Evidence, Verdict, verdicts
from deployer.health.probes import ANSWER, Finding, Probe, probes
from deployer.health.speed_floor import excuse, held_back, speed_floor
from deployer.health.watch import Watch
from deployer.types import Check, HealthReport, Plan, Processor, ServerState
from deployer.types.address import local_url

OnStep = Callable[[str], None]
POLL_S = 0.05
POLL_TIMEOUT_S = 1.0
PATIENCE_S = 8.0
"""A health path may compute a token before it answers (SGLang: a second on an idle CPU): after every poll that was too
short, the next one may take twice as long, up to this."""

HOLD_S = 4.0
SAY_EVERY_S = 5.0
_SETTLE_S = 1.0
_OK = 200

AGAIN = 2
AGAIN_WITHIN_S = 15.0
"""A slow answer is asked for twice more, but after one that took longer than this only once."""

_USE_GPU = "check the driver and the container's access to the GPU: deployer probe; or plan for the CPU: --gpus none"
_LIMITED = "give it more of the processors: see its `cpus` in the files of deployer render, and deployer probe"
_BUSY = "see what else uses the processor, and which limits hold here: deployer probe; then run it again"


def gate(
    plan: Plan,
    key: str | None,
    watch: Callable[[], ServerState],
    on_step: OnStep,
    timeout_s: float,
    *,
    last_line: Callable[[], str | None] | None = None,
    answer_timeout_s: float = 120.0,
    evidence: Callable[[], Evidence] | None = None,
    processor: Callable[[], Processor | None] | None = None,
    prepare: Callable[[], None] | None = None,
    last_words: Callable[[ServerState], str | None] | None = None,
) -> HealthReport:
    """Wait until the server is ready, prove that it serves, and hold; times are seconds of a monotonic clock.

    `timeout_s` bounds the wait for readiness, `answer_timeout_s` each proof after it: slow hosts answer slowly.

    `watch` asks the runtime; it is called about every 0.4 s from a second thread. `last_line` gives the engine's own
    last log line, told to `on_step` every 5 s while loading. `evidence` looks at GPUs, processes and log once it has
    answered; what it cannot tell counts as not measured, not as a failure. `processor` reads who uses the processors,
    for a slow answer beside other work says nothing. `prepare` is what has to be done once it answers, before it can
    serve. `last_words` (see `LastWords`) ends the wait for a server whose log says that it cannot start, though it
    goes on. Raises StartError; its `details` hold `cause`, `check`, `checks`, `container_exit_code` and `oom_killed`.
    """
    with Watch(watch, last_words) as watched:
        passage = _Passage(plan, key, watched, on_step, timeout_s)
        passage.wait(last_line)
        watched.ready()
        if prepare is not None:
            passage.prepare(prepare)
        return passage.prove(answer_timeout_s, evidence, processor)


def server_url(plan: Plan) -> str:
    """Return where the server is reached from this machine: a wildcard address stands for loopback."""
    return local_url(plan.address, plan.port)


def asking(client: Client) -> Callable[[str], Mapping[str, Any]]:
    """GET a path as JSON, where what does not answer is a LookupError with the reason."""

    def ask(path: str) -> Mapping[str, Any]:
        try:
            return client.get(path)
        except ProtocolError as error:
            raise LookupError(error.message) from error

    return ask


class _Passage:
    """One run through the gate: what is checked, what has passed, and until when."""

    def __init__(self, plan: Plan, key: str | None, watched: Watch, on_step: OnStep, timeout_s: float) -> None:
        self._plan, self._key, self._watched, self._on_step = plan, key, watched, on_step
        self._began = time.monotonic()
        self._timeout_s, self._poll_timeout = timeout_s, POLL_TIMEOUT_S
        self._checks: list[Check] = []
        self._speed: float | None = None
        self._prompt_speed = plan.speed.prompt_tokens_per_s
        self._read_speed: float | None = None
        self._last_answer: tuple[Probe, float] | None = None
        self._below = ""
        self._look: Callable[[], Processor | None] = lambda: None
        self._before: Processor | None = None

    def prove(
        self,
        answer_timeout_s: float,
        evidence: Callable[[], Evidence] | None,
        processor: Callable[[], Processor | None] | None,
    ) -> HealthReport:
        """Run every proof on the ready server, and hold.

        What a slow answer means is asked before the long prompt, which would not end in time on a server that computes
        elsewhere, and would say less.
        """
        ready_at = time.monotonic()
        ready_after_s = ready_at - self._began
        self._pass("ready", f"{self._plan.health.path} answered 200", ready_after_s)
        self._on_step(f"ready after {ready_after_s:.1f} s")
        if processor is not None:
            self._look, self._before = processor, processor()
        for probe in probes(self._plan, self._key):
            self._run(probe, answer_timeout_s)
            if probe.name == ANSWER:
                self._prove_copies(answer_timeout_s)
                proved = self._prove_use(evidence, answer_timeout_s)
                self._prove_speed(answer_timeout_s, proved=proved)
                self._below = ""
        self._hold(ready_at)
        return HealthReport(
            ready_after_s=round(ready_after_s, 3),
            checks=tuple(self._checks),
            tokens_per_s=None if self._speed is None else round(self._speed, 1),
            prompt_tokens_per_s=None if self._read_speed is None else round(self._read_speed, 1),
        )

    def prepare(self, steps: Callable[[], None]) -> None:
        """Let an engine be set up that answers and has no model yet. Raises StartError."""
        began = time.monotonic()
        try:
            steps()
        except StartError as error:
            self._watched.settled(_SETTLE_S)
            raise self._failed("setup", error.message, hint=error.hint) from error
        self._pass("setup", "the model is taken in", time.monotonic() - began)

    def wait(self, last_line: Callable[[], str | None] | None) -> None:
        """Poll the health path until it answers 200; that of each copy first, where there are several."""
        for path in dict.fromkeys((*self._plan.copy_paths, "")):
            self._wait_for(Client(server_url(self._plan) + path, self._key), last_line)

    def _wait_for(self, client: Client, last_line: Callable[[], str | None] | None) -> None:
        say_at, last = self._began + SAY_EVERY_S, "nothing answered"
        while True:
            try:
                status = client.health(self._plan.health.path, timeout_s=self._poll_timeout_s())
                if status == _OK:
                    return
                last = f"it answered HTTP {status}"
            except ProtocolError as error:
                last = error.message
                self._poll_timeout = POLL_TIMEOUT_S if error.refused else min(2 * self._poll_timeout, PATIENCE_S)
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
        began = time.monotonic()
        finding = self._finding(probe, timeout_s)
        spent = time.monotonic() - began
        self._pass(probe.name, finding.detail, spent)
        self._on_step(f"{probe.name}: {finding.detail}")
        if finding.tokens_per_s:
            self._speed, self._last_answer = finding.tokens_per_s, (probe, spent)
        self._read_speed = finding.prompt_tokens_per_s or self._read_speed
        self._prompt_speed = self._read_speed or self._prompt_speed

    def _prove_copies(self, timeout_s: float) -> None:
        """Every copy answers by itself; the slowest is the one whose speed counts, and which is asked again."""
        if self._plan.copies == 1:
            return
        probe = next(one for one in probes(self._plan, self._key) if one.name == ANSWER)
        slowest = (float("inf"), "")
        for number, below in enumerate(self._plan.copy_paths, start=1):
            self._below, began, name = below, time.monotonic(), f"copy {number}"
            found = self._finding(msgspec.structs.replace(probe, name=name), timeout_s)
            self._pass(name, found.detail, time.monotonic() - began)
            self._on_step(f"{name}: {found.detail}")
            slowest = min(slowest, (found.tokens_per_s or float("inf"), below))
        self._below, speed = slowest[1], slowest[0]
        self._speed = speed if speed < float("inf") else self._speed

    def _finding(self, probe: Probe, timeout_s: float) -> Finding:
        if self._watched.fallen():
            raise self._failed(probe.name, "")
        try:
            client = Client(server_url(self._plan) + self._below, self._key, timeout_s=timeout_s)
            return probe.run(client, self._prompt_speed)
        except ProtocolError as error:
            self._watched.settled(_SETTLE_S if error.refused else 0.0)
            why = held_back(self._before, self._look()) if error.timed_out else None
            said = f"{error.message}; {why}" if why else error.message
            raise self._failed(probe.name, said, hint=_LIMITED if why else "") from error

    def _prove_use(self, evidence: Callable[[], Evidence] | None, timeout_s: float) -> bool:
        """GPUs are used as planned. True when every look says so, False when one could not be taken."""
        if not self._plan.devices:
            return True
        began = time.monotonic()
        client = Client(server_url(self._plan), self._key, timeout_s=timeout_s)
        found = verdicts(self._plan, evidence() if evidence else Evidence(), asking(client))
        for verdict in found:
            self._judge(verdict, time.monotonic() - began)
        return all(verdict.used for verdict in found)

    def _judge(self, verdict: Verdict, seconds: float) -> None:
        if verdict.used is False:
            raise self._failed(verdict.name, f"{verdict.detail}: it computes on the CPU", hint=_USE_GPU)
        detail = verdict.detail if verdict.used else f"not measured: {verdict.detail}"
        self._pass(verdict.name, detail, seconds)
        self._on_step(f"{verdict.name}: {detail}")

    def _prove_speed(self, timeout_s: float, *, proved: bool) -> None:
        """Not slower than the floor; a first answer may compile something, so a slow one is asked for again."""
        if self._last_answer is None or self._speed is None:
            return
        began, floor = time.monotonic(), speed_floor(self._plan, proved=proved)
        if floor is None:
            self._pass("speed", f"{self._speed:.1f} tokens/s; no floor, for the plan predicts no speed", 0.0)
            return
        (probe, spent), asked = self._last_answer, 0
        while self._speed < floor.tokens_per_s and asked < (AGAIN if spent <= AGAIN_WITHIN_S else 1):
            self._on_step(f"speed: {self._speed:.1f} tokens/s, once more")
            self._speed = max(self._speed, self._finding(probe, timeout_s).tokens_per_s or 0.0)
            asked += 1
        said = f"{self._speed:.3g} tokens/s, the floor is {floor.tokens_per_s:.3g} ({floor.basis})"
        if self._speed < floor.tokens_per_s:
            said = self._too_slow(said)
        self._pass("speed", said, time.monotonic() - began)

    def _too_slow(self, said: str) -> str:
        """What excuses it; raises StartError when nothing does."""
        after = self._look()
        excused = excuse(self._before, after)
        if excused is not None:
            self._on_step(f"speed: {said}; {excused}")
            return f"not measured: {said}; {excused}"
        why = held_back(self._before, after)
        hint = _LIMITED if why else _USE_GPU if self._plan.devices else _BUSY
        raise self._failed("speed", f"too slow: {said}" + (f"; {why}" if why else ""), hint=hint)

    def _hold(self, ready_at: float) -> None:
        """At least one second without a restart, overlapped with the probes."""
        self._watched.fallen(max(ready_at + HOLD_S - time.monotonic(), 0.0))
        if self._watched.look_now():
            raise self._failed("hold", "")
        held_s = time.monotonic() - ready_at
        self._pass("hold", f"{held_s:.1f} s without a restart", held_s)

    def _pass(self, name: str, detail: str, seconds: float) -> None:
        self._checks.append(Check(name=name, passed=True, detail=detail, seconds=round(seconds, 3)))

    def _failed(self, name: str, why: str, *, hint: str = "") -> StartError:
        """The runtime's word (it died) goes before what a request saw."""
        cause = self._watched.cause or why
        spent = round(time.monotonic() - self._began, 3)
        checks = (*self._checks, Check(name=name, passed=False, detail=cause, seconds=spent))
        state = self._watched.state
        return StartError(
            f"{self._plan.name} did not become healthy ({name}): {cause}",
            hint=hint or f"deployer logs {self._plan.name}",
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
        return max(min(self._poll_timeout, self._left_s()), POLL_S)

    def _left_s(self) -> float:
        return self._began + self._timeout_s - time.monotonic()
