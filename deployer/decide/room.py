"""How much room one candidate leaves at one context, and the largest context that still fits."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from deployer.decide import corrected_sizing
from deployer.decide.candidates import Candidate
from deployer.decide.corrected_sizing import NOTHING_LEARNED, learned_of
from deployer.decide.estimators import estimator
from deployer.decide.settings import Shortage, Sizing, wanted_slots
from deployer.decide.weights import Weights
from deployer.types import DeviceMemory, HostFacts, MemoryPlan, ModelSpec, Observation, Request
from deployer.types.fit import FitCell

MIB = 1024 * 1024
STEP, SMALLEST = 256, 256
"""Contexts are looked for in whole steps of KV cells (llama.cpp pads to 256)."""

LARGEST = 131072
"""Where the model does not say its own maximum."""


class Contender(msgspec.Struct, frozen=True):
    """A candidate that no rule refuses, whatever its memory."""

    candidate: Candidate
    weights: Weights
    verified: bool = False


class Room(msgspec.Struct, frozen=True):
    """One question, asked of many contenders and contexts.

    `every_user`: only what serves all users at once fits; else they may wait for each other, as in a plan.
    """

    host: HostFacts
    model: ModelSpec
    request: Request
    every_user: bool = True
    observations: tuple[Observation, ...] = ()

    def sized(self, contender: Contender, context: int) -> Sizing | Shortage:
        """The best that fits, or what is missing."""
        candidate = contender.candidate
        slots = wanted_slots(candidate, self.host, self.request) if self.every_user else self.request.slots
        asked = msgspec.structs.replace(self.request, context=context, slots=slots)
        learned = learned_of(candidate, self.model, self.observations) if self.observations else NOTHING_LEARNED
        about = (candidate, self.host, self.model, asked)
        found = corrected_sizing.size(
            estimator(candidate.engine), *about, weights=contender.weights, learned=learned.memory
        )
        return found if isinstance(found, Shortage) else found[0]

    def fits(self, contender: Contender, context: int) -> bool:
        """Whether it fits at all, also with layers or experts in main memory."""
        return not isinstance(self.sized(contender, context), Shortage)

    def cell(self, contender: Contender, context: int) -> FitCell:
        """One cell of the table."""
        found = self.sized(contender, context)
        if isinstance(found, Shortage):
            memory = MemoryPlan(devices=(found.device,))
            return FitCell(
                context=context, fits=False, room_mib=-found.missing_mib, slots=found.offer.slots, memory=memory
            )
        room = _room_mib(found)
        return FitCell(
            context=context,
            fits=None if room is None else True,
            room_mib=room,
            slots=found.settings.slots,
            gpu_layers=found.offloaded,
            layers=found.layers,
            cpu_moe_layers=found.settings.cpu_moe_layers,
            kv_cache_type=found.settings.kv_cache_type,
            memory=found.memory,
        )

    def largest_context(self, contender: Contender, known: Sequence[FitCell] = ()) -> int | None:
        """The largest context that fits, in whole steps, by bisection; None when not even the smallest does.

        `known` cells (of growing contexts) narrow the search.
        """
        last = self.model.architecture.context_max or LARGEST
        good = max((cell.context for cell in known if cell.fits is not False), default=0)
        bad = min((cell.context for cell in known if cell.fits is False), default=0)
        if good >= last or (not bad and self.fits(contender, last)):
            return last
        steps = range(good // STEP + 1, (bad or last) // STEP + 1)
        count = bisect_left(steps, 1, key=lambda step: not self.fits(contender, step * STEP))
        found = max(good, (steps.start + count - 1) * STEP)
        return found if found >= SMALLEST else None


def _room_mib(sizing: Sizing) -> int | None:
    """MiB that stay free on the fullest device; None where one is unknown. A pool counts with what it has to hold."""
    rooms = [_left(device, sizing) for device in sizing.memory.devices]
    known = [room for room in rooms if room is not None]
    return min(known) if known and len(known) == len(rooms) else None


def _left(device: DeviceMemory, sizing: Sizing) -> int | None:
    if device.available_mib is None:
        return None
    left = device.available_mib - device.total_mib - device.margin_mib
    if sizing.settings.kv_cache_mib is None or not device.kv_cache_mib:
        return left
    each = math.ceil(sizing.settings.slots / sizing.settings.data_parallel)
    return left + max(device.kv_cache_mib - math.ceil(sum(sizing.kv_bytes) * each / MIB), 0)


def largest_of(room: Room, contenders: Iterable[Contender]) -> int | None:
    """The largest context that fits on any of them."""
    found = (room.largest_context(contender) for contender in contenders)
    return max((context for context in found if context is not None), default=None)
