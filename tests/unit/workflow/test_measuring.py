"""An estimate beside what was read of the server; the reading itself is in tests/integration."""

from typing import Any

import msgspec
import pytest

from deployer.runtime import Resident
from deployer.types import (
    Check,
    DeviceMemory,
    Gpu,
    GpuProcess,
    HealthReport,
    MeasuredMemory,
    MemoryPlan,
    Observation,
    Plan,
    PlanDevice,
    Release,
)
from deployer.workflow import measuring
from deployer.workflow.measuring import Readings
from tests.unit.plans import build_plan

MAIN = Resident(pids=(100, 101), anonymous_mib=300, file_mib=90, cgroup_mib=310)
FOUND = HealthReport(
    ready_after_s=1.0,
    checks=(Check(name="ready", passed=True, detail="", seconds=1.0),),
    tokens_per_s=40.0,
    prompt_tokens_per_s=400.0,
)


def device(name: str, total: int, available: int | None = 24000) -> DeviceMemory:
    return DeviceMemory(
        device=name,
        weights_mib=total - 100,
        kv_cache_mib=50,
        compute_mib=20,
        overhead_mib=30,
        total_mib=total,
        margin_mib=128,
        available_mib=available,
    )


def plan(**settings: Any) -> Plan:
    made = build_plan(devices=[{"index": 0, "uuid": "GPU-a", "name": "RTX", "vendor": "nvidia"}])
    return msgspec.structs.replace(
        made,
        memory=MemoryPlan(devices=(device("GPU-a", 8000), device("host", 500))),
        settings=msgspec.structs.replace(made.settings, **settings),
    )


def gpu(*processes: tuple[int, int | None], free: int | None = 15000) -> dict[str, Gpu]:
    held = tuple(GpuProcess(pid=pid, memory_mib=size) for pid, size in processes)
    return {"GPU-a": Gpu(index=0, vendor="nvidia", uuid="GPU-a", memory_free_mib=free, processes=held)}


def seen(made: Plan, readings: Readings) -> Observation:
    release = Release(name=made.name, number=3, status="healthy", created_at="", plan_hash=made.plan_hash)
    return measuring.observation(made, release, FOUND, readings)


def measured(made: Plan, **readings: Any) -> MeasuredMemory:
    return seen(made, Readings(main=MAIN, **readings)).measured[0]


def test_main_memory_is_the_larger_count_and_the_mapped_files() -> None:
    found = seen(plan(), Readings(main=MAIN, parts={"host": {"kv": 7}}))
    host = found.measured[1]
    assert (host.used_mib, host.how, host.parts) == (400, "resident", {"kv": 7})
    assert (host.anonymous_mib, host.file_mib, host.cgroup_mib) == (300, 90, 310)
    assert (found.decode_tokens_per_s, found.prompt_tokens_per_s, found.release) == (40.0, 400.0, 3)


def test_of_a_gpu_the_servers_processes_count_and_no_other() -> None:
    found = measured(plan(), gpus=gpu((100, 7000), (101, 900), (555, 4000)), parts={"GPU-a": {"weights": 6000}})
    assert (found.used_mib, found.how, found.parts) == (7900, "nvml-process", {"weights": 6000})


@pytest.mark.parametrize("processes", [(), ((100, None),), ((555, 4000),)])
def test_without_processes_what_is_less_free_is_the_servers(processes: tuple[tuple[int, int | None], ...]) -> None:
    found = measured(plan(), gpus=gpu(*processes), alone=True)
    assert (found.used_mib, found.how) == (9000, "delta")


@pytest.mark.parametrize(
    ("settings", "readings"),
    [
        ({}, {"gpus": gpu(), "alone": False}),
        ({}, {"gpus": gpu(free=None), "alone": True}),
        ({}, {"gpus": gpu(free=24001), "alone": True}),
        ({"gpu_memory_fraction": 0.9}, {"gpus": gpu(), "alone": True}),
        ({}, {"gpus": {}, "alone": True}),
    ],
)
def test_what_cannot_be_compared_is_unknown_with_a_reason(settings: dict[str, Any], readings: dict[str, Any]) -> None:
    found = measured(plan(**settings), **readings)
    assert found.used_mib is None
    assert found.how is None
    assert found.why


def test_rows_say_the_error_of_each_device() -> None:
    rows = measuring.rows(seen(plan(), Readings(main=MAIN, gpus=gpu((100, 8080)))))
    assert [(row.device, row.predicted_mib, row.measured_mib, row.error_percent) for row in rows] == [
        ("GPU-a", 8000, 8080, 1.0),
        ("host", 500, 400, -25.0),
    ]
    assert measuring.rows(None) == ()


def test_main_memory_that_cannot_be_seen_has_its_reason() -> None:
    rows = measuring.rows(seen(plan(), Readings(main=Resident(why="not from here"))))
    assert (rows[1].measured_mib, rows[1].error_percent, rows[1].why) == (None, None, "not from here")


def test_a_gpu_without_a_uuid_is_named_by_its_number() -> None:
    made = msgspec.structs.replace(
        plan(),
        devices=(PlanDevice(index=2, uuid=None, vendor="amd"),),
        memory=MemoryPlan(devices=(device("gpu2", 8000),)),
    )
    assert measuring.rows(seen(made, Readings(main=MAIN)))[0].why == "its driver does not tell what a process holds"
