"""What reads pictures: its memory, its flag, and who does without."""

import msgspec
import pytest

from deployer.decide.hashing import plan_hash
from deployer.decide.llama.projector import graph_work, largest_patches, projector_bytes, usual_patches
from deployer.types import ModelSpec, Plan, Projector
from tests.unit.decide.hosts import every_form, gpu, host, model, plan, sample

MIB = 1024 * 1024
QWEN = Projector(
    path="/var/lib/deployer/models/mmproj-F16.gguf",
    kind="qwen3vl_merger",
    weight_bytes=861 * MIB,
    image_size=768,
    patch_size=16,
    layers=27,
    embedding=1152,
    feed_forward=4304,
    heads=16,
    projection=2048,
    fused=True,
)
GEMMA = msgspec.structs.replace(
    QWEN, kind="gemma4v", layers=16, embedding=768, feed_forward=3072, heads=12, fused=False, gated=True
)
GEMMA3 = msgspec.structs.replace(
    GEMMA, kind="gemma3", image_size=896, layers=4, embedding=256, feed_forward=1024, projection=576, gated=False
)
DEEP = msgspec.structs.replace(QWEN, layers=4, embedding=256, feed_forward=1024, projection=576, deepstack=2)


def seeing(spec: ModelSpec, projector: Projector = QWEN) -> ModelSpec:
    variants = tuple(msgspec.structs.replace(variant, projector=projector) for variant in spec.variants)
    return msgspec.structs.replace(spec, variants=variants)


def needs(found: Plan, device: int) -> int:
    return found.memory.devices[device].total_mib


@pytest.mark.parametrize(
    ("projector", "logged_mib"),
    [
        pytest.param(QWEN, 248.10, id="Qwen3.5-35B"),
        pytest.param(GEMMA, 101.27, id="gemma4-E4B"),
        pytest.param(GEMMA3, 21.44, id="small gemma3, build 11669"),
        pytest.param(DEEP, 70.39, id="small qwen3vl with deepstack, build 11669"),
    ],
)
def test_the_work_is_that_of_the_log(projector: Projector, logged_mib: float) -> None:
    assert graph_work(projector, usual_patches(projector)).device / MIB == pytest.approx(logged_mib, abs=0.005)


def test_the_largest_picture_is_counted_as_far_as_the_context_has_room_for_it() -> None:
    assert usual_patches(QWEN) == 46 * 46 * 4
    assert largest_patches(QWEN, 32768) == 4096 * 4
    assert largest_patches(QWEN, 3000) == 3000 * 4
    assert largest_patches(QWEN, 512) == usual_patches(QWEN)
    assert largest_patches(GEMMA3, 32768) == (896 // 16) ** 2


def test_what_was_not_compared_gets_more_room() -> None:
    other = msgspec.structs.replace(GEMMA3, kind="idefics3")
    work = graph_work(other, largest_patches(other, 4096)).device
    assert projector_bytes(other, 4096).device == other.weight_bytes + int(work * 1.25)


def test_a_projector_that_only_hears_has_frames() -> None:
    hears = msgspec.structs.replace(GEMMA3, kind="ultravox", image_size=0, patch_size=0)
    assert largest_patches(hears, 8192) == 3000
    assert projector_bytes(hears, 8192).device > hears.weight_bytes


@pytest.mark.parametrize("image_size", [0, 112, 224, 336, 448, 896])
@pytest.mark.parametrize("layers", [1, 2, 24])
def test_pictures_of_any_size_have_work_for_every_kind(image_size: int, layers: int) -> None:
    for kind in ("gemma3", "gemma4v", "qwen2vl_merger", "qwen3vl_merger", "idefics3", "internvl", "mlp", "pixtral"):
        seen = msgspec.structs.replace(GEMMA3, kind=kind, image_size=image_size, layers=layers, embedding=64)
        works = [graph_work(seen, patches).device for patches in (16, 64, 256, 1024)]
        assert 0 < works[0] < works[1] < works[2] < works[3]


def test_a_mask_grows_with_the_square_of_the_picture() -> None:
    plain, windowed = QWEN, msgspec.structs.replace(QWEN, windowed=True)
    more = graph_work(windowed, 4096).device - graph_work(plain, 4096).device
    assert more >= 4 * 4096**2


def test_the_first_gpu_holds_it_and_the_server_is_told() -> None:
    where, spec = sample("p40x2-580"), model("qwen2.5-7b-instruct")
    blind = plan(where, spec, quantization="Q4_K_M")
    found = plan(where, seeing(spec), quantization="Q4_K_M")
    place = found.command.index("--mmproj")
    assert found.command[place + 1] == "/models/mmproj-F16.gguf"
    assert found.model.projector == QWEN.path
    expected = projector_bytes(QWEN, found.settings.context).device
    assert needs(found, 0) - needs(blind, 0) == pytest.approx(expected / MIB, abs=2)
    assert not any("projector" in text for text in found.warnings)
    assert found.plan_hash == plan_hash(found) != blind.plan_hash


def test_without_a_gpu_it_is_in_main_memory() -> None:
    where, spec = sample("cpu-avx512"), model("qwen2.5-0.5b-instruct")
    words = {"quantization": "Q4_K_M", "image": "llama-server", "runtime": "process"}
    where = msgspec.structs.replace(where, programs={"llama-server": "/usr/bin/llama-server"})
    blind, found = plan(where, spec, asked=words), plan(where, seeing(spec), asked=words)
    assert found.command[found.command.index("--mmproj") + 1] == QWEN.path
    assert needs(found, -1) - needs(blind, -1) >= 861


def test_a_card_that_it_does_not_fit_on_beside_the_model_keeps_fewer_layers() -> None:
    where, spec = host(gpu(0, "NVIDIA GeForce RTX 3060", "8.6", 6144)), model("qwen2.5-7b-instruct")
    words: dict[str, object] = {"quantization": "Q4_K_M", "engine": "llama.cpp", "context": 4096, "gpus": (0,)}
    blind, found = plan(where, spec, asked=words), plan(where, seeing(spec), asked=words)
    assert found.settings.gpu_layers < blind.settings.gpu_layers
    assert found.memory.fits


def test_embeddings_need_no_pictures() -> None:
    spec = model("nomic-embed-text-v1.5")
    found = plan(sample("p40x2-580"), seeing(spec), workload="embedding", engine="llama.cpp")
    assert found.model.projector is None
    assert "--mmproj" not in found.command


def test_an_engine_without_a_flag_for_it_serves_text_and_says_so() -> None:
    spec = seeing(every_form("qwen2.5-7b-instruct"))
    where = host(gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 24564))
    found = plan(where, spec, engine="ollama")
    assert found.model.projector is None
    assert any("served for text only" in text for text in found.warnings)


def test_a_plan_without_a_projector_has_the_hash_it_had() -> None:
    found = plan(sample("p40x2-580"), "qwen2.5-7b-instruct", quantization="Q4_K_M")
    assert found.model.projector is None
    assert plan_hash(found) == found.plan_hash
    named = msgspec.structs.replace(found, model=msgspec.structs.replace(found.model, projector=QWEN.path))
    assert plan_hash(named) != found.plan_hash
