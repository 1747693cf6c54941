"""Several deployments of one host: what a plan leaves to the next, and who takes how much of what. Pure.

A plan's memory counts with its margin, and main memory also with the prompt cache that the engine may fill later, so
that all plans together promise no more than is free. Cores are shared: engines wait for each other, and none fails.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from deployer.decide.host import is_unified
from deployer.types import Gpu, GpuProcess, HostFacts, MigDevice, Plan
from deployer.types.several import DeviceShare

HOST = "host"


def taken(plan: Plan) -> dict[str, int]:
    """MiB that a plan takes of each device (`GPU-…` or `host`): estimate, margin and prompt cache."""
    found = {device.device: device.total_mib + device.margin_mib for device in plan.memory.devices}
    return found | {HOST: found.get(HOST, 0) + plan.settings.prompt_cache_mib}


def host_after(host: HostFacts, plan: Plan) -> HostFacts:
    """The host as it is for the next deployment once `plan` runs.

    Where GPU and processor share a memory, each loses what the other one gives.
    """
    held = taken(plan)
    shared = sum(held.get(device_name(gpu), 0) for gpu in host.gpus if is_unified(gpu))
    gpus = tuple(_gpu_after(gpu, held, plan.name) for gpu in host.gpus)
    return msgspec.structs.replace(_main_less(host, held[HOST] + shared), gpus=gpus)


def portion(host: HostFacts, part: float) -> HostFacts:
    """The host with `part` (0 to 1) of its free memory: for one of several that would each take everything."""
    free = _main_free(host)
    less = 0 if free is None else free - math.floor(free * part)
    gpus = tuple(_gpu_portion(gpu, part) for gpu in host.gpus)
    return msgspec.structs.replace(_main_less(host, less), gpus=gpus)


def device_shares(host: HostFacts, plans: Sequence[Plan]) -> tuple[DeviceShare, ...]:
    """Totals for each device that a plan uses: GPUs by index, main memory last. `host`: as it was before all plans."""
    held = {plan.name: taken(plan) for plan in plans}
    free: dict[str, int | None] = {HOST: _main_free(host)}
    names: dict[str, str | None] = {HOST: None}
    for gpu in sorted(host.gpus, key=lambda item: item.index):
        for name, size in _free_of(gpu).items():
            free[name], names[name] = size, gpu.name
    order = [*(name for name in free if name != HOST), HOST]
    used = {name for sizes in held.values() for name in sizes}
    return tuple(_share(name, names[name], free[name], held) for name in order if name in used)


def device_name(gpu: Gpu) -> str:
    """As plans call it."""
    return gpu.uuid or f"gpu{gpu.index}"


def describe_taken(plans: Sequence[Plan]) -> str:
    """`chat takes 5000 MiB of GPU 0 and 900 MiB of main memory; …`; empty for no plan."""
    return "; ".join(f"{plan.name} takes {_sizes(plan)}" for plan in plans)


def _sizes(plan: Plan) -> str:
    indexes = {device.uuid or f"gpu{device.index}": f"GPU {device.index}" for device in plan.devices}
    sizes = [f"{size} MiB of {indexes.get(name, 'main memory')}" for name, size in taken(plan).items() if size]
    return " and ".join(sizes) or "nothing"


def _share(device: str, name: str | None, free: int | None, held: Mapping[str, Mapping[str, int]]) -> DeviceShare:
    by = {plan: sizes[device] for plan, sizes in held.items() if sizes.get(device)}
    return DeviceShare(device=device, name=name, available_mib=free, taken_mib=sum(by.values()), by=by)


def _free_of(gpu: Gpu) -> dict[str, int | None]:
    """What is free on a GPU, or on each of its MIG slices."""
    if gpu.mig is None or not gpu.mig.enabled:
        return {device_name(gpu): gpu.memory_free_mib}
    return {part.uuid or "": part.memory_free_mib for part in gpu.mig.devices}


def _main_free(host: HostFacts) -> int | None:
    """Main memory that can be used now; the total where more is not known, as for a plan."""
    known = [size for size in (host.memory.available_mib, host.memory.limit_mib) if size is not None]
    return min(known) if known else host.memory.total_mib


def _main_less(host: HostFacts, mib: int) -> HostFacts:
    free = _main_free(host)
    if free is None:
        return host
    memory = msgspec.structs.replace(host.memory, available_mib=max(free - mib, 0))
    return msgspec.structs.replace(host, memory=memory)


def _gpu_after(gpu: Gpu, held: Mapping[str, int], owner: str) -> Gpu:
    if gpu.mig is not None and gpu.mig.enabled:
        slices = tuple(_slice_less(part, held.get(part.uuid or "", 0)) for part in gpu.mig.devices)
        return msgspec.structs.replace(gpu, mig=msgspec.structs.replace(gpu.mig, devices=slices))
    mib = held.get(device_name(gpu), 0) + (held[HOST] if is_unified(gpu) else 0)
    if not mib:
        return gpu
    if gpu.memory_free_mib is not None:
        return msgspec.structs.replace(gpu, memory_free_mib=max(gpu.memory_free_mib - mib, 0))
    holder = GpuProcess(pid=0, name=owner, memory_mib=mib)  # free memory is then guessed from the total less these
    return msgspec.structs.replace(gpu, processes=(*(gpu.processes or ()), holder))


def _slice_less(part: MigDevice, mib: int) -> MigDevice:
    free = part.memory_free_mib if part.memory_free_mib is not None else part.memory_total_mib
    return part if free is None or not mib else msgspec.structs.replace(part, memory_free_mib=max(free - mib, 0))


def _gpu_portion(gpu: Gpu, part: float) -> Gpu:
    if gpu.mig is not None and gpu.mig.enabled:
        return gpu  # slices are handed out whole
    if gpu.memory_free_mib is None:
        return gpu
    return msgspec.structs.replace(gpu, memory_free_mib=math.floor(gpu.memory_free_mib * part))
