"""All suites that were asked for, one after the other, with a look at memory and processors meanwhile."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeAlias

import msgspec

from deployer.bench import marks, memory
from deployer.bench.batch import batch
from deployer.bench.latency import latency
from deployer.bench.prompt_length import prompt_length
from deployer.bench.reply import Ask
from deployer.bench.session import Session
from deployer.bench.users import users
from deployer.types import DeviceMemory, Processor
from deployer.types.benchmark import BenchLoad, BenchMark, BenchResults, FirstRequest, MemoryResult, Suite

Step: TypeAlias = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""Announces a step, and yields what replaces its text at the end."""

LOADS: dict[Suite, Callable[[Session, Callable[[Any], None]], None]] = {
    "latency": latency,
    "batch": batch,
    "prompt": prompt_length,
    "users": users,
}
"""What asks the server, in this order."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What can be seen of the server beside its answers. `why`: why its memory cannot (`look` None)."""

    look: Callable[[], memory.Reading] | None = None
    why: str = "not seen from here: deployer does not run this server"
    predicted: tuple[DeviceMemory, ...] = ()
    prompt_cache_mib: int = 0
    processor: Callable[[], Processor | None] = lambda: None


class Measured:
    """What is known so far: whoever is interrupted still has it."""

    def __init__(self) -> None:
        self.first: FirstRequest | None = None
        self.results = BenchResults()
        self.seen_marks: tuple[BenchMark, ...] = ()

    def keep(self, suite: Suite, result: object) -> None:
        """One more result."""
        self.results = msgspec.structs.replace(self.results, **{suite: result})

    def marks(self, load: BenchLoad) -> tuple[BenchMark, ...]:
        """Everything that speaks against a figure."""
        return (*marks.marks(load, self.results), *self.seen_marks)


def run(
    measured: Measured, load: BenchLoad, ask: Ask, watch: Watch, *, step: Step, tell: Callable[[str], None]
) -> None:
    """Warm up, then every suite within its time. Fills `measured` as it goes; what a server does wrong is counted.

    Where the first request fails, nothing else is tried: `measured.first.error` says why.
    """
    session = Session(load, ask, tell=tell)
    with _sampling(measured, load, watch) as enter:
        with step("warm-up: the first request, and how the server counts tokens") as outcome:
            enter("warm-up")
            measured.first, _ = session.warm_up()
            if measured.first.error is not None:
                outcome(f"warm-up failed: {measured.first.error}")
                return
            outcome(f"warm-up: first token of the first request after {measured.first.ttft_s or 0:.3g} s")
        enter(memory.WARM)
        for suite, suite_runs in LOADS.items():
            if suite in load.suites:
                enter(suite)
                with step(suite) as outcome, _processors(measured, suite, watch):
                    suite_runs(session, partial(measured.keep, suite))
                    outcome(_said(measured, suite))


def _said(measured: Measured, suite: Suite) -> str:
    """One line about a suite that has ended."""
    found = marks.tallies(measured.results, suite)
    answered, failed = sum(one.answered for one in found), sum(one.failed for one in found)
    return f"{suite}: {answered} answers" + (f", {failed} requests failed" if failed else "")


@contextlib.contextmanager
def _sampling(measured: Measured, load: BenchLoad, watch: Watch) -> Iterator[Callable[[str], None]]:
    """Look at the memory meanwhile; the yielded function names what happens from now on."""
    if "memory" not in load.suites:
        yield lambda _: None
        return
    if watch.look is None:
        measured.keep("memory", MemoryResult(why=watch.why))
        yield lambda _: None
        return
    sampler = memory.Sampler(watch.look)

    def enter(phase: str) -> None:
        sampler.phase = phase
        sampler.now()

    try:
        with sampler:
            yield enter
    finally:
        measured.keep("memory", memory.result(sampler.seen, watch.predicted, memory.EVERY_S, watch.prompt_cache_mib))


@contextlib.contextmanager
def _processors(measured: Measured, suite: Suite, watch: Watch) -> Iterator[None]:
    """Mark a suite in which others, or this program itself, used the processors."""
    before, own_s, began_s = watch.processor(), time.process_time(), time.monotonic()
    yield
    after, spent_s = watch.processor(), time.process_time() - own_s
    seconds = max(time.monotonic() - began_s, 1e-9)
    others = 0.0
    if before is not None and after is not None and after.at_s > before.at_s:
        others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s) - spent_s
        others = others_s / ((after.at_s - before.at_s) * max(after.processors, 1))
    measured.seen_marks += marks.busy(suite, others, spent_s / seconds)
