"""What a plan gives up against the best that could be wished for, in the order of sacrifice, in words."""

from collections.abc import Iterator

from deployer.decide.candidates import describe
from deployer.decide.choose import Considered, Ranked
from deployer.decide.score_speed import rate_words, under_load
from deployer.types import Request


def given_up(considered: Considered, request: Request) -> tuple[str, ...]:
    """Everything that the winner gives up: its offer's steps, experts and layers in main memory, better weights."""
    best = considered.ranked[0]
    return (*best.option.sizing.offer.given_up, *_places(best), *_quantization(considered, request))


def _places(best: Ranked) -> Iterator[str]:
    sizing, devices = best.option.sizing, best.option.candidate.devices
    if sizing.settings.cpu_moe_layers:
        yield f"the experts of the first {sizing.settings.cpu_moe_layers} layers are in main memory"
    if devices and sizing.offloaded < sizing.layers:
        yield f"{sizing.layers - sizing.offloaded} of {sizing.layers} layers are in main memory, which is slower"


def _quantization(considered: Considered, request: Request) -> Iterator[str]:
    """The next better form of the model for the same engine: what it lacks, or why it was not taken."""
    best = considered.ranked[0]
    candidate = best.option.candidate
    if request.quantization is not None:
        return
    own = candidate.variant
    for other in considered.ranked[1:]:
        rival = other.option.candidate
        same = rival.engine.engine == candidate.engine.engine and rival.variant.format == own.format
        if same and _quality(other) > _quality(best):
            each = under_load(other.option.sizing, other.option.speed, request)
            rate = f", at {rate_words(each, other.option.sizing.offer.slots, request)}" if each is not None else ""
            yield (
                f"{own.quantization} instead of {rival.variant.quantization}, which fits on {describe(rival.devices)}"
                f"{rate} (--quant {rival.variant.quantization})"
            )
            return
    runs = {item.option.candidate.variant for item in considered.ranked}
    lacking = [
        item
        for item in considered.near
        if item.candidate.engine.engine == candidate.engine.engine
        and item.candidate.variant.format == own.format
        and item.candidate.variant not in runs
    ]
    if lacking:
        near = min(lacking, key=lambda item: item.shortage.missing_mib)
        name = near.candidate.variant.quantization
        yield f"{own.quantization} instead of {name}, which lacks {near.shortage.missing_mib} MiB"


def _quality(ranked: Ranked) -> float:
    return next(part.value for part in ranked.parts if part.part == "quality")
