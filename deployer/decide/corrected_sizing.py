"""An estimator whose answers are corrected by measurements: it works with the memory that the correction leaves it."""

from collections.abc import Mapping, Sequence

import msgspec

from deployer.decide import correction, speed
from deployer.decide.candidates import Candidate, Device
from deployer.decide.correction import HOST, Correction, Subject
from deployer.decide.settings import Estimator, Shortage, Sizing, missing, worst
from deployer.decide.weights import Weights
from deployer.types import DeviceMemory, HostFacts, MemoryPlan, ModelSpec, Observation, Request, SpeedEstimate

ROUNDS = 3
"""So often the estimator is asked again with less memory, where a correction does not leave what it has planned."""


class Learned(msgspec.Struct, frozen=True):
    """The measurements that are about one subject, and what they correct."""

    observations: tuple[Observation, ...] = ()
    subject: Subject | None = None
    memory: Correction | None = None


NOTHING_LEARNED = Learned()


def learned_of(candidate: Candidate, model: ModelSpec, observations: Sequence[Observation]) -> Learned:
    """What was learned of a candidate from what its engine did on this host; nothing where it never ran."""
    if not observations:
        return NOTHING_LEARNED
    subject = Subject(
        engine=candidate.engine.engine,
        image=candidate.image.id,
        accelerator=candidate.image.accelerator,
        architecture=model.architecture.name,
        quantization=candidate.variant.quantization,
        parameters=model.parameters,
        copies=candidate.data_parallel,
    )
    return Learned(tuple(observations), subject, correction.learn(observations, subject))


def size(
    estimator: Estimator,
    candidate: Candidate,
    host: HostFacts,
    model: ModelSpec,
    request: Request,
    *,
    weights: Weights,
    learned: Correction | None,
) -> tuple[Sizing, ...] | Shortage:
    """What fits by the corrected estimate, or what it lacks. Without a correction it is the estimator itself."""
    if learned is None:
        return estimator(candidate, host, model, request, weights)
    taken, short = _first_taken(candidate, host, learned), None
    for _ in range(ROUNDS):
        left = msgspec.structs.replace(candidate, devices=tuple(_less(device, taken) for device in candidate.devices))
        found = estimator(left, _host_less(host, taken), model, request, weights)
        if isinstance(found, Shortage):
            return _shortage(found, taken, learned)
        corrected = [_resized(item, taken, learned) for item in found]
        if fitting := tuple(item for item in corrected if item.memory.fits):
            return fitting
        short = Shortage(worst([worst(item.memory.devices) for item in corrected]), found[-1].offer)
        name = short.device.device
        taken = _possible({**taken, name: taken.get(name, 0) + missing(short.device)}, candidate, host)
    return short if short is not None else estimator(candidate, host, model, request, weights)


def estimate_speed(
    candidate: Candidate, host: HostFacts, sizing: Sizing, model: ModelSpec, learned: Learned
) -> SpeedEstimate:
    """Tokens a second, as corrected by what was measured."""
    formula = speed.estimate(candidate, host, sizing, model)
    if learned.subject is None:
        return formula
    about = (learned.observations, learned.subject)
    factor, how = correction.speed_factor(*about)
    prompt_factor, prompt_how = correction.speed_factor(*about, of="prompt")
    said = how or prompt_how
    if said is None:
        return formula
    spreads = correction.speed_spread(*about), correction.speed_spread(*about, of="prompt")
    return speed.corrected(formula, (factor, prompt_factor), spreads, said)


def formula_speed(corrected: SpeedEstimate) -> SpeedEstimate:
    """The formula's own numbers: one slow hour of a busy machine refuses nothing."""
    if corrected.factor == corrected.prompt_factor == 1:
        return corrected
    return msgspec.structs.replace(
        corrected,
        prompt_tokens_per_s=_times(corrected.prompt_tokens_per_s, 1 / corrected.prompt_factor),
        decode_tokens_per_s=_times(corrected.decode_tokens_per_s, 1 / corrected.factor),
        total_tokens_per_s=_times(corrected.total_tokens_per_s, 1 / corrected.factor),
    )


def _times(tokens_per_s: float | None, factor: float) -> float | None:
    return None if tokens_per_s is None else speed.shown(tokens_per_s * factor)


def _first_taken(candidate: Candidate, host: HostFacts, learned: Correction) -> dict[str, int]:
    """MiB of each device that the estimator may not count on; negative where the formulas ask for too much.

    Only the estimator that places layers one by one may count on more than is free: the others tell the engine a part
    of the memory, which has to be there.
    """
    least = None if candidate.engine.memory == "llama.cpp" else 0
    names = (HOST, *(_name(device) for device in candidate.devices))
    gains = {name: found.gain_mib for name in names if (found := learned.of(name)) is not None}
    return _possible(
        {name: gain if least is None else max(gain, least) for name, gain in gains.items()}, candidate, host
    )


def _possible(taken: Mapping[str, int], candidate: Candidate, host: HostFacts) -> dict[str, int]:
    """The same, but never more of a device than is free."""
    free = {_name(device): device.gpu.memory_free_mib for device in candidate.devices} | {HOST: _host_free(host)}
    return {name: gone if (room := free.get(name)) is None else min(gone, room) for name, gone in taken.items()}


def _host_free(host: HostFacts) -> int | None:
    memory = host.memory
    known = [size for size in (memory.available_mib, memory.limit_mib) if size is not None]
    return min(known) if known else memory.total_mib


def _name(device: Device) -> str:
    return device.gpu.uuid or f"gpu{device.gpu.index}"


def _less(device: Device, taken: Mapping[str, int]) -> Device:
    free, gone = device.gpu.memory_free_mib, taken.get(_name(device), 0)
    if free is None or not gone:
        return device
    return msgspec.structs.replace(device, gpu=msgspec.structs.replace(device.gpu, memory_free_mib=free - gone))


def _host_less(host: HostFacts, taken: Mapping[str, int]) -> HostFacts:
    gone, available, memory = taken.get(HOST, 0), _host_free(host), host.memory
    if available is None or not gone:
        return host
    limit = None if memory.limit_mib is None else available - gone
    less = msgspec.structs.replace(memory, available_mib=available - gone, limit_mib=limit)
    return msgspec.structs.replace(host, memory=less)


def _given_back(device: DeviceMemory, taken: Mapping[str, int]) -> DeviceMemory:
    if device.available_mib is None:
        return device
    return msgspec.structs.replace(device, available_mib=device.available_mib + taken.get(device.device, 0))


def _restored(memory: MemoryPlan, taken: Mapping[str, int], learned: Correction) -> MemoryPlan:
    return correction.apply(MemoryPlan(devices=tuple(_given_back(item, taken) for item in memory.devices)), learned)


def _resized(sizing: Sizing, taken: Mapping[str, int], learned: Correction) -> Sizing:
    return msgspec.structs.replace(sizing, memory=_restored(sizing.memory, taken, learned))


def _shortage(found: Shortage, taken: Mapping[str, int], learned: Correction) -> Shortage:
    """The shortage in corrected numbers; as the formulas have it where the correction alone would hide it."""
    corrected = _restored(MemoryPlan(devices=(found.device,)), taken, learned).devices[0]
    return found if corrected.fits else Shortage(corrected, found.offer)
