"""What `bench` sees of a server beside its answers: memory, processors, and who else is on its GPUs."""

from collections.abc import Mapping

from deployer import bench, catalog, runtime
from deployer.types import Gpu, Plan, ServerState
from deployer.types.benchmark import BenchMark
from deployer.workflow import gpu_use, live, running
from deployer.workflow.bench_subject import Subject

_KV_USAGE = "kv_cache_usage"


def watch(found: Subject) -> bench.Watch:
    """How to look at it; of a server that is not ours nothing is seen.

    The runtime is asked once, and for metrics only an engine that tells its use of the KV cache: a look each second
    must not take from the server what it measures.
    """
    if found.plan is None:
        return bench.Watch()
    plan, state = found.plan, running.state(found.home, found.plan)
    told = _KV_USAGE in catalog.load_engine(plan.engine).metrics

    def look() -> bench.Reading:
        usage = live.look(plan, found.home, state).kv_cache_usage if told else None
        return bench.Reading(mib=_memory(plan, state), kv_cache_usage=usage)

    return bench.Watch(
        look=look,
        predicted=plan.memory.devices,
        prompt_cache_mib=plan.settings.prompt_cache_mib or 0,
        processor=lambda: runtime.processor(state),
    )


def strangers(found: Subject) -> tuple[BenchMark, ...]:
    """Processes of others that hold memory of the planned GPUs now, where the driver tells them."""
    if found.plan is None or not found.plan.devices:
        return ()
    ours = set(runtime.resident(running.state(found.home, found.plan)).pids)
    gpus = _planned(found.plan)
    return bench.strangers(
        {name: sum(process.pid not in ours for process in gpu.processes or ()) for name, gpu in gpus.items()}
    )


def _planned(plan: Plan) -> Mapping[str, Gpu]:
    """The plan's GPUs now, by UUID."""
    planned = {device.uuid for device in plan.devices}
    return {name: gpu for name, gpu in gpu_use.gpus(plan).items() if name in planned}


def _memory(plan: Plan, state: ServerState) -> dict[str, int]:
    """MiB by device: main memory of its processes, and what NVML says they hold of each GPU."""
    main = runtime.resident(state)
    found = {} if main.used_mib is None else {"host": main.used_mib}
    for name, gpu in _planned(plan).items() if plan.devices else ():
        held = [process.memory_mib for process in gpu.processes or () if process.pid in main.pids]
        if held and None not in held:
            found[name] = sum(size or 0 for size in held)
    return found
