"""How fast it will about be, as ranges: every token reads the weights, and every user adds arithmetic. Pure.

A step gives each of n users one token. It takes, place after place (rates.py: what each reaches),

    begin + max(read(n), each * arithmetic) + each * arithmetic * (n - 1) + exchange * n

where read(n) is the weights once, of experts those that n users touch, and each user's conversation. The first user's
arithmetic hides behind reading; llama.cpp measured with 1 to 16 users shows that the others' does not. A prompt is read
in pieces: arithmetic for each token, behind which the weights are read once a piece.
"""

from collections.abc import Sequence

import msgspec

from deployer.decide.candidates import Candidate
from deployer.decide.rates import ALLOWANCE, KNOWN, MEASURED
from deployer.decide.settings import Sizing
from deployer.decide.steps import Place, places
from deployer.types import HostFacts, ModelSpec, SpeedEstimate

PIECE = 512
"""Tokens of a prompt that are read at once: llama-server's `--ubatch-size`; others take more, which changes little."""

EACH = {"slots": 2.5, "paged_kv": 1.0}
"""A token of a further user costs so many of a prompt: llama.cpp's kernels for few tokens reach less of the arithmetic.
RTX 3090, 8B Q4_0: 6.4, 7.2, 8.5, 13.7, 15.3 ms for 1, 2, 4, 8 and 16 users (llama.cpp#15802, #8278)."""

MEASURED_USERS = {"slots": 16, "paged_kv": 1}
"""With more users than these our sources have no measurement, so the range is wide."""


def estimate(candidate: Candidate, host: HostFacts, sizing: Sizing, model: ModelSpec) -> SpeedEstimate:
    """Tokens a second for one user, for all slots together and for reading prompts; None where unknown.

    Users share their copy of the model, and the stages of a pipeline work on as many groups of users.
    """
    found = places(candidate, host, sizing, model)
    if isinstance(found, str):
        return SpeedEstimate(prompt_tokens_per_s=None, decode_tokens_per_s=None, total_tokens_per_s=None, basis=found)
    slots, settings = sizing.offer.slots, sizing.settings
    together = -(-slots // (settings.data_parallel * settings.pipeline_parallel))
    kind = "paged_kv" if candidate.engine.memory == "paged_kv" else "slots"
    each, used, rates = EACH[kind], _used(sizing), [place.rate for place in found]
    reading, arithmetic = max([rate.reading for rate in rates]), max([rate.arithmetic for rate in rates])
    alone_s = step_seconds(found, 1, used, each=each)
    all_s = alone_s if together == 1 else step_seconds(found, together, used, each=each)
    made = SpeedEstimate(
        prompt_tokens_per_s=shown(1 / prompt_seconds(found)),
        decode_tokens_per_s=shown(1 / alone_s),
        total_tokens_per_s=shown(slots / all_s),
        basis=f"bytes and arithmetic of a token ({', '.join(dict.fromkeys([rate.told for rate in rates]))})",
    )
    crowded = ALLOWANCE if together > MEASURED_USERS[kind] else KNOWN
    return ranged(made, decode=reading, total=max(reading, arithmetic, crowded), prompt=arithmetic)


def step_seconds(found: Sequence[Place], users: int, used: float, *, each: float) -> float:
    """Seconds until each of `users` of one copy has a token: the formula above, of `used` experts for one token."""
    touched, seconds = 1 - (1 - used) ** users, 0.0
    for place in found:
        read = place.dense_s + place.experts_s * touched + place.cache_s * users
        one = each * place.arithmetic_s
        seconds += place.begin_s + max(read, one) + one * (users - 1) + place.exchange_s * users
    return seconds


def prompt_seconds(found: Sequence[Place]) -> float:
    """Seconds for each token of a long prompt, read in pieces; layers in main memory where it is done sooner."""
    seconds, fastest = 0.0, max([place.rate.operations_per_s for place in found])
    for place in found:
        read = (place.dense_s + place.experts_s) / PIECE
        here = place.begin_s / PIECE + max(place.arithmetic_s, read) + place.exchange_s
        there = place.upload_s / PIECE + place.arithmetic_s * place.rate.operations_per_s / fastest
        seconds += min(here, there) if place.upload_s else here
    return seconds


def ranged(speed: SpeedEstimate, *, decode: float, total: float, prompt: float) -> SpeedEstimate:
    """The estimate with its ranges: each number divided and multiplied by how far off it may be."""
    return msgspec.structs.replace(
        speed,
        decode_low=_times(speed.decode_tokens_per_s, 1 / decode),
        decode_high=_times(speed.decode_tokens_per_s, decode),
        total_low=_times(speed.total_tokens_per_s, 1 / total),
        total_high=_times(speed.total_tokens_per_s, total),
        prompt_low=_times(speed.prompt_tokens_per_s, 1 / prompt),
        prompt_high=_times(speed.prompt_tokens_per_s, prompt),
        evidence=_WORDS[decode],
    )


_WORDS = {
    MEASURED: "measured here",
    KNOWN: "cards of this kind were measured",
    ALLOWANCE: "nobody measured such a machine, so half to twice as many",
}


def corrected(
    formula: SpeedEstimate, factors: tuple[float, float], spreads: tuple[float | None, float | None], how: str
) -> SpeedEstimate:
    """The formula's numbers times what measurements say of (decode, prompt), with the ranges that follow.

    `spreads`: how far off a measured number may be; None where it was not measured, and the formula's range stays.
    """
    (factor, prompt_factor), (decode, prompt) = factors, spreads
    made = msgspec.structs.replace(
        formula,
        prompt_tokens_per_s=_times(formula.prompt_tokens_per_s, prompt_factor),
        decode_tokens_per_s=_times(formula.decode_tokens_per_s, factor),
        total_tokens_per_s=_times(formula.total_tokens_per_s, factor),
        basis=f"{formula.basis}; {how}",
        factor=factor,
        prompt_factor=prompt_factor,
    )
    was = _spread(formula.decode_tokens_per_s, formula.decode_high)
    total = _spread(formula.total_tokens_per_s, formula.total_high)
    found = ranged(
        made,
        decode=was if decode is None else decode,
        total=total if decode is None else min(max(decode, KNOWN), total),
        prompt=_spread(formula.prompt_tokens_per_s, formula.prompt_high) if prompt is None else prompt,
    )
    guessed = found.evidence == _WORDS[ALLOWANCE]
    return msgspec.structs.replace(found, evidence=_STILL_WIDE) if guessed else found


_STILL_WIDE = "half to twice as many are possible"
"""Where a measurement corrects the numbers, somebody measured the machine, but not yet enough."""


def _spread(middle: float | None, high: float | None) -> float:
    """Which of the three it was."""
    ratio = high / middle if middle and high else ALLOWANCE
    return min(_WORDS, key=lambda known: abs(known - ratio))


def shown(tokens_per_s: float) -> float:
    """One decimal, and two below one token a second."""
    return round(tokens_per_s, 1 if tokens_per_s >= 1 else 2)


def _times(tokens_per_s: float | None, factor: float) -> float | None:
    return None if tokens_per_s is None else shown(tokens_per_s * factor)


def about(number: float) -> str:
    """`about 45` or `about 0.45`: two digits, because more would be false."""
    return f"about {two_digits(number)}"


def two_digits(number: float) -> str:
    """`1500`, `45`, `4.5`, `0.45`."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:.0f}" if rounded.is_integer() else f"{rounded:g}"


def per_user(speed: SpeedEstimate, slots: int) -> float | None:
    """Tokens a second that each user sees when all slots are busy."""
    return None if speed.total_tokens_per_s is None else speed.total_tokens_per_s / slots


def _used(sizing: Sizing) -> float:
    share, active = sizing.weights.expert_share, sizing.weights.active_layer_share
    return max(active - (1 - share), 0.0) / share if share else 0.0
