"""GPUs that share the host's memory: what they may use is never more than what the host has free."""

import msgspec

from deployer.types import Gpu, MemoryFacts


def share(gpus: tuple[Gpu, ...], memory: MemoryFacts) -> tuple[Gpu, ...]:
    """Give integrated GPUs the host's memory (MiB) where no driver tells theirs, and cap what is free by the host's.

    NVML tells none on Jetson and DGX Spark; amdgpu tells the part of the host's memory that the GPU may map.
    """
    return tuple(_shared(gpu, memory) if gpu.unified_memory else gpu for gpu in gpus)


def _shared(gpu: Gpu, memory: MemoryFacts) -> Gpu:
    if gpu.memory_total_mib is None:
        total, free = memory.total_mib, memory.available_mib
    else:
        total = gpu.memory_total_mib
        known = [value for value in (gpu.memory_free_mib, memory.available_mib) if value is not None]
        free = min(known, default=None)
    return msgspec.structs.replace(gpu, memory_total_mib=total, memory_free_mib=free)
