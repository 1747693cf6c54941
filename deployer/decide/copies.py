"""Whole copies of a model that are engines of their own, in containers behind one gateway. Pure.

An engine that holds one model a process (llama.cpp) has no data parallelism. Its copies stand apart, each on NVIDIA
GPUs that a container is given by UUID; the files of /dev by which AMD and Intel GPUs come hand over every card. All are
told the same, so the copy with the least room decides for all, and main memory is divided among them.
"""

import msgspec

from deployer.decide.candidates import Candidate, Device
from deployer.decide.settings import host_available_mib
from deployer.types import DeviceMemory, EngineProfile, HostFacts, ImageProfile, MemoryPlan, Request


def stands_apart(engine: EngineProfile, image: ImageProfile) -> bool:
    """True where copies of this engine can be containers of their own."""
    return engine.copies is not None and image.program is None and image.accelerator == "cuda"


def most_apart(candidate: Candidate, request: Request) -> int:
    """How many copies there may be as engines of their own: one for each user and slot; 0 where there can be none."""
    if not stands_apart(candidate.engine, candidate.image) or not all(map(_holds_a_copy, candidate.devices)):
        return 0
    return min(request.users, request.slots or request.users)


def _holds_a_copy(device: Device) -> bool:
    """True for a GPU with memory of its own that Docker knows by UUID."""
    gpu = device.gpu
    return gpu.vendor == "nvidia" and gpu.uuid is not None and not gpu.unified_memory


def copies(candidate: Candidate) -> int:
    """How many engines a candidate is, each with a whole copy of the model."""
    return candidate.data_parallel if candidate.engine.copies is not None else 1


def one_copy(candidate: Candidate) -> Candidate:
    """The candidate of a single copy, at each place on the fullest of the GPUs there; of one copy it is itself."""
    count = copies(candidate)
    if count == 1:
        return candidate
    size = len(candidate.devices) // count
    fullest = tuple(min(candidate.devices[place::size], key=_free) for place in range(size))
    return msgspec.structs.replace(candidate, devices=fullest, data_parallel=1)


def part_of(host: HostFacts, count: int) -> HostFacts:
    """The host with the main memory that each of `count` copies may use."""
    available = host_available_mib(host)
    if count == 1 or available is None:
        return host
    memory = msgspec.structs.replace(host.memory, available_mib=available // count, limit_mib=None)
    return msgspec.structs.replace(host, memory=memory)


def of_all(memory: MemoryPlan, candidate: Candidate, host: HostFacts) -> MemoryPlan:
    """The memory of one copy, counted on every copy's GPUs, and in main memory once for each."""
    count = copies(candidate)
    if count == 1:
        return memory
    *gpus, main = memory.devices
    named = [(device.gpu.uuid or f"gpu{device.gpu.index}", device.gpu.memory_free_mib) for device in candidate.devices]
    placed = (
        msgspec.structs.replace(gpus[number % len(gpus)], device=name, available_mib=free)
        for number, (name, free) in enumerate(named)
    )
    return MemoryPlan(devices=(*placed, _times(main, count, host_available_mib(host))))


def _times(main: DeviceMemory, count: int, available_mib: int | None) -> DeviceMemory:
    return msgspec.structs.replace(
        main,
        weights_mib=main.weights_mib * count,
        kv_cache_mib=main.kv_cache_mib * count,
        compute_mib=main.compute_mib * count,
        overhead_mib=main.overhead_mib * count,
        total_mib=main.total_mib * count,
        margin_mib=main.margin_mib * count,
        available_mib=available_mib,
    )


def _free(device: Device) -> int:
    """Unknown memory comes first: of what is not known, nobody can say that it fits."""
    return -1 if device.gpu.memory_free_mib is None else device.gpu.memory_free_mib
