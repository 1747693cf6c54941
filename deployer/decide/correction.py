"""What measurements on this host teach the next estimate of the same engine, image and class of models. Pure.

What a device really held beside the planned buffers replaces the fixed allowance; the buffers of the engine's own log
scale the compute buffer; the margin shrinks with agreeing measurements and grows with their spread. A corrected
estimate is never below what was measured, nor does it halve what the formulas say.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from deployer import __version__
from deployer.decide.rates import KNOWN, MEASURED
from deployer.types import Accelerator, DeviceMemory, Formula, MeasuredMemory, MemoryPlan, Observation

NEWEST = 8
"""So many of the newest measurements count."""

LEAST, MOST = 0.5, 2.0
"""A correction stays between these times the formula, in speed, compute buffers, allowance (its least) and margin."""

MARGIN_LEFT = {1: 1.0, 2: 0.75}
MARGIN_LEFT_LATER = 0.5
"""Part of the margin that is left after so many measurements; our choice. Their spread is added again."""

SAME_SIZE = 2.0
"""Models of one architecture are of one class when their parameters differ at most by this factor."""

LARGE = 1.25
"""A correction above this is worth a warning."""

HOST, OTHER_GPU = "host", "gpu"


class Subject(msgspec.Struct, frozen=True):
    """What has to be the same for a measurement to count: engine, accelerator and class of models; best the image.

    Main memory is that of all `copies` of a model together, so that only as many count for it.
    """

    engine: str
    image: str
    accelerator: Accelerator
    architecture: str
    quantization: str
    parameters: int
    copies: int = 1


class DeviceCorrection(msgspec.Struct, frozen=True):
    """What `measurements` say of one device (MiB). `gain_mib`: by how much estimate and margin grew on the newest."""

    device: str
    measurements: int
    overhead_mib: int
    compute_ratio: float
    margin_left: float
    spread_mib: int
    gain_mib: int


class Correction(msgspec.Struct, frozen=True):
    """By device; the one named `gpu` is for a GPU that was not measured itself."""

    devices: tuple[DeviceCorrection, ...]

    def of(self, device: str) -> DeviceCorrection | None:
        """The correction for a device of a plan."""
        names = (device,) if device == HOST else (device, OTHER_GPU)
        return next((item for name in names for item in self.devices if item.device == name), None)


class _Pair(msgspec.Struct, frozen=True):
    predicted: DeviceMemory
    formula: Formula
    measured: MeasuredMemory
    used_mib: int


def about(observations: Sequence[Observation], subject: Subject) -> tuple[Observation, ...]:
    """The newest of the same subject, estimated by the formulas that estimate now; oldest first.

    Where its image was never measured, other images of the engine for the same accelerator stand in.
    """
    same = [item for item in observations if item.formulas == __version__ and _is(item, subject)]
    own = [item for item in same if item.image == subject.image]
    return tuple((own or same)[-NEWEST:])


def learn(observations: Sequence[Observation], subject: Subject) -> Correction | None:
    """The correction for one subject; None where nothing was measured of it."""
    pairs: dict[str, list[_Pair]] = {}
    for item in about(observations, subject):
        for pair in _pairs(item, subject.copies):
            pairs.setdefault(pair.predicted.device, []).append(pair)
    if not pairs:
        return None
    others = [pair for device, found in pairs.items() if device != HOST for pair in found]
    everything = {**pairs, **({OTHER_GPU: others} if others else {})}
    return Correction(tuple(_learned(device, found) for device, found in everything.items()))


def apply(memory: MemoryPlan, correction: Correction | None) -> MemoryPlan:
    """The estimate as corrected, with what the formulas said kept beside it."""
    if correction is None:
        return memory
    return MemoryPlan(devices=tuple(_applied(device, correction.of(device.device)) for device in memory.devices))


def speed_factor(
    observations: Sequence[Observation], subject: Subject, *, of: Literal["decode", "prompt"] = "decode"
) -> tuple[float, str | None]:
    """What to multiply the formula's tokens a second by, and how that is known; `(1.0, None)` without measurements.

    The median of measured over predicted, between LEAST and MOST: of the same class of models, else of any model that
    the engine served on the same accelerator, because most of the error is that of the bandwidth.
    """
    same = [item for item in observations if item.formulas == __version__ and _served_by(item, subject)]
    exact = _ratios((item for item in same if _is(item, subject)), of)
    ratios = exact or _ratios(same, of)
    if not ratios:
        return 1.0, None
    middle = (ratios[len(ratios) // 2] + ratios[(len(ratios) - 1) // 2]) / 2
    factor = round(_bounded(middle), 3)
    whose = "" if exact else " of other models"
    return factor, f"corrected by {counted(len(ratios))}{whose} here: x{factor:g}"


def speed_spread(
    observations: Sequence[Observation], subject: Subject, *, of: Literal["decode", "prompt"] = "decode"
) -> float | None:
    """How far off a corrected speed may be, as a factor; None where nothing tells, or more than a correction may."""
    factor, how = speed_factor(observations, subject, of=of)
    if how is None or factor in (LEAST, MOST):
        return None
    same = (item for item in observations if item.formulas == __version__ and _is(item, subject))
    return MEASURED if _ratios(same, of) else KNOWN


def _ratios(observations: Iterable[Observation], of: Literal["decode", "prompt"]) -> list[float]:
    """Measured over predicted of the newest, sorted."""
    found = [ratio for item in observations if (ratio := _speed_ratio(item, of)) is not None]
    return sorted(found[-NEWEST:])


def _served_by(item: Observation, subject: Subject) -> bool:
    return item.engine == subject.engine and item.accelerator == subject.accelerator


def sentences(memory: MemoryPlan) -> tuple[str, ...]:
    """What measurements have changed, a sentence a device."""
    return tuple(
        f"memory of {device.device} corrected by {counted(formula.measurements)} here: {device.total_mib} MiB and"
        f" {device.margin_mib} to spare, where the formulas say {formula.total_mib} and {formula.margin_mib}"
        for device in memory.devices
        if (formula := device.formula) is not None
    )


def cautions(memory: MemoryPlan) -> tuple[str, ...]:
    """A warning for each device of which a server here took far more than the formulas say."""
    return tuple(
        f"servers like this one took more of {device.device} here than the formulas say: {device.total_mib} MiB are"
        f" planned for instead of {formula.total_mib}"
        for device in memory.devices
        if (formula := device.formula) is not None and device.total_mib > formula.total_mib * LARGE
    )


def counted(number: int) -> str:
    """`1 measurement`, `2 measurements`."""
    return f"{number} measurement" + ("" if number == 1 else "s")


def _is(item: Observation, subject: Subject) -> bool:
    if not item.parameters or not subject.parameters:
        return False
    same = (item.architecture, item.quantization) == (subject.architecture, subject.quantization)
    return same and _served_by(item, subject) and 1 / SAME_SIZE <= item.parameters / subject.parameters <= SAME_SIZE


def _pairs(item: Observation, copies: int) -> Iterable[_Pair]:
    other = HOST if item.settings.data_parallel != copies else None
    measured = {
        device.device: device for device in item.measured if device.used_mib is not None and device.device != other
    }
    for predicted in item.predicted:
        found = measured.get(predicted.device)
        if found is None:
            continue
        formula, used = formula_of(predicted), found.used_mib or 0
        if found.how == "delta":  # another program may have come in between
            used = min(used, math.floor(formula.total_mib * MOST))
        yield _Pair(predicted, formula, found, used)


def formula_of(device: DeviceMemory) -> Formula:
    """What the formulas alone said of a device."""
    return device.formula or Formula(
        measurements=0,
        compute_mib=device.compute_mib,
        overhead_mib=device.overhead_mib,
        total_mib=device.total_mib,
        margin_mib=device.margin_mib,
    )


def _learned(device: str, pairs: Sequence[_Pair]) -> DeviceCorrection:
    ratio, newest = _compute_ratio(pairs), pairs[-1]
    beside = [pair.used_mib - _buffers(pair.predicted, pair.formula.compute_mib, ratio) for pair in pairs]
    found = DeviceCorrection(
        device=device,
        measurements=len(pairs),
        overhead_mib=max(*beside, 0),
        compute_ratio=ratio,
        margin_left=MARGIN_LEFT.get(len(pairs), MARGIN_LEFT_LATER),
        spread_mib=max(beside) - min(beside),
        gain_mib=0,
    )
    again = _corrected(newest.predicted, newest.formula, found)
    before = newest.formula.total_mib + newest.formula.margin_mib
    return msgspec.structs.replace(found, gain_mib=again.total_mib + again.margin_mib - before)


def _compute_ratio(pairs: Sequence[_Pair]) -> float:
    """Compute and output buffers of the log over those of the formula, where the log tells them."""
    told = [(pair, size) for pair in pairs if (size := _told(pair.measured)) is not None and pair.formula.compute_mib]
    if not told:
        return 1.0
    return _bounded(sum(size for _, size in told) / sum(pair.formula.compute_mib for pair, _ in told))


def _told(measured: MeasuredMemory) -> int | None:
    parts = measured.parts
    return parts["compute"] + parts.get("output", 0) if "compute" in parts else None


def _buffers(device: DeviceMemory, compute_mib: int, ratio: float) -> int:
    return device.weights_mib + device.kv_cache_mib + math.ceil(compute_mib * ratio)


def _applied(device: DeviceMemory, learned: DeviceCorrection | None) -> DeviceMemory:
    return device if learned is None else _corrected(device, formula_of(device), learned)


def _corrected(device: DeviceMemory, formula: Formula, learned: DeviceCorrection) -> DeviceMemory:
    compute = math.ceil(formula.compute_mib * learned.compute_ratio)
    overhead = max(learned.overhead_mib, math.ceil(formula.overhead_mib * LEAST))
    total = device.weights_mib + device.kv_cache_mib + compute + overhead
    margin = math.ceil(formula.margin_mib * learned.margin_left) + learned.spread_mib
    return msgspec.structs.replace(
        device,
        compute_mib=compute,
        overhead_mib=overhead,
        total_mib=total,
        margin_mib=min(margin, math.ceil(formula.margin_mib * MOST)),
        formula=msgspec.structs.replace(formula, measurements=learned.measurements),
    )


def _speed_ratio(item: Observation, of: Literal["decode", "prompt"]) -> float | None:
    if of == "decode":
        measured, predicted, factor = item.decode_tokens_per_s, item.speed.decode_tokens_per_s, item.speed.factor
    else:
        measured, predicted = item.prompt_tokens_per_s, item.speed.prompt_tokens_per_s
        factor = item.speed.prompt_factor
    return measured / (predicted / factor) if measured and predicted else None


def _bounded(ratio: float) -> float:
    return min(max(ratio, LEAST), MOST)
