"""Points for speed: how fast everybody is answered while all are busy, and how long the first token takes."""

import math

from deployer.decide.settings import Sizing
from deployer.decide.speed import about, per_user
from deployer.types import Request, ScorePart, SpeedEstimate, Workload

COMFORTABLE = 15.0
"""Tokens a second that a reader does not wait for. Half of it costs 12 points, twice as many give one. Below one token
a second each half costs 24, so that nobody waits longer for bits than they must."""

PROMPT_TOKENS: dict[Workload, int] = {"chat": 500, "agents": 4000, "batch": 1000, "embedding": 500}
"""A typical prompt; our choice."""

PATIENCE_S: dict[Workload, float] = {"chat": 2.0, "agents": 10.0, "batch": 30.0, "embedding": 2.0}
"""Seconds for which nobody minds to wait for the first token. Twice as long costs 3 points, up to 15; our choice."""

PROMPT_PER_ANSWER = 2.0
"""Tokens of prompts that are read for each token of an answer while all users are busy; our choice."""

_POINTS, _SLOWER_POINTS, _CRAWL_POINTS, _FASTER_POINTS = 30.0, 12.0, 12.0, 1.0
_WAIT_POINTS, _LONGEST_WAIT_POINTS = -3.0, -15.0
_CRAWLING, _DOUBLINGS = 0.01, 5.0
_UNKNOWN = 15.0


def speed_part(sizing: Sizing, speed: SpeedEstimate, request: Request) -> ScorePart:
    """Points for what each user has while all slots are busy. Where that is unknown, smaller models are faster."""
    slots, each = sizing.offer.slots, under_load(sizing, speed, request)
    if each is None:
        smaller = math.log2(1 + sizing.weights.layout.total_bytes / 1024**3)
        return ScorePart(part="speed", value=round(_UNKNOWN - smaller, 3), why=speed.basis)
    doublings = math.log2(max(each, _CRAWLING) / COMFORTABLE)
    points = _POINTS + (_SLOWER_POINTS if doublings < 0 else _FASTER_POINTS) * min(doublings, _DOUBLINGS)
    points += _CRAWL_POINTS * min(math.log2(max(each, _CRAWLING)), 0.0)
    enough = "" if request.workload == "embedding" else f"; {COMFORTABLE:.0f} are comfortable"
    return ScorePart(part="speed", value=round(points, 3), why=rate_words(each, slots, request) + enough)


def rate_words(each: float, slots: int, request: Request) -> str:
    """What `under_load` found, in words; the same wherever two are compared."""
    busy = f" each with {slots} users busy" if slots > 1 else ""
    what = "of a prompt" if request.workload == "embedding" else "with prompts read"
    return f"{about(each)} tokens/s{busy}, {what}"


def under_load(sizing: Sizing, speed: SpeedEstimate, request: Request) -> float | None:
    """Tokens a second of an answer that each user has while all slots are busy and every answer has its prompt read.

    For embeddings: tokens of a prompt. Every copy and every stage of a pipeline works on its own users.
    """
    settings, slots = sizing.settings, sizing.offer.slots
    together = -(-slots // (settings.data_parallel * settings.pipeline_parallel))
    alone, prompt = per_user(speed, slots), speed.prompt_tokens_per_s
    if alone is None or prompt is None:
        return None
    if request.workload == "embedding":
        return prompt / together
    return 1 / (1 / alone + together * PROMPT_PER_ANSWER / prompt)


def first_token_part(speed: SpeedEstimate, request: Request) -> ScorePart:
    """Points lost to waiting until there is something to read, for a typical prompt of this workload."""
    tokens, patience = PROMPT_TOKENS[request.workload], PATIENCE_S[request.workload]
    if not speed.prompt_tokens_per_s:
        return ScorePart(part="first-token", value=0.0, why=speed.basis)
    seconds = tokens / speed.prompt_tokens_per_s
    points = max(_WAIT_POINTS * max(math.log2(seconds / patience), 0.0), _LONGEST_WAIT_POINTS)
    until = (
        f"for a text of {tokens}" if request.workload == "embedding" else f"to the first token of an answer to {tokens}"
    )
    why = f"{about(seconds)} s {until}; nobody minds {patience:.0f}"
    return ScorePart(part="first-token", value=round(points + 0.0, 3), why=why)
