"""What runs now: asked of the runtimes, never remembered."""

import msgspec

from deployer import ledger
from deployer.paths import Home
from deployer.runtime import RUNTIMES
from deployer.types import Gpu, HostFacts, Plan, ServerState


def state(home: Home, plan: Plan) -> ServerState:
    """State of the server of a plan."""
    return RUNTIMES[plan.runtime](home).state(plan.name)


def is_up(found: ServerState) -> bool:
    """True while its container or process exists and has not ended."""
    return found.status in ("running", "starting", "restarting")


def reclaim(host: HostFacts, home: Home, name: str) -> HostFacts:
    """The host as it will be when the running server of this deployment has been stopped for its successor."""
    plan = ledger.current_plan(home, name)
    if plan is None or not is_up(state(home, plan)):
        return host
    held = {device.device: device.total_mib for device in plan.memory.devices}
    available = host.memory.available_mib
    memory = msgspec.structs.replace(
        host.memory,
        available_mib=None if available is None else _capped(available + held.get("host", 0), host.memory.total_mib),
    )
    gpus = tuple(_freed(gpu, held.get(gpu.uuid or "", 0)) for gpu in host.gpus)
    return msgspec.structs.replace(host, memory=memory, gpus=gpus)


def _freed(gpu: Gpu, held_mib: int) -> Gpu:
    if gpu.memory_free_mib is None or not held_mib:
        return gpu
    return msgspec.structs.replace(gpu, memory_free_mib=_capped(gpu.memory_free_mib + held_mib, gpu.memory_total_mib))


def _capped(value: int, ceiling: int | None) -> int:
    return value if ceiling is None else min(value, ceiling)
