"""Hosts that say little, or say it in names only; disks that are too small; what is nearest when nothing runs."""

import msgspec
import pytest

from deployer.decide.candidates import Device, has_tensor_cores
from deployer.decide.fit import fit_table
from deployer.decide.host import complete
from deployer.errors import NoFitError
from deployer.types import DiskFacts, Gpu, HostFacts, MemoryFacts, MigDevice, MigFacts, NvidiaFacts, Request
from tests.unit.decide.hosts import gpu, host, knowledge, model, plan
from tests.unit.decide.test_rule_table import only, replace, variant

RTX = gpu(0, "GeForce RTX 3060", "8.6", 12288)
QWEN = model("qwen2.5-7b-instruct")


def named(name: str, **more: object) -> HostFacts:
    card = msgspec.convert({"index": 0, "name": name, **more}, Gpu)
    return HostFacts(gpus=(card,), memory=MemoryFacts(total_mib=7600, available_mib=6000))


@pytest.mark.parametrize(
    ("name", "maker"),
    [("AMD Radeon 890M", "amd"), ("NVIDIA Graphics Device", "nvidia"), ("Intel(R) Arc(TM) 140V GPU", "intel"),
     ("GeForce GT 240", "nvidia"), ("Foo 9000", None)],
)  # fmt: skip
def test_a_name_that_is_not_known_still_tells_its_maker(name: str, maker: str | None) -> None:
    done, _ = complete(named(name), knowledge().gpus)
    assert done.gpus[0].vendor == maker


@pytest.mark.parametrize("name", ["Orin", "NVIDIA GB10", "NVIDIA Thor"])
def test_memory_that_is_shared_is_known_by_the_name_alone(name: str) -> None:
    done, _ = complete(named(name), knowledge().gpus)
    assert done.gpus[0].unified_memory
    assert done.gpus[0].memory_total_mib == 7600
    assert (done.gpus[0].memory_free_mib or 0) < 6000


@pytest.mark.parametrize(
    ("name", "has"),
    [("NVIDIA GeForce GTX 1650 with Max-Q Design", False), ("NVIDIA T1200 Laptop GPU", False), ("Tesla T4", True),
     ("Tesla T40 24GB", True), ("NVIDIA GeForce RTX 2070 with Max-Q Design", True)],
)  # fmt: skip
def test_turing_without_tensor_cores_is_known_by_its_kind_of_name(name: str, has: bool) -> None:
    assert has_tensor_cores(Device(gpu(0, name, "7.5", 8192))) is has


def test_a_virtual_gpu_is_the_card_that_it_is_cut_from() -> None:
    done = plan(host(gpu(0, "GRID P40-24Q", "6.1", 24576)), "qwen2.5-7b-instruct")
    assert "P40-24Q 347 GB/s" in done.speed.basis
    assert any("is a virtual GPU" in text for text in done.warnings)
    assert not any("is a virtual GPU" in text for text in plan(host(RTX)).warnings)


def test_a_driver_that_does_not_answer_has_no_vulkan_either() -> None:
    silent = replace(host(replace(RTX, uuid=None)), nvidia=NvidiaFacts(error="no driver (NVML error 12)"))
    found = plan(silent)
    assert found.devices == ()
    assert any(item.image == "server-vulkan" and item.rule == "driver" for item in found.rejected)


def test_an_amd_gpu_of_unknown_target_takes_vulkan() -> None:
    card = Gpu(index=0, vendor="amd", name="AMD Radeon Graphics", memory_total_mib=16384, memory_free_mib=16000)
    assert plan(replace(host(), gpus=(card,))).image.profile == "server-vulkan"


def test_the_disk_bounds_the_form_of_the_model() -> None:
    small = replace(host(RTX), disk=DiskFacts(path="/var/lib/deployer", free_mib=6900))
    found = plan(small)
    assert found.model.quantization == "Q5_K_M"
    assert any(text.startswith("the disk has no room for a larger form of the model: F16") for text in found.warnings)
    here = replace(QWEN, variants=tuple(replace(item, present=True) for item in QWEN.variants))
    assert plan(small, here).model.quantization == plan(host(RTX), here).model.quantization
    begun = replace(QWEN, variants=tuple(replace(item, fetched_bytes=4 << 30) for item in QWEN.variants))
    assert plan(small, begun).model.quantization == plan(host(RTX)).model.quantization
    with pytest.raises(NoFitError, match=r"Q\d\S* has \d+ MiB to fetch, and 900 MiB are free") as caught:
        plan(replace(host(RTX), disk=DiskFacts(free_mib=900)))
    assert {item["rule"] for item in caught.value.details["rejected"]} >= {"disk"}  # type: ignore[attr-defined]


def test_what_fits_into_memory_is_no_question_of_the_disk() -> None:
    small = replace(host(RTX), disk=DiskFacts(free_mib=900))
    ask = Request(model=QWEN.name)
    assert fit_table(ask, small, QWEN, knowledge()) == fit_table(ask, host(RTX), QWEN, knowledge())


def test_what_is_nearest_is_what_came_furthest() -> None:
    slices = tuple(MigDevice(uuid=f"MIG-{index}", memory_total_mib=4864, memory_free_mib=4800) for index in range(4))
    cut = gpu(0, "NVIDIA A100-SXM4-40GB", "8.0", 40960, mig=msgspec.to_builtins(MigFacts(enabled=True, devices=slices)))
    with pytest.raises(NoFitError, match=r"nearest: llama\.cpp server-cuda: .*MIG slices have no access to each other"):
        plan(host(cut), "qwen2.5-14b-instruct", gpus=(0,))
    turing = host(gpu(0, "GeForce RTX 2080 Ti", "7.5", 22528))
    with pytest.raises(NoFitError, match=r"nearest: vllm cuda13: .*MXFP4 .*below compute capability 8\.0.*use GGUF"):
        plan(turing, "gpt-oss-20b", engine="vllm", gpus=(0,))


@pytest.mark.parametrize(
    ("card", "says"),
    [(gpu(0, "GeForce RTX 5090", "12.0", 32607), False), (gpu(0, "GeForce RTX 4090", "8.9", 24564), True)],
)
def test_weights_in_nvfp4_are_native_from_10_0_on(card: Gpu, says: bool) -> None:
    found = plan(host(card), only(variant("safetensors", "NVFP4")), engine="vllm")
    assert (found.engine, found.model.quantization) == ("vllm", "NVFP4")
    assert any("no arithmetic for NVFP4 (from 10.0 on)" in text for text in found.warnings) is says
    assert not any("bfloat16" in text for text in found.warnings)
