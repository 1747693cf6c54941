"""How every engine is started on every kind of host that it can run on, as planned from the real profiles.

A golden holds what starts it: command, environment, mounts, user, what it may write, its key, setup and gateway.
tests/integration/test_arguments.py hands the commands to the engines' own argument parsers.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation

from deployer.errors import NoFitError
from deployer.render import render
from deployer.types import CpuFacts, HostFacts, Plan
from tests.unit.decide.hosts import every_form, host, plan, sample
from tests.unit.render.conftest import GOLDEN, GoldenFile

LAUNCHES = GOLDEN / "launches"
SMALL, MEDIUM, LARGE = "qwen2.5-7b-instruct", "qwen2.5-32b-instruct", "qwen2.5-72b-instruct"
RERANKER = "bge-reranker-v2-m3"
AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16")
AMX = ("avx", "avx2", *AVX512, "amx_tile", "amx_int8", "amx_bf16")
XEON = CpuFacts(model="Xeon", architecture="x86_64", cores=32, available_cores=32, flags=AMX)
KINDS: dict[str, tuple[Callable[[], HostFacts], str]] = {
    "nvidia-one": (lambda: sample("rtx4090-580"), SMALL),
    "nvidia-many": (lambda: sample("h100x8-580"), LARGE),
    "nvidia-old": (lambda: sample("p40x2-580"), MEDIUM),
    "jetson": (lambda: sample("jetson-orin"), SMALL),
    "amd": (lambda: sample("mi210x2"), SMALL),
    "intel": (lambda: sample("arc-a770"), SMALL),
    "cpu": (lambda: sample("cpu-avx512"), SMALL),
    "cpu-amx": (lambda: changed_cpu(host(ram_mib=256000), XEON), SMALL),
    "reranker": (lambda: sample("rtx4090-580"), RERANKER),
}
RUNS = {
    "llama.cpp": ("nvidia-one", "nvidia-many", "nvidia-old", "jetson", "amd", "intel", "cpu", "reranker"),
    "ollama": ("nvidia-one", "nvidia-many", "nvidia-old", "jetson", "amd", "cpu"),
    "vllm": ("nvidia-one", "nvidia-many", "amd", "cpu", "reranker"),
    "sglang": ("nvidia-one", "nvidia-many", "cpu-amx", "reranker"),
    "tgi": ("nvidia-one", "nvidia-many"),
    "tensorrt-llm": ("nvidia-one", "nvidia-many"),
    "lm-studio": ("cpu",),
}
CANNOT = {
    "sglang": ("nvidia-old", "jetson", "amd", "intel", "cpu"),
    "tgi": ("nvidia-old", "jetson", "amd", "intel", "cpu"),
    "tensorrt-llm": ("nvidia-old", "jetson", "amd", "intel", "cpu"),
}
PAIRS = [(engine, kind) for engine, kinds in RUNS.items() for kind in kinds]
BEHIND = sorted(set(RUNS) - {"llama.cpp", "sglang"})
SAID = (
    "entrypoint",
    "command",
    "environment",
    "user",
    "networks",
    "secrets",
    "tmpfs",
    "ulimits",
    "shm_size",
    "devices",
)
ALSO_SAID = ("group_add", "deploy", "runtime")


class GoldenLaunch(GoldenFile):
    file_extension = "json"

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(LAUNCHES)

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return Path(snapshot_location).parent == LAUNCHES


class GoldenConfig(GoldenLaunch):
    file_extension = "cfg"


def changed_cpu(where: HostFacts, cpu: CpuFacts) -> HostFacts:
    return msgspec.structs.replace(where, cpu=cpu)


def planned(engine: str, kind: str) -> Plan:
    where, model = KINDS[kind]
    users = 1 if (engine, kind) == ("llama.cpp", "nvidia-old") else 4  # for more of them there would be two copies
    return plan(where(), every_form(model), engine=engine, runtime="compose", users=users)


def launch(found: Plan) -> dict[str, Any]:
    """What a golden holds."""
    document = yaml.safe_load(render(found).files["compose.yaml"])
    service = document["services"]["llm" if found.gateway is None else "engine"]
    return {
        "image": found.image.reference or found.image.dockerfile,
        **{name: service[name] for name in (*SAID, *ALSO_SAID) if name in service},
        "volumes": [f"{mount['source']}:{mount['target']}" for mount in service["volumes"]],
        "healthcheck": service["healthcheck"]["test"],
        "setup": found.setup,
        "files": found.files,
        "ready": found.health.path,
        "gateway": None if found.gateway is None else found.gateway.routes,
    }


@pytest.mark.parametrize(("engine", "kind"), PAIRS)
def test_launch_golden(engine: str, kind: str, snapshot: SnapshotAssertion) -> None:
    text = json.dumps(launch(planned(engine, kind)), indent=1) + "\n"
    assert text == snapshot(name=f"{engine}-{kind}", extension_class=GoldenLaunch)


@pytest.mark.parametrize("engine", BEHIND)
def test_gateway_golden(engine: str, snapshot: SnapshotAssertion) -> None:
    text = render(planned(engine, RUNS[engine][0])).files["haproxy.cfg"]
    assert text == snapshot(name=engine, extension_class=GoldenConfig)


@pytest.mark.parametrize(("engine", "kind"), [(engine, kind) for engine, kinds in CANNOT.items() for kind in kinds])
def test_what_cannot_run_is_refused_with_reasons(engine: str, kind: str) -> None:
    with pytest.raises(NoFitError) as refused:
        planned(engine, kind)
    rejected = msgspec.convert(refused.value.details["rejected"], list[dict[str, Any]])
    own = [item for item in rejected if item["engine"] == engine]
    assert {item["rule"] for item in own} - {"forced"}
    assert all(item["reason"] for item in own)


@pytest.mark.parametrize(("engine", "kind"), PAIRS)
def test_many_cards_are_all_used_and_named(engine: str, kind: str) -> None:
    found = planned(engine, kind)
    if kind == ("nvidia-old" if engine in ("llama.cpp", "ollama") else "nvidia-many"):
        assert len(found.devices) > 1
    uuids = [device.uuid for device in found.devices if found.image.accelerator == "cuda" and not device.tegra]
    text = render(found).files["compose.yaml"]
    assert all(uuid is not None and uuid in text for uuid in uuids)


@pytest.mark.parametrize(("engine", "kind"), PAIRS)
def test_the_key_is_asked_for_by_the_engine_or_by_its_gateway(engine: str, kind: str) -> None:
    found = planned(engine, kind)
    document = yaml.safe_load(render(found).files["compose.yaml"])
    reached = document["services"]["llm"]
    assert "api_key" in reached["secrets"]
    assert [service for service in document["services"].values() if "ports" in service] == [reached]
    assert (found.gateway is not None) == (engine in BEHIND)
    if found.gateway is None:
        assert found.launcher or "--api-key-file" in found.command
    else:
        assert document["networks"]["engine"]["internal"] is True
        assert document["services"]["engine"]["networks"] == ["engine"]
