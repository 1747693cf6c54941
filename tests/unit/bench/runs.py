"""Replies, sessions and runs for tests."""

from collections.abc import Callable
from typing import Any

import msgspec

from deployer.bench.reply import Ask, Question, Reply, Stopped
from deployer.bench.session import Session
from deployer.bench.spread import rate, spread
from deployer.types.benchmark import (
    BenchLoad,
    BenchModel,
    BenchResults,
    BenchRun,
    LatencyResult,
    MemoryResult,
    MemoryRow,
    PromptPoint,
    PromptResult,
    Slo,
    Tally,
    UsersPoint,
    UsersResult,
)

SLO = Slo(ttft_ms=200, tpot_ms=50)


def reply(sent_s: float = 0.0, *, ttft_s: float = 0.05, gap_s: float = 0.01, pieces: int = 10, **changes: Any) -> Reply:
    """A good answer of one token a piece."""
    times = tuple(ttft_s + gap_s * number for number in range(pieces))
    made = Reply(
        sent_s=sent_s, pieces_s=times, last_s=times[-1], finished=True, prompt_tokens=128, output_tokens=pieces
    )
    return msgspec.structs.replace(made, **changes)


def load(**changes: Any) -> BenchLoad:
    made = BenchLoad(
        suites=("latency", "batch", "prompt", "memory", "users"),
        seconds=20,
        input_tokens=128,
        output_tokens=64,
        prompt_output_tokens=16,
        batch_at_once=4,
        users=4,
        slo=SLO,
        seed=7,
        context=2048,
    )
    return msgspec.structs.replace(made, **changes)


class Clock:
    """Time that passes only while a question is answered."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def reading(clock: Clock, *, prefill_per_s: float = 1000.0, decode_per_s: float = 100.0) -> Ask:
    """A server with a steady speed on that clock: one token a word, and what does not end in time is cut off."""

    def ask(question: Question, until_s: float, _: Stopped) -> Reply:
        sent_s, tokens = clock.now_s, len(question.text.split())
        ttft_s, made = tokens / prefill_per_s, question.output_tokens
        ends_s = sent_s + ttft_s + (made - 1) / decode_per_s
        clock.now_s = min(ends_s, until_s)
        if ends_s > until_s:
            return Reply(sent_s=sent_s, unfinished=True)
        answer = reply(sent_s, ttft_s=ttft_s, gap_s=1 / decode_per_s, pieces=made)
        return msgspec.structs.replace(answer, prompt_tokens=tokens)

    return ask


def session(ask: Callable[[Clock], Ask] = reading, **changes: Any) -> tuple[Session, Clock]:
    """A session on a clock of its own, warmed up."""
    clock = Clock()
    made = Session(load(**changes), ask(clock), clock=clock)
    made.warm_up()
    return made, clock


def run(number: int = 1, *, speed: float = 100.0, noise: float = 0.02, **changes: Any) -> BenchRun:
    """A run whose figures follow from one speed, with so much noise on each."""
    gaps = [(1 + noise * step) / speed for step in (-2, -1, 0, 1, 2) for _ in range(6)]
    latency = LatencyResult(
        took_s=10,
        tally=Tally(asked=30, answered=30),
        prompt_tokens=spread([128.0] * 30),
        output_tokens_min=64,
        output_tokens_max=64,
        ttft_s=spread(gap * 5 for gap in gaps),
        tpot_s=spread(gaps),
        itl_s=spread(gaps),
        e2e_s=spread(gap * 68 for gap in gaps),
        tokens_per_s=spread(1 / gap for gap in gaps),
        pieces_per_token=1.0,
    )
    point = UsersPoint(
        users=1,
        tally=Tally(asked=10, answered=10),
        window_s=5,
        cut=True,
        output_tokens_per_s=rate([speed * (1 + noise * step) for step in (-1, 0, 1)]),
        tokens_per_s_per_user=speed,
        requests_per_s=2,
        goodput_per_s=2,
        ttft_s=spread([0.05] * 10),
        tpot_s=spread(gaps),
    )
    length = PromptPoint(
        wanted_tokens=128,
        prompt_tokens=129,
        cached_tokens=20,
        tally=Tally(asked=10, answered=10),
        ttft_s=spread(gap * 5 for gap in gaps),
        prefill_tokens_per_s=spread(100 / gap for gap in gaps),
    )
    made = BenchRun(
        id=f"20261120T00000{number}Z-0000000{number}",
        date=f"2026-11-20T00:00:0{number}Z",
        deployer="0",
        definitions_version=1,
        name="demo",
        whose="url",
        base_url="http://127.0.0.1:8000",
        client="here",
        engine="llama.cpp",
        model=BenchModel(name="m"),
        load=load(),
        complete=True,
        took_s=60,
        results=BenchResults(
            latency=latency,
            prompt=PromptResult(took_s=5, points=(length,)),
            users=UsersResult(took_s=5, points=(point,)),
            memory=MemoryResult(
                samples=9,
                every_s=1,
                devices=(MemoryRow(device="host", idle_mib=300, peak_mib=340, peak_during="users"),),
            ),
        ),
    )
    return msgspec.structs.replace(made, **changes)
