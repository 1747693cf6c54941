"""Every rule is needed: without it, the decision on at least one host would be another one.

Each rule of the visible table has a row here. The row's decision is made twice, with the rule and with one in its place
that never refuses, and the two have to differ.
"""

from collections.abc import Callable

import msgspec
import pytest

from deployer.decide import rules
from deployer.decide.rules import Rule
from deployer.errors import DeployerError
from deployer.types import (
    Advisory,
    AmdFacts,
    ContainerFacts,
    EngineProfile,
    Gpu,
    HostFacts,
    ImageProfile,
    Knowledge,
    MigDevice,
    MigFacts,
    ModelSpec,
    ModelVariant,
    NvidiaFacts,
    OsFacts,
    QuantizationSupport,
)
from tests.unit.decide.hosts import DOCKER, gpu, host, knowledge, model, plan

replace = msgspec.structs.replace

P40 = gpu(0, "Tesla P40", "6.1", 24576)
RTX = gpu(0, "GeForce RTX 4090", "8.9", 24564)
T4 = gpu(0, "Tesla T4", "7.5", 15360)
A100 = gpu(0, "A100-SXM4-80GB", "8.0", 81920)
RADEON = Gpu(
    index=0, vendor="amd", name="Radeon RX 7900 XTX", gfx="gfx1100", memory_total_mib=24560, memory_free_mib=24000
)
QWEN = model("qwen2.5-7b-instruct")
SMALL = model("qwen2.5-0.5b-instruct")


def variant(form: str, quantization: str) -> ModelVariant:
    facts = {"format": form, "quantization": quantization, "source": "hf:a/b", "files": ["x"], "path": "/models/x"}
    return msgspec.convert(facts, ModelVariant)


def only(*variants: ModelVariant, of: ModelSpec = QWEN) -> ModelSpec:
    return replace(of, variants=variants)


GGUF = variant("gguf", "Q4_K_M")
BF16, AWQ, FP8 = variant("safetensors", "BF16"), variant("awq", "AWQ"), variant("fp8", "FP8")


def engine(name: str, **changes: object) -> EngineProfile:
    return replace(next(item for item in knowledge().engines if item.engine == name), **changes)


def knowing(*engines: EngineProfile, advisories: tuple[Advisory, ...] = ()) -> Knowledge:
    return replace(knowledge(), engines=engines, advisories=advisories)


def image(name: str, profile: str, **changes: object) -> ImageProfile:
    return replace(next(item for item in engine(name).images if item.id == profile), **changes)


LLAMA = engine("llama.cpp")
SERVER = engine("llama.cpp", images=(image("llama.cpp", "server"),))
CUDA = engine("llama.cpp", images=(image("llama.cpp", "server-cuda"),))
VULKAN = engine("llama.cpp", images=(image("llama.cpp", "server-vulkan"),))
VLLM = engine("vllm", images=(image("vllm", "cuda13"),))
HOLE = Advisory(id="CVE-1", engine="llama.cpp", summary="a hole", source="here", fixed="b99999")
FP8_SUPPORT = QuantizationSupport(
    quantization="FP8", format="fp8", source="here", min_capability="8.0", native_capability="8.9"
)
MIXTURE = replace(QWEN.architecture, experts=8, experts_used=2)
SLICES = MigFacts(
    enabled=True,
    devices=(
        MigDevice(uuid="MIG-a", name="1g", memory_total_mib=9800, memory_free_mib=9600),
        MigDevice(uuid="MIG-b", name="1g", memory_total_mib=9800, memory_free_mib=9600),
    ),
)


class Row(msgspec.Struct, frozen=True):
    """One question; `asked` are words of the request."""

    where: HostFacts
    what: ModelSpec = QWEN
    known: Knowledge | None = None
    asked: dict[str, object] = {}
    unavailable: dict[str, str] = {}


def pair(one: Gpu, **second: object) -> HostFacts:
    other = replace(one, index=1, uuid="GPU-00000001-0000-4000-8000-000000000000", **second)
    return host(one, other)


TABLE: dict[str, Row] = {
    "forced_engine": Row(host(RTX), asked={"engine": "ollama"}),
    "legacy": Row(host(RTX), only(BF16), knowing(engine("tgi"))),
    "model_architecture": Row(
        host(), replace(SMALL, architecture=replace(SMALL.architecture, name="foozz")), knowing(SERVER)
    ),
    "reranker": Row(host(), replace(SMALL, reranker=True, embedding=True), knowing(engine("ollama"))),
    "workload": Row(host(), SMALL, asked={"workload": "embedding"}),
    "context": Row(host(), SMALL, asked={"context": 40000}),
    "kv_type": Row(host(), SMALL, knowing(replace(SERVER, kv_types=("f16",)), engine("ollama")), {"kv_type": "q8_0"}),
    "kv_type_devices": Row(
        host(gpu(0, "Tesla V100", "7.0", 32768), driver="575.1"), only(BF16),
        knowing(engine("vllm", images=(image("vllm", "cuda12-volta"),))), {"kv_type": "fp8"},
    ),
    "kv_type_heads": Row(
        host(), replace(SMALL, architecture=replace(SMALL.architecture, head_dim=80)),
        knowing(SERVER, replace(engine("vllm"), images=(image("vllm", "cpu"),))), {"kv_type": "q8_0"},
    ),
    "forced_quantization": Row(host(RTX), asked={"quantization": "Q4_K_M"}),
    "model_format": Row(host(), only(AWQ), knowing(replace(SERVER, quantizations=("AWQ",)))),
    "quantization": Row(host(), only(variant("gguf", "Q9_X")), knowing(SERVER)),
    "model_source": Row(host(), only(replace(GGUF, source="/nowhere/x.gguf", present=False)), knowing(SERVER)),
    "forced_image": Row(host(RTX), asked={"image": "server-cuda13"}),
    "forced_runtime": Row(replace(host(), programs={"llama-server": "1"}), SMALL, asked={"runtime": "process"}),
    "runtime": Row(replace(host(), container=ContainerFacts(error="not found"), programs={"xllamacpp": "1"}), SMALL),
    "container_first": Row(
        replace(host(), programs={"llama-server": "1"}),
        SMALL,
        knowing(engine("llama.cpp", images=(image("llama.cpp", "llama-server"),))),
    ),
    "security": Row(host(), SMALL, knowing(SERVER, advisories=(HOLE,))),
    "cpu_architecture": Row(
        replace(host(), cpu=replace(host().cpu, architecture="riscv64")), SMALL, knowing(SERVER)
    ),
    "cpu_flags": Row(
        replace(host(), container=ContainerFacts(error="none"), programs={"xllamacpp": "1"},
                cpu=replace(host().cpu, flags=("sse2",))),
        SMALL,
    ),
    "architecture_since": Row(host(), SMALL, knowing(replace(SERVER, architectures_since={"qwen2": "b99999"}))),
    "forced_devices": Row(
        replace(host(RTX), container=replace(DOCKER, nvidia_toolkit=None, nvidia_runtime=False, cdi=())),
        asked={"gpus": (0,)},
    ),
    "broken_driver": Row(
        replace(host(replace(P40, error="x")), nvidia=NvidiaFacts(error="mismatch: reboot this host")), SMALL
    ),
    "vendor": Row(replace(host(), gpus=(RADEON,)), known=knowing(CUDA)),
    "last_driver": Row(host(P40, driver="590.44.01"), known=knowing(CUDA)),
    "jetson": Row(host(gpu(0, "Orin", "8.7", 30000)), known=knowing(CUDA)),
    "compute_capability": Row(
        host(P40), known=knowing(engine("llama.cpp", images=(image("llama.cpp", "server-cuda13"),)))
    ),
    "vulkan_capability": Row(host(gpu(0, "Tesla K80", "3.7", 12000), driver="470.1"), known=knowing(VULKAN)),
    "vulkan_driver": Row(host(P40, driver="390.157"), known=knowing(VULKAN)),
    "vulkan_gfx": Row(replace(host(), gpus=(replace(RADEON, gfx="gfx942"),)), known=knowing(VULKAN)),
    "vgpu_profile": Row(host(gpu(0, "GRID P40-8B", "6.1", 8192)), known=knowing(CUDA)),
    "gfx": Row(
        replace(host(), gpus=(replace(RADEON, gfx="gfx906"),)),
        known=knowing(engine("llama.cpp", images=(image("llama.cpp", "server-rocm"),))),
    ),
    "amd_device_files": Row(replace(host(), gpus=(RADEON,), amd=AmdFacts(error="no /dev/kfd"))),
    "container_gpu_injection": Row(
        replace(host(RTX), container=replace(DOCKER, nvidia_toolkit=None, nvidia_runtime=False, cdi=()))
    ),
    "device_files": Row(
        replace(
            host(),
            gpus=(replace(RADEON, access="may not open /dev/kfd: run `sudo usermod -aG 992 $USER`"),),
            container=replace(DOCKER, rootless=True),
        )
    ),
    "ptx_driver": Row(host(P40, driver="550.1"), known=knowing(CUDA)),
    "driver": Row(host(RTX, driver="535.1"), known=knowing(CUDA)),
    "unknown_capability": Row(host(gpu(0, "Foo", None, 24000), driver="550.1"), known=knowing(CUDA)),
    "one_gpu": Row(
        pair(RTX), only(BF16), knowing(replace(VLLM, splits=())), {"gpus": (0, 1), "engine": "vllm"}
    ),
    "mig": Row(
        host(gpu(0, "A100-SXM4-80GB", "8.0", 81920, mig=msgspec.to_builtins(SLICES))), SMALL, asked={"gpus": (0,)}
    ),
    "tensor_parallel_alike": Row(
        pair(RTX, name="A100", compute_capability="8.0"), only(BF16), knowing(VLLM), {"gpus": (0, 1)}
    ),
    "tensor_parallel_heads": Row(
        host(*[replace(RTX, index=index, uuid=f"GPU-{index}") for index in range(3)]), only(BF16), knowing(VLLM),
        {"gpus": (0, 1, 2)},
    ),
    "quantization_capability": Row(
        host(gpu(0, "Tesla V100", "7.0", 32768), driver="575.1"), only(AWQ),
        knowing(engine("vllm", images=(image("vllm", "cuda12-volta"),))),
    ),
    "quantization_experts": Row(
        host(A100), only(FP8, of=replace(QWEN, architecture=MIXTURE)),
        knowing(engine("sglang", quantization_support=(FP8_SUPPORT,))),
    ),
    "quantization_gfx": Row(
        replace(host(), gpus=(RADEON,)), only(FP8), knowing(engine("vllm", images=(image("vllm", "rocm"),)))
    ),
    "quantization_float16": Row(
        host(gpu(0, "Tesla T4", "7.5", 15360)),
        only(BF16, of=replace(SMALL, architecture=replace(SMALL.architecture, name="gemma3"))), knowing(VLLM),
    ),
    "quantization_cpu": Row(host(ram_mib=200000), only(FP8), knowing(engine("vllm", images=(image("vllm", "cpu"),)))),
}  # fmt: skip

REFUSED_ONLY: dict[str, Row] = {
    "image_unavailable": Row(host(RTX), unavailable={"server-cuda": "the registry refused"}),
}
"""Without these, the decision is the same, but nobody would be told why."""


def outcome(row: Row) -> object:
    try:
        found = plan(row.where, row.what, known=row.known, unavailable=row.unavailable, asked=row.asked)
    except DeployerError as error:
        return error.kind
    shape = (found.settings.tensor_parallel, found.settings.data_parallel, found.settings.pipeline_parallel)
    return (found.engine, found.image.profile, found.model.quantization, found.devices, found.runtime, shape)


def told(row: Row, rule: str) -> bool:
    found = plan(row.where, row.what, known=row.known, unavailable=row.unavailable, asked=row.asked)
    return any(item.rule == rule for item in found.rejected)


GROUPS = ("ENGINE_RULES", "VARIANT_RULES", "IMAGE_RULES", "DEVICE_RULES", "SAFETY_RULES", "SET_RULES", "FORM_RULES")


def silence(patch: pytest.MonkeyPatch, name: str) -> str:
    """Replace the rule by one that never refuses; its name for scripts."""
    for group in GROUPS:
        table: tuple[Rule, ...] = getattr(rules, group)
        for rule in table:
            if function_name(rule) == name:
                quiet = tuple(Rule(item.name, _never) if item is rule else item for item in table)
                patch.setattr(rules, group, quiet)
                return rule.name
    raise AssertionError(name)


def _never(*_: object) -> None:
    return None


def function_name(rule: Rule) -> str:
    check: Callable[..., object] = rule.check
    return check.__name__


@pytest.mark.parametrize("name", TABLE)
def test_without_the_rule_the_decision_is_another(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = outcome(TABLE[name])
    silence(monkeypatch, name)
    assert outcome(TABLE[name]) != before


@pytest.mark.parametrize("name", REFUSED_ONLY)
def test_without_the_rule_nobody_is_told_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = REFUSED_ONLY[name]
    with monkeypatch.context() as patch:
        rule = silence(patch, name)
        assert not told(row, rule)
    assert told(row, rule)


def test_every_rule_of_the_table_has_a_row() -> None:
    names = [function_name(rule) for rule in rules.RULES]
    assert len(names) == len(set(names))
    assert set(names) == set(TABLE) | set(REFUSED_ONLY)


def test_nobody_is_refused_for_what_is_unknown() -> None:
    blind = HostFacts(gpus=(Gpu(index=0, vendor="nvidia"),), container=DOCKER, os=OsFacts())
    found = plan(blind, SMALL, gpus=(0,), known=knowing(CUDA))
    assert (found.engine, found.image.profile) == ("llama.cpp", "server-cuda")
