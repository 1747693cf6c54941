"""Single rules on hand-made images: the sentence, and that unknown facts refuse nothing."""

import msgspec
import pytest

from deployer.decide import rules, rules_container, rules_device, rules_engine, rules_image
from deployer.decide.candidates import Candidate, Device
from deployer.decide.capability import code_for, last_driver
from deployer.decide.host import complete
from deployer.decide.source import build_arguments
from deployer.decide.version import at_least, newer_branch, numbers
from deployer.types import CpuFacts, Gpu, GpuModel, HostFacts, ImageProfile, NvidiaFacts, Request
from tests.unit.decide.hosts import DOCKER, gpu, knowledge, model

replace = msgspec.structs.replace
ENGINE = knowledge().engines[0]
MODEL = model("qwen2.5-7b-instruct")
REQUEST = Request(model="qwen2.5-7b-instruct")
CUDA = ImageProfile(
    id="cuda", version="1", accelerator="cuda", command=("x",), sources=(), reference="x/y:1", cuda="12.8",
    sass=("8.6",),    ptx=("5.0",), driver_min="550", driver_min_ptx="570",
)  # fmt: skip


def candidate(image: ImageProfile = CUDA, *gpus: Gpu) -> Candidate:
    return Candidate(ENGINE, image, MODEL.variants[0], tuple(Device(item) for item in gpus))


def driver(version: str | None) -> HostFacts:
    return HostFacts(nvidia=NvidiaFacts(driver=version))


@pytest.mark.parametrize(
    ("capability", "code"),
    [("8.6", "sass"), ("8.9", "sass"), ("8.0", "ptx"), ("9.0", "ptx"), ("5.0", "ptx"), ("3.7", None)],
)
def test_compiled_code_runs_within_its_major(capability: str, code: str | None) -> None:
    assert code_for(CUDA, gpu(0, "x", capability, 8000)) == code


def test_code_for_one_architecture_runs_on_it_alone() -> None:
    image = replace(CUDA, sass=("12.0a",), ptx=("9.0a",))
    assert code_for(image, gpu(0, "x", "12.0", 8000)) == "sass"
    assert code_for(image, gpu(0, "x", "12.1", 8000)) is None


def test_versions_are_numbers() -> None:
    assert not at_least("535.183.01", "570")
    assert at_least("570", "570")
    assert at_least("1000.1", "999.9")
    assert newer_branch("590.44", "580")
    assert not newer_branch("580.126", "580")
    assert numbers("none") == ()


@pytest.mark.parametrize(("capability", "branch"), [("3.7", "470"), ("5.2", "580"), ("7.0", "580"), ("7.5", None)])
def test_the_last_driver_follows_from_the_capability(capability: str, branch: str | None) -> None:
    assert last_driver(gpu(0, "x", capability, 8000), None) == branch


def test_driver_floors_differ_by_code() -> None:
    ampere, pascal = gpu(0, "RTX 3090", "8.6", 24000), gpu(0, "P40", "6.1", 24000)
    for version, sass, ptx in (("550.1", True, False), ("570.1", True, True), ("535.1", False, False)):
        assert (rules_device.driver(candidate(CUDA, ampere), driver(version), MODEL, REQUEST) is None) is sass
        assert (rules_device.ptx_driver(candidate(CUDA, pascal), driver(version), MODEL, REQUEST) is None) is ptx
    assert rules_device.ptx_driver(candidate(CUDA, pascal), driver(None), MODEL, REQUEST) is None


def test_a_broken_driver_is_said() -> None:
    where = HostFacts(nvidia=NvidiaFacts(error="Driver/library version mismatch"))
    said = rules_device.vendor(candidate(CUDA), where, MODEL, REQUEST)
    assert said == "cuda needs an NVIDIA GPU; the NVIDIA driver does not answer: Driver/library version mismatch"


def test_a_build_is_for_the_capabilities_of_the_chosen_gpus() -> None:
    image = replace(CUDA, reference=None, dockerfile="d.j2", sass=("6.1", "8.6"), ptx=())
    mixed = candidate(image, gpu(0, "P40", "6.1", 24000), gpu(1, "RTX 3090", "8.6", 24000))
    assert rules_device.compute_capability(mixed, driver("580"), MODEL, REQUEST) is None
    assert build_arguments(image, mixed.devices)["CUDA_ARCH"] == "61;86"
    unknown = candidate(image, gpu(0, "Foo", None, 24000))
    assert "unknown" in (rules_device.compute_capability(unknown, driver("580"), MODEL, REQUEST) or "")


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        (replace(DOCKER, nvidia_toolkit=None, nvidia_runtime=False, cdi=()), True),
        (replace(DOCKER, nvidia_toolkit=None, nvidia_runtime=False, cdi=("nvidia.com/gpu=all",)), False),
        (replace(DOCKER, nvidia_toolkit="1.17.8", nvidia_runtime=False, cdi=()), False),
        (replace(DOCKER, nvidia_toolkit=None, nvidia_runtime=None, cdi=None), False),
    ],
)
def test_injection_is_refused_only_when_nothing_can_do_it(facts: object, refused: bool) -> None:
    where = msgspec.convert({"container": msgspec.to_builtins(facts)}, type=HostFacts)
    said = rules_container.container_gpu_injection(candidate(CUDA, gpu(0, "P40", "6.1", 24000)), where, MODEL, REQUEST)
    assert (said is not None) is refused


def test_rootless_docker_and_podman_have_their_own_repair() -> None:
    assert "systemctl --user restart docker" in rules_container.repair_injection(replace(DOCKER, rootless=True))
    assert "nvidia-ctk cdi generate" in rules_container.repair_injection(replace(DOCKER, engine="podman"))


def test_cpu_flags_and_architecture() -> None:
    image = replace(CUDA, accelerator="cpu", cpu_flags=("avx2",), architectures=("x86_64",))
    for flags, refused in ((None, False), (("avx2",), False), (("sse2",), True)):
        where = HostFacts(cpu=CpuFacts(flags=flags))
        assert (rules_image.cpu_flags(candidate(image), where, MODEL, REQUEST) is not None) is refused
    for machine, refused in ((None, False), ("amd64", False), ("aarch64", True)):
        where = HostFacts(cpu=CpuFacts(architecture=machine))
        assert (rules_image.cpu_architecture(candidate(image), where, MODEL, REQUEST) is not None) is refused


def test_a_program_must_be_listed_where_programs_are_known() -> None:
    image = replace(CUDA, reference=None, program="xllamacpp", accelerator="cpu", install="pip install it")
    assert rules_image.runtime(candidate(image), HostFacts(programs=None), MODEL, REQUEST) is None
    assert rules_image.runtime(candidate(image), HostFacts(programs={"xllamacpp": "1"}), MODEL, REQUEST) is None
    assert "pip install it" in (rules_image.runtime(candidate(image), HostFacts(programs={}), MODEL, REQUEST) or "")


def test_formats_and_quantizations_of_the_engine() -> None:
    awq = replace(MODEL.variants[0], format="awq", quantization="AWQ")
    strange = Candidate(ENGINE, CUDA, awq)
    assert rules_engine.model_format(strange, HostFacts(), MODEL, REQUEST) == "llama.cpp reads gguf, not awq"
    assert "does not know the quantization AWQ" in (
        rules_engine.quantization(strange, HostFacts(), MODEL, REQUEST) or ""
    )


def test_rule_names_are_stable_words() -> None:
    names = {rule.name for rule in rules.RULES} | {rules.MEMORY_RULE, rules.DISK_RULE}
    assert names == {
        "forced", "runtime", "image-unavailable", "cpu-architecture", "cpu-flags", "vendor", "compute-capability",
        "ptx-driver", "driver", "last-driver", "gfx", "container-gpu-injection", "model-architecture", "format",
        "quantization", "workload", "model-source", "context", "memory", "legacy", "security", "split", "mig",
        "tensor-parallel", "quantization-support", "jetson", "container-first", "kv-type", "vgpu", "disk",
    }  # fmt: skip


TABLE = (
    GpuModel(
        name="Tesla P40", vendor="nvidia", architecture="pascal", memory_mib=23040, bandwidth_gb_s=347,
        compute_capability="6.1", last_driver="580", aliases=("P40",),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["Tesla P40", "NVIDIA Tesla P40", "tesla p40", "P40", "nvidia p40", "Tesla P40 24GB", "NVIDIA(R) Tesla(TM) P40"],
)
def test_a_gpu_is_known_by_its_name_however_it_is_written(name: str) -> None:
    done, warnings = complete(HostFacts(gpus=(Gpu(index=0, name=name),)), TABLE)
    card = done.gpus[0]
    assert (card.vendor, card.compute_capability, card.memory_total_mib) == ("nvidia", "6.1", 23040)
    assert card.memory_free_mib == 23040 - 512
    assert len(warnings) == 2


def test_what_a_gpu_told_is_kept_and_a_stranger_stays_unknown() -> None:
    told = gpu(0, "Tesla P40", "6.1", 24576)
    done, warnings = complete(HostFacts(gpus=(told, Gpu(index=1, name="Foo 9000"))), TABLE)
    assert (done.gpus[0].memory_total_mib, done.gpus[0].architecture) == (24576, "pascal")
    assert done.gpus[1].memory_total_mib is None
    assert warnings == (
        "GPU 1 (Foo 9000): memory and compute capability unknown: not reported, and not known by this name",
    )
