"""Hardware that says less than it seems, or more: unknown memory, odd chips, boards, drivers that do not answer."""

import pytest

from deployer.decide.host import by_name, lookup
from deployer.errors import BadInputError, NoFitError
from deployer.facts import pci_names
from deployer.types import AmdFacts, Gpu, HostFacts, MemoryFacts, NvidiaFacts, OsFacts, Plan
from tests.unit.decide.hosts import DOCKER, every_form, gpu, host, knowledge, model, plan, sample
from tests.unit.decide.test_rule_table import AWQ, BF16, GGUF, P40, RADEON, RTX, only, replace

GTX = ("GeForce GTX 1660 SUPER", "7.5", 6144)
GRAPHICS = Gpu(index=0, vendor="intel", name="Intel UHD Graphics 770", unified_memory=True, pci_bus_id="0000:00:02.0")
VLLM_IMAGE = "docker.io/vllm/vllm-openai"


def warned(found: Plan, text: str) -> bool:
    return any(text in warning for warning in found.warnings)


def part(found: Plan, name: str) -> tuple[float, str]:
    return next((item.value, item.why) for item in found.score if item.part == name)


@pytest.mark.parametrize(
    ("what", "expected"),
    [("qwen2.5-7b-instruct", "Q4_K_M"), ("llama-3.3-70b-instruct", "Q4_K_M"), ("qwen2.5-0.5b-instruct", "Q6_K")],
)
def test_memory_that_nobody_knows_takes_a_small_form_that_is_still_good(what: str, expected: str) -> None:
    found = plan(host(gpu(0, "Foo 9000", "8.6", None)), what)
    assert (found.image.accelerator, found.model.quantization) == ("cuda", expected)
    assert warned(found, f"free memory of Foo 9000 is unknown: whether {expected}, which needs")
    assert part(found, "unmeasured")[0] <= 0


def test_known_memory_is_no_reason_for_fewer_bits() -> None:
    found = plan(replace(host(RTX), memory=MemoryFacts()))
    assert found.model.quantization == "Q8_0"
    assert part(found, "unmeasured")[0] == 0
    assert warned(found, "free main memory is unknown")


@pytest.mark.parametrize(
    ("name", "expected", "bandwidth"),
    [
        ("NVIDIA Jetson Orin Nano", "Jetson Orin Nano 8 GB", 68),
        ("Orin (nvgpu)", "Jetson AGX Orin 64 GB", 205),
        ("Jetson-AGX", "Jetson AGX Xavier 32 GB", 136),
        ("NVIDIA Thor", "Jetson T5000", 273),
        ("NVIDIA GB300", "GB300", 8000),
        ("NVIDIA GH200 (NVL2)", "GH200 96 GB HBM3", 4000),
        ("NVIDIA B300 SXM6 AC", "B300", 8200),
        ("Tesla V100-SXM3-32GB", "Tesla V100 PCIe 16 GB", 897),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", "GeForce RTX 5090 Laptop GPU", 896),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server", 1790),
        ("NVIDIA TITAN X (Pascal)", "TITAN X Pascal", 480),
        ("Radeon RX Vega 56", "Radeon RX Vega 56", 410),
        ("AMD Radeon RX 6750 XT", "Radeon RX 6750 XT", 432),
        ("Radeon 8060S (Ryzen AI MAX+)", "Radeon 8060S", 256),
        ("AMD Instinct MI355X", "Instinct MI355X", 8000),
        ("Intel(R) Arc(TM) B580 Graphics", "Arc B580", 456),
        ("Intel® Arc™ Pro B60 Graphics", "Arc Pro B60", 456),
    ],
)
def test_names_that_hosts_give(name: str, expected: str, bandwidth: int) -> None:
    found = lookup(name, by_name(knowledge().gpus))
    assert found is not None
    assert (found.name, found.bandwidth_gb_s) == (expected, bandwidth)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce RTX 2080 with Max-Q Design", "NVIDIA GeForce GTX 1080 Laptop GPU", "NVIDIA Graphics Device",
     "NVIDIA H100 80GB HBM3 MIG 1g.20gb", "AMD Radeon Graphics", "GB", ""],
)  # fmt: skip
def test_another_chip_of_the_same_number_is_not_taken_for_the_card(name: str) -> None:
    assert lookup(name, by_name(knowledge().gpus)) is None


def test_every_card_that_the_probe_can_name_is_known() -> None:
    table = by_name(knowledge().gpus)
    names = [f"AMD {name}" for name in pci_names._AMD.values()]
    assert [name for name in names if lookup(name, table) is None] == []


def test_turing_without_tensor_cores_prefers_integers() -> None:
    spec = every_form("qwen2.5-3b-instruct")
    found = plan(host(gpu(0, *GTX)), spec, users=32)
    assert (found.engine, found.model.format) == ("llama.cpp", "gguf")
    asked = plan(host(gpu(0, *GTX)), spec, users=32, engine="vllm")
    assert warned(asked, "GeForce GTX 1660 SUPER (7.5) has no tensor cores")
    assert part(asked, "arithmetic")[0] == -20
    turing = plan(host(gpu(0, "Tesla T4", "7.5", 15360)), spec, users=32, engine="vllm")
    assert not warned(turing, "no tensor cores")


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        (f"{VLLM_IMAGE}:v0.33.1", "0.33.1"),
        ("registry.local:5000/vllm:v0.40.0-cu129", "0.40.0-cu129"),
        (f"{VLLM_IMAGE}:latest", "unknown"),
        (f"{VLLM_IMAGE}:b11434", "unknown"),
        ("registry.local:5000/vllm", "unknown"),
        (f"{VLLM_IMAGE}@sha256:{'a' * 64}", "unknown"),
    ],
)
def test_the_version_of_an_own_image_is_that_of_its_tag(reference: str, version: str) -> None:
    found = plan(host(RTX), only(BF16), engine="vllm", image="cuda13", image_reference=reference)
    assert found.engine_version == version
    said = warned(found, "is not in its tag, so it was not compared with known vulnerabilities: vllm has known")
    assert said is (version == "unknown")


def test_an_own_image_below_the_floor_is_refused_unless_accepted() -> None:
    words = {"engine": "vllm", "image": "cuda13", "image_reference": f"{VLLM_IMAGE}:v0.31.0"}
    with pytest.raises(NoFitError, match=r"vllm 0\.31\.0 has .*fixed in 0\.32\.0: use that or a newer version"):
        plan(host(RTX), only(BF16), asked=words)
    accepted = ("CVE-2026-115918", "PYSEC-2026-4344")
    found = plan(host(RTX), only(BF16), asked={**words, "allow_vulnerable": accepted})
    assert warned(found, "vulnerabilities accepted")


@pytest.mark.parametrize(
    ("l4t", "expected"),
    [("36.4.3", "jetpack6"), ("35.4.1", "jetpack5"), (None, "jetpack6"), ("38.1", None)],
)
def test_an_image_for_jetson_follows_its_jetpack(l4t: str | None, expected: str | None) -> None:
    board = sample("jetson-orin")
    found = plan(replace(board, nvidia=NvidiaFacts(l4t=l4t)))
    assert (found.image.profile if found.devices else None) == expected
    for other in {"jetpack5", "jetpack6"} - {expected} if l4t else set():
        said = next(item for item in found.rejected if item.image == other)
        assert said.rule == "jetson"
        assert f"(L4T {l4t})" in said.reason


def test_an_image_for_jetson_runs_on_nothing_else() -> None:
    arm = replace(host(gpu(0, "NVIDIA GH200 480GB", "9.0", 97871)), cpu=replace(host().cpu, architecture="aarch64"))
    said = next(item for item in plan(arm).rejected if item.image == "jetpack6")
    assert (said.rule, "GH200 480GB is none" in said.reason) == ("jetson", True)


def test_a_jetson_is_handed_over_by_the_runtime_and_by_no_uuid() -> None:
    board = sample("jetson-orin")
    assert [device.tegra for device in plan(board).devices] == [True]
    assert [device.tegra for device in plan(host(RTX)).devices] == [False]
    bare = replace(DOCKER, nvidia_runtime=False, nvidia_injection=("gpus",))
    found = plan(replace(board, container=bare))
    assert found.devices == ()
    assert found.warnings[0].startswith("no GPU is used (Jetson AGX Orin): jetpack6: Docker has no runtime nvidia")


def test_an_engine_that_was_asked_for_says_when_it_runs_on_the_processor() -> None:
    found = plan(replace(host(P40), memory=MemoryFacts()), only(AWQ), engine="vllm")
    assert found.image.accelerator == "cpu"
    assert found.warnings[0].startswith(
        "no GPU is used (Tesla P40); vllm was asked for, and runs on the processor: cuda13: Tesla P40 is compute "
        "capability 6.1; this image has no code below 7.5; use a GGUF file of the model with llama.cpp"
    )
    assert warned(found, "free memory of this host is unknown: whether AWQ")


def test_a_driver_that_does_not_answer_comes_first_with_its_repair() -> None:
    error = "its kernel module is not loaded: run `sudo modprobe nvidia` (NVML error 9)"
    silent = Gpu(index=0, vendor="nvidia", pci_bus_id="0000:03:00.0", error="the driver answers for none")
    found = plan(replace(host(silent), nvidia=NvidiaFacts(error=error)))
    assert found.devices == ()
    assert found.warnings[0] == f"no NVIDIA GPU is used, because the driver does not answer: {error}"
    asked = plan(replace(host(silent), nvidia=NvidiaFacts(error=error)), gpus=())
    assert not warned(asked, "does not answer")


def test_a_newer_driver_is_advised_where_it_brings_the_engine_for_many() -> None:
    advice = "with a newer driver vllm could be weighed too"
    old = host(RTX, driver="570.124.06")
    assert warned(plan(old, users=16), advice)
    assert not warned(plan(old, users=2), advice)
    assert not warned(plan(old, only(GGUF), users=16), advice)
    assert not warned(plan(host(RTX), users=16), advice)
    volta = host(gpu(0, "Tesla V100-SXM2-32GB", "7.0", 32768), driver="530.30.02")
    assert not warned(plan(volta, users=16), advice)


def test_four_bits_on_amd_are_read_slower_than_they_are_small() -> None:
    told = {form: plan(replace(host(), gpus=(RADEON,)), only(form), engine="vllm") for form in (AWQ, BF16)}
    assert "at 42%" in told[AWQ].speed.basis
    assert warned(told[AWQ], "kernels for AWQ on AMD GPUs are young")
    assert "at 60%" in told[BF16].speed.basis
    assert not warned(told[BF16], "are young")


def test_graphics_of_a_processor_are_no_better_than_its_cores() -> None:
    where = replace(host(), gpus=(GRAPHICS,))
    found = plan(where, "qwen2.5-3b-instruct")
    assert found.image.accelerator == "cpu"
    assert warned(found, "no GPU is used (Intel UHD Graphics 770): it reads the same memory")
    asked = plan(where, "qwen2.5-3b-instruct", gpus=(0,))
    assert [device.index for device in asked.devices] == [0]
    assert asked.speed.decode_tokens_per_s is not None


def test_a_card_of_unknown_speed_reads_fewer_bytes() -> None:
    card = Gpu(index=0, vendor="amd", name="Card of tomorrow", gfx="gfx1201", memory_total_mib=65536)
    found = plan(replace(host(), gpus=(card,)), "qwen2.5-7b-instruct")
    assert found.devices
    assert found.model.quantization == "Q8_0"


def test_windows_linux_has_no_device_files_for_other_makers() -> None:
    where = replace(host(), gpus=(RADEON,), os=OsFacts(wsl=True))
    refused = {item.image: item for item in plan(where).rejected}
    assert refused["server-vulkan"].rule == refused["server-rocm"].rule == "container-gpu-injection"
    assert "WSL has no /dev/dri" in refused["server-vulkan"].reason


def test_a_card_without_rocm_still_has_vulkan() -> None:
    found = plan(replace(host(), gpus=(RADEON,), amd=AmdFacts(error="/dev/kfd is not here.")))
    assert found.image.profile == "server-vulkan"
    said = next(item for item in found.rejected if item.image == "server-rocm")
    assert said.reason.startswith("ROCm cannot work here: /dev/kfd is not here; ")


def test_a_rootless_engine_opens_only_what_its_user_may() -> None:
    shut = replace(RADEON, access="This user may not open /dev/kfd: run `sudo usermod -aG 992 $USER`.")
    closed = plan(replace(host(), gpus=(shut,), container=replace(DOCKER, rootless=True)))
    assert closed.devices == ()
    assert warned(closed, "a rootless container can open only what its user can: This user may not open /dev/kfd")
    root: HostFacts = replace(host(), gpus=(shut,), container=replace(DOCKER, rootless=False))
    assert plan(root).devices


def test_a_small_model_still_takes_many_bits() -> None:
    found = plan(host(RTX), model("qwen2.5-0.5b-instruct"))
    assert found.model.quantization == "Q8_0"


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "glm4"])
def test_a_card_without_bfloat16_is_no_use_for_some_models(name: str) -> None:
    small = model("qwen2.5-0.5b-instruct")
    spec = only(BF16, of=replace(small, architecture=replace(small.architecture, name=name)))
    with pytest.raises(NoFitError, match=f"vllm refuses {name} in float16"):
        plan(host(gpu(0, "Tesla T4", "7.5", 15360)), spec, engine="vllm", gpus=(0,))
    assert plan(host(gpu(0, "RTX A4000", "8.6", 16376)), spec, engine="vllm").devices


def test_small_weights_on_arm_processors_are_not_what_x86_has() -> None:
    x86 = host(ram_mib=128000)
    arm = replace(x86, cpu=replace(x86.cpu, architecture="aarch64", flags=("asimd",)))
    assert plan(x86, only(AWQ), engine="vllm").image.profile == "cpu"
    with pytest.raises(NoFitError, match=r"AWQ.*on x86_64 processors only, and this one is aarch64"):
        plan(arm, only(AWQ), engine="vllm")
    assert plan(arm, only(BF16), engine="vllm").image.profile == "cpu-arm64"


def test_groups_of_weights_that_the_cards_cut_are_said() -> None:
    eight = host(*[gpu(index, "GeForce RTX 4090", "8.9", 24564) for index in range(4)])
    found = plan(eight, only(AWQ, of=model("qwen2.5-14b-instruct")), engine="vllm", gpus=(0, 1, 2, 3))
    assert found.settings.tensor_parallel == 4
    assert warned(found, "13824 columns of qwen2.5-14b-instruct") is (13824 % (4 * 128) != 0)
    large = plan(eight, only(AWQ, of=model("qwen2.5-72b-instruct")), engine="vllm", gpus=(0, 1, 2, 3))
    assert warned(large, "29568 columns of qwen2.5-72b-instruct do not divide into 4 parts of whole groups of 128")


def test_a_slice_has_its_part_of_the_bandwidth() -> None:
    whole = plan(host(gpu(0, "NVIDIA H100 80GB HBM3", "9.0", 81559)), "qwen2.5-7b-instruct", quantization="Q4_K_M")
    part = plan(
        host(gpu(0, "NVIDIA H100 80GB HBM3 MIG 1g.20gb", "9.0", 20096)), "qwen2.5-7b-instruct", quantization="Q4_K_M"
    )
    assert "H100 80GB HBM3 3360 GB/s" in whole.speed.basis
    assert f"MIG 1g.20gb {3360 * 20096 / 81920:.0f} GB/s" in part.speed.basis
    assert 3 < (whole.speed.decode_tokens_per_s or 0) / (part.speed.decode_tokens_per_s or 1) < 81920 / 20096


def test_nobody_is_sent_to_an_image_that_is_refused_too() -> None:
    kepler = plan(host(gpu(0, "Tesla K80", "3.7", 12288), driver="470.256.02"))
    assert kepler.warnings[0].endswith("this image has no code below 5.0; use server")
    with pytest.raises(NoFitError) as caught:
        plan(host(RTX, driver="550.90.07"), only(BF16), engine="sglang")
    assert "update the driver to 580 or newer, or use a GGUF file of the model with llama.cpp" in caught.value.message
    with pytest.raises(NoFitError) as caught:
        plan(host(RTX, driver="550.90.07"), every_form("qwen2.5-7b-instruct"), engine="sglang")
    assert "update the driver to 580 or newer, or use llama.cpp" in caught.value.message


def test_like_cards_share_a_sentence() -> None:
    bare = [Gpu(index=index, vendor="nvidia", name="Tesla P40", uuid=f"GPU-{index}") for index in (0, 1, 2, 4)]
    said = plan(replace(host(), gpus=tuple(bare), nvidia=NvidiaFacts(driver="580.95.05"))).warnings
    assert any(text.startswith("GPUs 0, 1, 2 and 4 (Tesla P40): compute capability 6.1 and 23040 MiB") for text in said)
    row = plan(replace(host(), gpus=tuple(bare[:3]), nvidia=NvidiaFacts(driver="580.95.05"))).warnings
    assert any(text.startswith("GPUs 0 to 2 (Tesla P40): free memory not reported") for text in row)


def test_a_card_in_mig_mode_without_slices_is_no_card() -> None:
    bare = host(gpu(0, "A100-SXM4-80GB", "8.0", 81920, mig={"enabled": True, "devices": []}))
    assert warned(plan(bare), "GPU 0 (A100-SXM4-80GB) is left out: it is in MIG mode and has no slices")
    with pytest.raises(BadInputError, match=r"in MIG mode and has no slices.*nvidia-smi -mig 0"):
        plan(bare, gpus=(0,))


@pytest.mark.parametrize(
    ("target", "engine", "instead"),
    [
        ("gfx950", "llama.cpp", "another engine"),
        ("gfx908", "vllm", "llama.cpp"),
        ("gfx803", "llama.cpp", "server-vulkan"),
    ],
)
def test_an_amd_chip_is_sent_only_to_what_can_drive_it(target: str, engine: str, instead: str) -> None:
    found = plan(replace(host(), gpus=(replace(RADEON, gfx=target),)), every_form("qwen2.5-7b-instruct"))
    said = [item.reason for item in found.rejected if item.engine == engine and item.rule == "gfx"]
    assert said[0].endswith(f"use {instead}")


@pytest.mark.parametrize(
    ("driver", "advice"), [("580.95.05", "; stay on 580, do not go to 590"), ("575.57.08", "; do not go to 590")]
)
def test_nobody_is_told_to_stay_where_they_are_not(driver: str, advice: str) -> None:
    said = [text for text in plan(host(P40, driver=driver)).warnings if "last branch" in text]
    assert said[0].endswith(f"580 is the last branch that supports it{advice}")


def test_a_card_that_was_ruled_out_by_the_question_says_so() -> None:
    where = replace(host(RTX), programs={"llama-server": "1"})
    assert warned(plan(where, runtime="process"), "server-cuda: runtime process was asked for")
    assert warned(plan(where, image="server"), "leave out --image to allow server-cuda")
