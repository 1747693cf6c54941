"""What was tried with one image of an engine, so that sets of GPUs which can only be worse are not sized. Pure."""

from collections.abc import Sequence

from deployer.decide.candidates import Candidate
from deployer.decide.copies import copies
from deployer.decide.device_sets import splits
from deployer.decide.score import MANY_USERS, Option
from deployer.decide.score_speed import COMFORTABLE, under_load
from deployer.decide.weights import Weights
from deployer.types import ImageProfile, ModelVariant, Request

_MIB = 1024 * 1024


class Tried:
    """Filled by `noted` in the order of the sets, the smallest first."""

    def __init__(self, image: ImageProfile, placements: Sequence[Candidate], request: Request) -> None:
        self._enough: dict[ModelVariant, list[set[int]]] = {}
        self._best: dict[ModelVariant, list[set[int]]] = {}
        self._too_small: set[tuple[ModelVariant, int]] = set()
        self._largest = max((_free_mib(placed) for placed in placements), default=0)
        self._ready, self._request = image.dockerfile is None, request

    def pointless(self, candidate: Candidate, weights: Weights) -> bool:
        """True where fewer GPUs gave all, one copy did not fit, or more GPUs would hold more of the layers."""
        if candidate.data_parallel > 1 and (candidate.variant, candidate.tensor_parallel) in self._too_small:
            return True
        if copies(candidate) > 1:
            return self._no_more_copies(candidate, weights)
        used = _indexes(candidate)
        if any(smaller < used for smaller in self._enough.get(candidate.variant, ())):
            return True
        if not used or not self._ready or "layer" not in splits(candidate.engine):
            return False
        free = _free_mib(candidate)
        return free < self._largest and free < weights.layout.total_bytes / _MIB

    def _no_more_copies(self, candidate: Candidate, weights: Weights) -> bool:
        """True where the GPUs are too small, a copy needs fewer, or with fewer GPUs everybody is served well."""
        used, variant, count = _indexes(candidate), candidate.variant, copies(candidate)
        layout, each = weights.layout, len(used) // count
        return (
            _free_mib(candidate) < count * (layout.total_bytes - layout.input_bytes) / _MIB
            or any(smaller < used and len(smaller) < each for smaller in self._enough.get(variant, ()))
            or any(smaller < used for smaller in self._best.get(variant, ()))
        )

    def noted(self, candidate: Candidate, found: list[Option]) -> list[Option]:
        """The options again, remembered for `pointless`."""
        whole = any(_whole(option) for option in found)
        if whole and self._ready and copies(candidate) == 1 and "layer" in splits(candidate.engine):
            self._enough.setdefault(candidate.variant, []).append(_indexes(candidate))
        if whole and candidate.engine.copies is not None and any(self._serves_well(option) for option in found):
            self._best.setdefault(candidate.variant, []).append(_indexes(candidate))
        if not found and candidate.pipeline_parallel == 1:
            self._too_small.add((candidate.variant, candidate.tensor_parallel))
        return found

    def _serves_well(self, option: Option) -> bool:
        """True where more copies cannot be worth their GPUs: a card costs the point that twice the speed gives.

        Only batches of many gain from any number.
        """
        request, each = self._request, under_load(option.sizing, option.speed, self._request)
        if request.workload == "batch" and request.users >= MANY_USERS:
            return False
        served = option.sizing.offer.slots >= request.users
        return _whole(option) and served and each is not None and each >= COMFORTABLE


def _indexes(candidate: Candidate) -> set[int]:
    return {device.gpu.index for device in candidate.devices}


def _free_mib(candidate: Candidate) -> int:
    """Free memory of the GPUs together; endless where it is not known of one."""
    known = [device.gpu.memory_free_mib for device in candidate.devices]
    return sum(size if size is not None else _MIB for size in known)


def _whole(option: Option) -> bool:
    """True where nothing was given up: with a layer split, more GPUs would only make it slower."""
    sizing = option.sizing
    return not sizing.offer.steps_down and sizing.offloaded == sizing.layers and not sizing.settings.cpu_moe_layers
