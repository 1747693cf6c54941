"""What shows that a server really uses its GPUs: their memory before and after, its processes, its log."""

from collections.abc import Iterator, Mapping

import msgspec

from deployer import catalog, facts, health
from deployer.errors import DeployerError
from deployer.paths import Home
from deployer.runtime import resident
from deployer.types import Gpu, Plan
from deployer.workflow import running

NVML_TIMEOUT_S = 10.0
LOG_LINES = 4000
"""Layers are told while the model is loaded, and the gate's few questions add little."""


def gpus(plan: Plan) -> Mapping[str, Gpu]:
    """The GPUs of this machine now by UUID, slices of a MIG GPU too; none for a plan without one. Never raises."""
    vendors = {device.vendor for device in plan.devices}
    found: list[Gpu] = []
    if "nvidia" in vendors:
        found += facts.nvidia_gpus(NVML_TIMEOUT_S)
    if "amd" in vendors:
        found += facts.amd_gpus()
    return {one.uuid: one for gpu in found for one in (gpu, *_slices(gpu)) if one.uuid is not None}


def evidence(plan: Plan, home: Home, before: Mapping[str, Gpu]) -> health.Evidence:
    """Look now; what cannot be seen is left out. Never raises: a runtime that is silent is found by the gate."""
    engine = catalog.load_engine(plan.engine)
    pids, lines = _inside(plan, home)
    return health.Evidence(
        before=before,
        now=gpus(plan),
        pids=pids,
        lines=lines,
        offloaded=engine.offloaded,
        loaded=engine.loaded,
        cpu_fallback=engine.cpu_fallback,
    )


def _inside(plan: Plan, home: Home) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Processes of the server, and its log."""
    lines: list[str] = []
    try:
        running.logs(plan, home, tail=LOG_LINES, follow=False, on_line=lines.append)
        return resident(running.state(home, plan)).pids, tuple(lines)
    except DeployerError:
        return (), tuple(lines)


def _slices(gpu: Gpu) -> Iterator[Gpu]:
    for part in gpu.mig.devices if gpu.mig is not None else ():
        yield msgspec.structs.replace(
            gpu, uuid=part.uuid, memory_free_mib=part.memory_free_mib, processes=None, mig=None
        )
