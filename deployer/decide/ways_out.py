"""What would fit instead of what was asked for: each setting of the request changed by itself, the others kept."""

from collections.abc import Callable, Iterator

import msgspec

from deployer.decide.choose import Considered, Ranked
from deployer.decide.room import Contender, Room, largest_of
from deployer.types import HostFacts, ModelSpec, Request

Again = Callable[[Request], Considered]
"""Considers another request on the same host."""

MOST_TRIED = 16
"""Candidates whose largest context is looked for: those that lack the least."""


def ways_out(
    request: Request, host: HostFacts, model: ModelSpec, considered: Considered, again: Again
) -> dict[str, object]:
    """By our word for the setting: the nearest value that would fit, alone. Empty where no single change helps."""
    return dict(_found(request, host, model, considered, again))


def together(request: Request, again: Again) -> dict[str, object]:
    """The settings of a plan in which everything that was asked for is free; empty where even that does not help."""
    asked = [name for name in _FREE if getattr(request, name) is not None]
    free = again(_without(request, *asked)) if len(asked) > 1 else None
    if free is None or not free.ranked:
        return {}
    return {name: _FREE[name](free) for name in asked}


def _found(
    request: Request, host: HostFacts, model: ModelSpec, considered: Considered, again: Again
) -> Iterator[tuple[str, object]]:
    near = sorted(considered.near, key=lambda item: item.shortage.missing_mib)[:MOST_TRIED]
    context = largest_of(
        Room(host, model, request, every_user=False), (Contender(item.candidate, item.weights) for item in near)
    )
    if context is not None:
        yield "context", context
    for name, read in _READERS.items():
        if getattr(request, name) is None:
            continue
        free = again(_without(request, name))
        if free.ranked:
            yield name, read(free)


def _without(request: Request, *names: str) -> Request:
    """The same, but with these free; without a number of slots it is one for each user."""
    users = max(request.users, request.slots or 1) if "slots" in names else request.users
    return msgspec.structs.replace(request, users=users, **dict.fromkeys(names))


def _quantization(free: Considered) -> object:
    """The best quantization that fits, not the fastest."""
    best = max(free.ranked, key=lambda ranked: (_quality(ranked), ranked.total))
    return best.option.candidate.variant.quantization


def _quality(ranked: Ranked) -> float:
    return next(part.value for part in ranked.parts if part.part == "quality")


def _context(free: Considered) -> object:
    return free.ranked[0].option.sizing.settings.context


def _form(free: Considered) -> object:
    return free.ranked[0].option.candidate.variant.quantization


def _gpus(free: Considered) -> object:
    return [device.gpu.index for device in free.ranked[0].option.candidate.devices]


def _kv_type(free: Considered) -> object:
    return free.ranked[0].option.sizing.settings.kv_cache_type


def _slots(free: Considered) -> object:
    return max(ranked.option.sizing.settings.slots for ranked in free.ranked)


def _slots_of_best(free: Considered) -> object:
    return free.ranked[0].option.sizing.settings.slots


_READERS: dict[str, Callable[[Considered], object]] = {
    "quantization": _quantization,
    "gpus": _gpus,
    "kv_type": _kv_type,
    "slots": _slots,
}

_FREE: dict[str, Callable[[Considered], object]] = {
    "context": _context,
    "quantization": _form,
    "gpus": _gpus,
    "kv_type": _kv_type,
    "slots": _slots_of_best,
}
"""All of one plan, so that they fit together."""
