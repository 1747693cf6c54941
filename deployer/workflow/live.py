"""What a running server says of itself now: its engine's own metrics, and the memory that it holds."""

import time

import msgspec

from deployer import catalog, health, ledger
from deployer.errors import DeployerError
from deployer.paths import Home
from deployer.render.copies import WAITING
from deployer.runtime import resident
from deployer.types import Live, Plan, ServerState
from deployer.workflow import gpu_use
from deployer.workflow.endpoint import Endpoint

TIMEOUT_S = 5.0


def look(plan: Plan, home: Home, state: ServerState) -> Live:
    """Ask the server and the kernel once. Never raises: what cannot be had is None, and `why` says why.

    `tokens_per_s` is the engine's own number here, where it has one; `since` makes it from two looks.
    """
    found = Endpoint.of(plan)
    told = asked(found, plan.engine, home) if plan.copies == 1 else _of_copies(plan, found, home)
    return msgspec.structs.replace(told, memory_mib=_memory(plan, state))


def _of_copies(plan: Plan, found: Endpoint, home: Home) -> Live:
    """What all copies say of themselves together, and what waits before them; of one that is silent, the reason."""
    base = found.base_url.removesuffix("/v1")
    each = [asked(msgspec.structs.replace(found, base_url=base + path), plan.engine, home) for path in plan.copy_paths]
    told = [one for one in each if one.why is None]
    silent = next((f"copy {number}: {one.why}" for number, one in enumerate(each, start=1) if one.why), None)
    sums = {name: _sum([getattr(one, name) for one in told]) for name in _ADDED}
    waiting = _sum([sums["requests_waiting"], _waiting_before(found, plan, home)])
    shares = [one.kv_cache_usage for one in told if one.kv_cache_usage is not None]
    return Live(
        requests_running=sums["requests_running"],
        requests_waiting=waiting,
        prompt_tokens=sums["prompt_tokens"],
        generated_tokens=sums["generated_tokens"],
        tokens_per_s=_rounded(sums["tokens_per_s"]),
        kv_cache_usage=sum(shares) / len(shares) if shares else None,
        at_s=round(time.monotonic(), 3),
        why=silent,
    )


_ADDED = ("requests_running", "requests_waiting", "prompt_tokens", "generated_tokens", "tokens_per_s")


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _waiting_before(found: Endpoint, plan: Plan, home: Home) -> float | None:
    """Requests for which no copy has a free slot; None where the gateway does not tell."""
    try:
        client = health.Client(found.base_url, ledger.read_key(home, found.name), timeout_s=TIMEOUT_S)
        return health.scrape(client, plan.health.metrics_path or "", {WAITING: WAITING}).get(WAITING)
    except (health.ProtocolError, DeployerError):
        return None


def asked(found: Endpoint, engine_name: str | None, home: Home) -> Live:
    """The same of any server by its own metrics alone, ours or not. Never raises."""
    try:
        if engine_name is None:
            return Live(why="its engine is not known")
        engine = catalog.load_engine(engine_name)
        path = engine.health.metrics_path
        if path is None or not engine.metrics:
            return Live(why=f"{engine_name} publishes no metrics")
        key = None if found.key_file is None else ledger.read_key(home, found.name)
        told = health.scrape(health.Client(found.base_url, key, timeout_s=TIMEOUT_S), path, engine.metrics)
    except (health.ProtocolError, DeployerError) as error:
        return Live(why=error.message)
    return Live(
        requests_running=told.get("requests_running"),
        requests_waiting=told.get("requests_waiting"),
        kv_cache_usage=told.get("kv_cache_usage"),
        prompt_tokens=told.get("prompt_tokens"),
        generated_tokens=told.get("generated_tokens"),
        tokens_per_s=_rounded(told.get("tokens_per_second")),
        at_s=round(time.monotonic(), 3),
    )


def since(before: Live | None, now: Live) -> Live:
    """The second of two looks, with tokens a second by the difference of the counter, where both have it.

    A counter that went down belongs to a server that was started again meanwhile: then the engine's own number stays.
    """
    if before is None or before.generated_tokens is None or now.generated_tokens is None:
        return now
    grown, seconds = now.generated_tokens - before.generated_tokens, (now.at_s or 0.0) - (before.at_s or 0.0)
    if grown < 0 or seconds <= 0:
        return now
    rate = grown / seconds
    return msgspec.structs.replace(now, tokens_per_s=_rounded(rate), over_s=round(seconds, 2))


def _memory(plan: Plan, state: ServerState) -> dict[str, int]:
    """MiB by device: main memory of its processes, and what NVML says they hold of each GPU."""
    main = resident(state)
    found = {} if main.used_mib is None else {"host": main.used_mib}
    planned = {device.uuid for device in plan.devices}
    for name, gpu in gpu_use.gpus(plan).items():
        held = [process.memory_mib for process in gpu.processes or () if process.pid in main.pids]
        if name in planned and held and None not in held:
            found[name] = sum(size or 0 for size in held)
    return found


def _rounded(tokens_per_s: float | None) -> float | None:
    return None if tokens_per_s is None else round(tokens_per_s, 1)
