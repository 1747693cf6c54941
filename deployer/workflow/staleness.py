"""A saved plan expires: when it was edited, when the host changed, when the memory it counted on is taken."""

from deployer import decide
from deployer.errors import StalePlanError
from deployer.paths import Home
from deployer.types import DeviceMemory, HostFacts, Plan
from deployer.workflow import container_engine, planning, running

_AGAIN = "make it again: deployer plan MODEL --out FILE"


def check(plan: Plan, home: Home) -> None:
    """Refuse a plan that does not hold on this host now. Raises StalePlanError naming what changed."""
    if decide.plan_hash(plan) != plan.plan_hash:
        raise StalePlanError("the plan was changed after it was made", hint=_AGAIN)
    host = planning.probe(home)
    if host.fingerprint != plan.host_fingerprint:
        raise _of_another_host(plan, host)
    free = _free_mib(running.reclaim(host, home, plan.name))
    for device in plan.memory.devices:
        _still_fits(device, free.get(device.device))


def _of_another_host(plan: Plan, host: HostFacts) -> StalePlanError:
    """The fingerprints; also that a container engine is missing, which may be all that differs."""
    lacking = container_engine.missing(host) if plan.runtime == "compose" else None
    also, hint = "", f"GPUs, driver, processor or container engine differ; {_AGAIN}"
    if lacking is not None:
        also, hint = f"; {lacking.message}", lacking.hint
    return StalePlanError(
        f"the plan was made for a host with fingerprint {plan.host_fingerprint}; this one has {host.fingerprint}{also}",
        hint=hint,
        details={"planned": plan.host_fingerprint, "now": host.fingerprint},
    )


def _free_mib(host: HostFacts) -> dict[str, int | None]:
    return {"host": host.memory.available_mib, **{gpu.uuid or "": gpu.memory_free_mib for gpu in host.gpus}}


def _still_fits(device: DeviceMemory, free_mib: int | None) -> None:
    need = device.total_mib + device.margin_mib
    if free_mib is not None and need > free_mib:
        raise StalePlanError(
            f"the plan needs {need} MiB of {device.device}; {free_mib} MiB are free now",
            hint=f"see who holds it: deployer probe; or {_AGAIN}",
            details={"device": device.device, "needed_mib": need, "free_mib": free_mib},
        )
