"""What counts as proof that a GPU is used, as proof that it is not, and as neither."""

from typing import Any

import msgspec
import pytest

from deployer import catalog
from deployer.health.gpu_use import Evidence, Verdict, verdicts
from deployer.types import DeviceMemory, Gpu, GpuProcess, MemoryPlan, Plan, PlanDevice
from tests.unit.plans import build_plan

LLAMA, OLLAMA = catalog.load_engine("llama.cpp"), catalog.load_engine("ollama")
ONE, TWO = "GPU-1", "GPU-2"
OURS = (100, 101)


def planned(*uuids: str, weights_mib: int = 4000, gpu_layers: int = 33) -> Plan:
    made = build_plan()
    devices = tuple(PlanDevice(index=place, uuid=uuid, vendor="nvidia") for place, uuid in enumerate(uuids))
    memory = MemoryPlan(devices=tuple(memory_of(uuid, weights_mib) for uuid in (*uuids, "host")))
    settings = msgspec.structs.replace(made.settings, gpu_layers=gpu_layers)
    return msgspec.structs.replace(made, devices=devices, memory=memory, settings=settings)


def memory_of(device: str, weights_mib: int) -> DeviceMemory:
    return DeviceMemory(
        device=device,
        weights_mib=weights_mib,
        kv_cache_mib=500,
        compute_mib=100,
        overhead_mib=300,
        total_mib=weights_mib + 900,
        margin_mib=200,
        available_mib=24000,
    )


def gpu(uuid: str = ONE, *, free: int | None = 24000, held: dict[int, int | None] | None = None, **more: Any) -> Gpu:
    processes = None if held is None else tuple(GpuProcess(pid=pid, memory_mib=size) for pid, size in held.items())
    return Gpu(index=0, vendor="nvidia", uuid=uuid, memory_free_mib=free, processes=processes, **more)


def looked(plan: Plan, before: Gpu | None, now: Gpu | None, **more: Any) -> Verdict:
    seen = Evidence(
        before={} if before is None else {before.uuid or "": before},
        now={} if now is None else {now.uuid or "": now},
        pids=OURS,
        **more,
    )
    return verdicts(plan, seen, nothing)[0]


def nothing(path: str) -> dict[str, Any]:
    raise LookupError(f"nobody asks {path}")


@pytest.mark.parametrize(
    ("before", "now", "used", "words"),
    [
        (gpu(), gpu(free=18000), True, "6000 MiB more"),
        (gpu(), gpu(free=21999), True, "2001 MiB more"),
        (gpu(), gpu(free=22001), False, "only 1999 MiB more"),
        (gpu(), gpu(free=24000), False, "only 0 MiB more"),
        # by process, whatever is free
        (gpu(held={}), gpu(free=24000, held={100: 4500}), True, "hold 4500 MiB"),
        (None, gpu(free=24000, held={100: 1500, 101: 1500}), True, "hold 3000 MiB"),
        (gpu(held={}), gpu(free=23700, held={100: 300}), False, "only 300 MiB more"),
        # a stranger ended meanwhile, or took memory
        (gpu(free=14000, held={7: 10000}), gpu(free=19000, held={}), True, "5000 MiB more"),
        (gpu(free=14000, held={7: 10000}), gpu(free=24000, held={}), False, "only 0 MiB more"),
        (gpu(free=14000), gpu(free=19000), None, "others gave back"),
        (gpu(free=14000, held={7: None}), gpu(free=19000, held={}), None, "others gave back"),
        # not known is no failure
        (gpu(), None, None, "nothing tells"),
        (None, gpu(free=24000), None, "before the start"),
        (gpu(free=None), gpu(free=None), None, "before the start"),
        (gpu(), gpu(free=24000, unified_memory=True), None, "before the start"),
    ],
)
def test_memory_of_one_gpu(before: Gpu | None, now: Gpu | None, used: bool | None, words: str) -> None:
    found = looked(planned(ONE), before, now)
    assert (found.name, found.used) == ("gpu memory", used)
    assert words in found.detail
    assert ONE in found.detail


def test_every_planned_gpu_has_to_be_used() -> None:
    plan = planned(ONE, TWO)
    before = {ONE: gpu(ONE), TWO: gpu(TWO)}
    one_idle = Evidence(before=before, now={ONE: gpu(ONE, free=19000), TWO: gpu(TWO)})
    both = Evidence(before=before, now={ONE: gpu(ONE, free=19000), TWO: gpu(TWO, free=19000)})
    one_unknown = Evidence(before=before, now={ONE: gpu(ONE, free=19000)})
    assert [verdicts(plan, seen, nothing)[0].used for seen in (one_idle, both, one_unknown)] == [False, True, None]


def test_a_plan_for_the_cpu_is_not_looked_at() -> None:
    assert verdicts(build_plan(), Evidence(lines=("no usable GPU found",), cpu_fallback=("no usable",)), nothing) == ()


@pytest.mark.parametrize(
    ("lines", "used", "words"),
    [
        (("load_tensors: offloaded 33/33 layers to GPU",), True, "33 of 33"),
        (("load_tensors: offloaded 0/33 layers to GPU",), False, "0 of 33 layers are on GPUs; 33 were planned"),
        (("load_tensors: offloaded 20/33 layers to GPU",), False, "33 were planned"),
        (("offloaded 0/33 layers to GPU", "offloaded 33/33 layers to GPU"), True, "33 of 33"),
        (("something else",), None, "does not tell"),
        (("x" * 5000 + "offloaded 33/33 layers to GPU",), None, "does not tell"),
    ],
)
def test_layers_by_the_log_of_llama_cpp(lines: tuple[str, ...], used: bool | None, words: str) -> None:
    (found,) = (item for item in llama(lines) if item.name == "layers")
    assert found.used is used
    assert words in found.detail


def test_a_partial_offload_is_held_to_its_own_number() -> None:
    lines = ("offloaded 20/33 layers to GPU",)
    assert [item.used for item in llama(lines, gpu_layers=20) if item.name == "layers"] == [True]
    assert [item.used for item in llama(lines, gpu_layers=99) if item.name == "layers"] == [False]
    assert [item for item in llama(lines, gpu_layers=0) if item.name == "layers"] == []


@pytest.mark.parametrize(
    "line",
    [
        "warning: no usable GPU found, --gpu-layers option will be ignored",
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
        "ggml_vulkan: No devices found.",
    ],
)
def test_a_line_of_the_log_that_tells_of_the_cpu_is_a_failure(line: str) -> None:
    (found,) = (item for item in llama(("main: loading", line)) if item.name == "log")
    assert found.used is False
    assert line.rstrip(".") in found.detail


def llama(lines: tuple[str, ...], gpu_layers: int = 33) -> tuple[Verdict, ...]:
    seen = Evidence(lines=lines, offloaded=LLAMA.offloaded, cpu_fallback=LLAMA.cpu_fallback)
    return verdicts(planned(ONE, gpu_layers=gpu_layers), seen, nothing)


@pytest.mark.parametrize(
    ("answer", "used", "words"),
    [
        ({"models": [{"name": "m", "size": 5 << 30, "size_vram": 5 << 30}]}, True, "5120 MiB"),
        ({"models": [{"name": "m", "size": 5 << 30, "size_vram": 0}]}, False, "0 MiB of the model"),
        ({"models": [{"name": "m", "size": 5 << 30, "size_vram": 1 << 30}]}, False, "4000 MiB were planned"),
        ({"models": []}, None, "there is no '0'"),
        ({"models": [{"size_vram": "much"}]}, None, "no number"),
        ({"models": [{"size_vram": True}]}, None, "no number"),
        ({}, None, "there is no 'models'"),
    ],
)
def test_what_ollama_says_of_its_loaded_model(answer: dict[str, Any], used: bool | None, words: str) -> None:
    seen = Evidence(loaded=OLLAMA.loaded)
    found = verdicts(planned(ONE), seen, {"/api/ps": answer}.__getitem__)[-1]
    assert (found.name, found.used) == ("gpu model", used)
    assert words in found.detail


def test_an_engine_that_does_not_answer_is_not_measured() -> None:
    found = verdicts(planned(ONE), Evidence(loaded=OLLAMA.loaded), nothing)[-1]
    assert found.used is None
    assert "nobody asks /api/ps" in found.detail
