"""The least speed at which a server counts as healthy, from what the plan predicted."""

import msgspec

from deployer.health.answers import Answering
from deployer.types import Plan, Processor

TOKEN_S = 0.005
"""Seconds that a token takes beside reading the weights (kernel launches, sampling, HTTP), taken generously: without it
a very small model on a fast GPU would be predicted thousands of tokens a second, which nobody reaches."""

PART = 20
"""A server that is twenty times slower than predicted is broken, whatever the reason."""

PART_UNPROVED = 10
"""Where nothing else proves that the GPU is used. Main memory is 10 to 100 times slower than a GPU's (decide/speed.py),
so for a model of some size this lies above what a CPU reaches."""


OTHERS = 0.25
"""Part of the machine's processors that other programs may use before a slow answer says nothing about the server:
llama-server, whose threads wait for each other without sleeping, falls from 138 tokens a second to less than 2 beside
other work that would take all processors (measured on 2 cores with SmolLM2-135M)."""

HELD_BACK = 0.5
"""Part of the time that the server's own limit of processors may hold it back before that is the cause."""


CRAWL = 0.5
"""Part of the floor below which an answer is not waited for to its end."""

CRAWL_AFTER_S = 10.0
"""Seconds after its first piece, in which a server that compiles something at its first answer may stand still."""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a second, and how that was found in words."""

    tokens_per_s: float
    basis: str


def speed_floor(plan: Plan, *, proved: bool) -> Floor | None:
    """The floor of a plan; None where it predicts no speed. `proved`: everything else showed that its GPUs are used."""
    predicted = plan.speed.decode_tokens_per_s
    if not predicted or predicted <= 0:
        return None
    reachable = 1 / (1 / predicted + TOKEN_S)
    part = PART if proved or not plan.devices else PART_UNPROVED
    basis = f"1/{part} of the {reachable:.3g} that {predicted:g} predicted and {TOKEN_S * 1000:g} ms a token leave"
    return Floor(tokens_per_s=reachable / part, basis=basis)


def crawls(plan: Plan, answering: Answering) -> bool:
    """True once an answer has come so slowly that nothing after it could lift it to the floor in time."""
    floor = speed_floor(plan, proved=True)
    if floor is None or len(answering.arrived_s) == 0:
        return False
    seconds = (answering.last_s or 0.0) - answering.arrived_s[0]
    return seconds >= CRAWL_AFTER_S and len(answering.arrived_s) < CRAWL * floor.tokens_per_s * seconds


def excuse(before: Processor | None, after: Processor | None) -> str | None:
    """Why a slow answer between two readings says nothing about the server: other programs used the processors.

    None where they did not, where it was the server's own limit that held it back, or where nobody knows.
    """
    if before is None or after is None:
        return None
    seconds = after.at_s - before.at_s
    if seconds <= 0 or held_back(before, after):
        return None
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    share = others / (seconds * max(after.processors, 1))
    return f"other programs used {share:.0%} of the processors meanwhile" if share >= OTHERS else None


def held_back(before: Processor | None, after: Processor | None) -> str | None:
    """The sentence about a limit of processors (cgroup) that held the server back most of the time; None without."""
    if before is None or after is None or before.throttled_s is None or after.throttled_s is None:
        return None
    share = (after.throttled_s - before.throttled_s) / max(after.at_s - before.at_s, 1e-9)
    return "its limit of processors held it back most of the time" if share >= HELD_BACK else None
