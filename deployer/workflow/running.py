"""What runs now: asked of the runtimes, never remembered."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from deployer import health, ledger
from deployer.errors import PreconditionError
from deployer.paths import Home
from deployer.runtime import RUNTIMES
from deployer.types import Gpu, HostFacts, Plan, ServerState
from deployer.workflow.endpoint import Endpoint
from deployer.workflow.report import Reporter

STOP_TIMEOUT_S = 60.0
LOOK_S = 5.0
PATIENCE_S = 30.0
"""Who is about to replace a server that does not answer waits longer than who looks: it may only be slow."""


def state(home: Home, plan: Plan) -> ServerState:
    """State of the server of a plan."""
    return RUNTIMES[plan.runtime](home).state(plan.name)


def answers(home: Home, plan: Plan, *, within_s: float = LOOK_S) -> bool:
    """True when the server of a plan lists the plan's model, asked through the published port with the key."""
    return answers_at(home, Endpoint.of(plan), within_s=within_s)


def answers_at(home: Home, found: Endpoint, *, within_s: float = LOOK_S) -> bool:
    """True when what is there lists the model.

    Where it takes a key, nobody can ask without a usable one, and a server that nobody can ask does not answer.
    """
    try:
        key = None if found.key_file is None else ledger.read_key(home, found.name)
        client = health.Client(found.base_url, key, timeout_s=within_s)
        return found.model in {listed.id for listed in client.models()}
    except (health.ProtocolError, PreconditionError):
        return False


def stop(plan: Plan, home: Home, report: Reporter, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Remove the server of a plan, which has so long to end its answers. False when there was none."""
    return RUNTIMES[plan.runtime](home).stop(plan.name, report.detail, timeout_s=timeout_s)


def stop_by_name(name: str, home: Home, report: Reporter) -> bool:
    """The same where no plan can be read: every runtime finds what is ours by its label."""
    stopped, refused = False, None
    for runtime in RUNTIMES.values():
        try:
            stopped = runtime(home).stop(name, report.detail, timeout_s=STOP_TIMEOUT_S) or stopped
        except PreconditionError as error:
            refused = error
    if refused is not None and not stopped:
        raise refused
    return stopped


def logs(
    plan: Plan,
    home: Home,
    *,
    tail: int | None,
    follow: bool,
    on_line: Callable[[str], None],
    since: datetime | None = None,
) -> None:
    """The engine's own log, control characters escaped."""
    RUNTIMES[plan.runtime](home).logs(plan.name, tail=tail, follow=follow, since=since, on_line=on_line)


def is_up(found: ServerState) -> bool:
    """True while its container or process exists and has not ended."""
    return found.status in ("running", "degraded", "starting", "restarting")


def serves(home: Home, plan: Plan) -> bool:
    """True while the server of a plan is up; False too when its runtime does not answer."""
    try:
        return is_up(state(home, plan))
    except PreconditionError:
        return False


def reclaim(host: HostFacts, home: Home, name: str) -> HostFacts:
    """The host as it will be when the running server of this deployment has been stopped for its successor."""
    plan = ledger.known_plan(home, name)
    if plan is None or not serves(home, plan):
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
