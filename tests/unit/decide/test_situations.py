"""Which engine serves whom: one row a situation, on hosts where every engine could be had."""

import pytest

from deployer.decide import plan_hash
from deployer.errors import BadInputError, NoFitError, ProfileError
from deployer.types import Advisory, ContainerFacts, Flag, HostFacts
from tests.unit.decide.hosts import every_form, gpu, host, knowledge, model, plan, refusal, sample, verified
from tests.unit.decide.test_rule_table import A100, AWQ, BF16, FP8, GGUF, engine, knowing, only, replace

P40 = ("Tesla P40", "6.1", 24576)
RTX = ("GeForce RTX 4090", "8.9", 24564)


def cards(name: str, capability: str, total: int, count: int) -> HostFacts:
    return host(*[gpu(index, name, capability, total) for index in range(count)])


def shared(card: tuple[str, str, int], free: int) -> HostFacts:
    return host(gpu(0, *card, memory_free_mib=free))


@pytest.mark.parametrize(
    ("where", "asked", "expected"),
    [
        (host(gpu(0, *RTX)), {"users": 1}, "llama.cpp"),
        (host(gpu(0, *RTX)), {"users": 32}, "vllm"),
        (host(gpu(0, *RTX)), {"users": 8, "workload": "agents"}, "sglang"),
        (host(A100), {"users": 64, "workload": "batch"}, "vllm"),
        (cards(*P40, 2), {"users": 16}, "llama.cpp"),
        (host(gpu(0, "Tesla V100", "7.0", 32768)), {"users": 16}, "llama.cpp"),
        (host(ram_mib=32000), {"users": 8}, "llama.cpp"),
        (
            replace(sample("cpu-avx512"), container=ContainerFacts(error="none"), programs={"xllamacpp": "1"}),
            {"users": 1},
            "llama.cpp",
        ),
    ],
)
def test_the_engine_follows_from_the_situation(where: HostFacts, asked: dict[str, object], expected: str) -> None:
    found = plan(where, every_form("qwen2.5-7b-instruct"), asked=asked)
    assert found.engine == expected
    assert next(part for part in found.score if part.part == "workload").why


def test_tgi_is_chosen_by_name_only() -> None:
    spec = only(BF16)
    free = plan(host(gpu(0, *RTX)), spec, users=4)
    assert free.engine != "tgi"
    assert refusal(free.rejected, "*").engine
    assert any(item.engine == "tgi" and item.rule == "legacy" for item in free.rejected)
    asked = plan(host(gpu(0, *RTX)), spec, users=4, engine="tgi")
    assert asked.engine == "tgi"
    assert any("no longer developed" in text for text in asked.warnings)


def test_an_engine_without_a_key_is_served_behind_a_gateway_that_asks_for_one() -> None:
    found = plan(host(gpu(0, *RTX)), "qwen2.5-7b-instruct", engine="ollama", address="0.0.0.0")
    assert found.address == "0.0.0.0"
    assert found.gateway is not None
    assert found.gateway.image.startswith("docker.io/library/haproxy:")
    assert "GET /api/ps" in found.gateway.routes
    assert not any(route.startswith("POST /api/") for route in found.gateway.routes)
    assert found.health.public_paths == (found.health.path,)
    assert not found.gateway.passes_key
    assert not any("has no API key" in text for text in found.warnings)
    assert not any("api_key" in word for word in found.command)
    assert found.setup
    assert found.environment["OLLAMA_CONTEXT_LENGTH"] == "8192"
    assert found.files == {"Modelfile": f"FROM /models/{found.model.files[0]}\nPARAMETER num_ctx 8192\n"}
    assert not any("{" in word for step in found.setup for word in step)


def test_a_key_in_a_variable_is_named_and_never_written() -> None:
    found = plan(host(gpu(0, *RTX)), only(BF16), engine="vllm")
    assert found.key_variable == "VLLM_API_KEY"
    assert "VLLM_API_KEY" not in found.environment
    assert found.key_file.endswith("api_key")


def test_the_command_of_vllm() -> None:
    where = cards("GeForce RTX 3090", "8.6", 24576, 2)
    found = plan(where, only(BF16, of=model("qwen2.5-14b-instruct")), engine="vllm", users=4)
    assert found.command[:3] == ("vllm", "serve", "/models")
    words = dict(zip(found.command[3::2], found.command[4::2], strict=False))
    assert words["--tensor-parallel-size"] == "2"
    assert words["--max-model-len"] == "8192"
    assert words["--max-num-seqs"] == str(found.settings.slots)
    assert float(words["--gpu-memory-utilization"]) == found.settings.gpu_memory_fraction
    assert "--quantization" not in words
    assert found.shm_mib is not None


def test_tools_are_read_where_the_model_has_a_parser() -> None:
    spec = replace(only(BF16), tool_parsers={"vllm": "hermes"})
    words = plan(host(gpu(0, *RTX)), spec, engine="vllm").command
    assert words[words.index("--tool-call-parser") + 1] == "hermes"
    assert "--enable-auto-tool-choice" in words
    plain = plan(host(gpu(0, *RTX)), only(BF16), engine="vllm").command
    assert "--enable-auto-tool-choice" not in plain


def test_no_bfloat16_below_8_0_is_a_setting_and_not_a_refusal() -> None:
    found = plan(host(gpu(0, "Tesla T4", "7.5", 15360)), only(BF16, of=model("qwen2.5-3b-instruct")), engine="vllm")
    assert found.command[found.command.index("--dtype") + 1] == "float16"
    assert any("cast to float16" in text for text in found.warnings)


def test_fp8_is_native_widened_or_refused() -> None:
    native = plan(host(gpu(0, *RTX)), only(FP8), engine="vllm")
    assert not any("widened" in text for text in native.warnings)
    ampere = plan(host(gpu(0, "GeForce RTX 3090", "8.6", 24576)), only(FP8), engine="vllm")
    assert any("8.6) has no arithmetic for FP8 (from 8.9 on)" in text for text in ampere.warnings)
    with pytest.raises(NoFitError):
        plan(host(gpu(0, "Tesla V100", "7.0", 32768)), only(FP8), engine="vllm")


def test_a_shared_card_gives_what_is_free() -> None:
    spec = only(AWQ, of=model("qwen2.5-7b-instruct"))
    alone = plan(shared(RTX, 24200), spec, engine="vllm")
    half = plan(shared(RTX, 13000), spec, engine="vllm")
    assert alone.settings.gpu_memory_fraction == 0.92
    assert half.settings.gpu_memory_fraction is not None
    assert 0.4 < half.settings.gpu_memory_fraction < 13000 / 24564
    card = half.memory.devices[0]
    assert card.total_mib <= half.settings.gpu_memory_fraction * 24564
    assert card.total_mib + card.margin_mib <= 13000


def test_less_than_one_conversation_is_refused_with_numbers() -> None:
    with pytest.raises(NoFitError, match=r"MiB are missing") as caught:
        plan(shared(RTX, 6000), only(BF16), engine="vllm", gpus=(0,))
    assert "GeForce RTX 4090" in caught.value.message


def test_fewer_conversations_are_promised_than_asked_when_the_pool_is_small() -> None:
    found = plan(shared(RTX, 19500), only(BF16), engine="vllm", users=64, context=8192)
    assert 1 <= found.settings.slots < 64
    assert any("served at once" in text for text in found.warnings)


def test_odd_gpus_are_left_out_and_said() -> None:
    found = plan(
        cards("GeForce RTX 3090", "8.6", 24576, 3), only(BF16, of=model("qwen2.5-14b-instruct")), engine="vllm"
    )
    assert [device.index for device in found.devices] == [0, 1]
    assert any("GPU 2 (GeForce RTX 3090) not used: 3 GPUs do not divide the 40" in text for text in found.warnings)


def test_like_gpus_that_stay_free_could_hold_the_model_again() -> None:
    found = plan(cards(*P40, 3), only(GGUF), users=1)
    assert any("free for 2 more copies (more --users, or --gpus)" in text for text in found.reasons)


def test_a_kepler_card_that_holds_the_driver_is_named() -> None:
    where = host(gpu(0, "Tesla K80", "3.7", 12288), gpu(1, *P40), driver="470.256.02")
    found = plan(where, only(GGUF))
    assert any("GPU 0 (Tesla K80) holds the driver of the whole host at 470" in text for text in found.warnings)
    old = next(item for item in found.rejected if item.image == "server-cuda" and item.rule == "ptx-driver")
    assert "first take out GPU 0, Tesla K80, whose last driver is 470" in old.reason


def test_memory_that_is_shared_with_the_processor_is_counted_once() -> None:
    where = replace(
        host(ram_mib=110000), gpus=(gpu(0, "GB10", "12.1", None, memory_free_mib=None, unified_memory=True),)
    )
    found = plan(where, only(GGUF, of=model("qwen2.5-72b-instruct")), engine="llama.cpp")
    gpu_part, host_part = found.memory.devices
    assert gpu_part.available_mib is not None
    assert host_part.available_mib is not None
    assert gpu_part.available_mib <= 110000 - 1024
    assert gpu_part.total_mib + gpu_part.margin_mib + host_part.total_mib + host_part.margin_mib <= 110000 - 1024
    assert host_part.available_mib <= 110000 - gpu_part.total_mib


def test_what_rocm_needs_is_carried_into_the_plan() -> None:
    nodes = [{"path": "/dev/kfd", "group": 105}, {"path": "/dev/dri/renderD128", "group": 109}]
    radeon = gpu(0, "Radeon RX 7900 XTX", None, 24560, vendor="amd", gfx="gfx1100", nodes=nodes)
    found = plan(replace(host(), gpus=(radeon,)), only(GGUF), engine="llama.cpp")
    assert found.image.accelerator == "rocm"
    assert found.device_groups == (105, 109)
    assert found.devices[0].vendor == "amd"


def test_experts_stay_in_main_memory_before_whole_layers_do() -> None:
    dense = model("qwen2.5-7b-instruct").architecture
    mixture = replace(dense, name="qwen3moe", layers=48, experts=64, experts_used=8, expert_feed_forward=1536)
    spec = replace(only(GGUF), architecture=mixture, parameters=30_000_000_000)
    flag = Flag(setting="cpu_moe_layers", flag="--n-cpu-moe")
    flags = tuple(item for item in engine("llama.cpp").flags if item.setting != "cpu_moe_layers")
    found = plan(
        host(gpu(0, "GeForce RTX 3060", "8.6", 12288)), spec, known=knowing(engine("llama.cpp", flags=(*flags, flag)))
    )
    count = found.settings.cpu_moe_layers
    assert 0 < count < 48
    assert found.settings.gpu_layers == 49
    assert found.command[found.command.index("--n-cpu-moe") + 1] == str(count)
    assert found.memory.fits
    none = plan(host(gpu(0, "GeForce RTX 3060", "8.6", 12288)), spec, known=knowing(engine("llama.cpp", flags=flags)))
    assert none.settings.cpu_moe_layers == 0
    assert none.settings.gpu_layers < 49


def test_a_vulnerable_version_is_refused_until_it_is_allowed_by_name() -> None:
    where = host(gpu(0, "GeForce RTX 3090", "8.6", 24576), driver="570.86.15")
    with pytest.raises(NoFitError) as caught:
        plan(where, only(AWQ), engine="vllm", gpus=(0,))
    said = [item for item in caught.value.details["rejected"] if item["rule"] == "security"]  # type: ignore[attr-defined]
    assert said
    assert "fixed in" in said[0]["reason"]
    names = tuple(word for item in said for word in item["reason"].split() if word.startswith(("CVE-", "PYSEC-")))
    clean = tuple(dict.fromkeys(name.strip(":,;()") for name in names))
    found = plan(where, only(AWQ), engine="vllm", gpus=(0,), allow_vulnerable=clean)
    assert found.image.cuda == "12.9"
    assert any("accepted by --allow-vulnerable" in text for text in found.warnings)


def test_what_the_engine_must_be_told_must_have_a_flag() -> None:
    flags = tuple(flag for flag in engine("vllm").flags if flag.setting != "model")
    with pytest.raises(ProfileError, match="no flag for model"):
        plan(host(gpu(0, *RTX)), only(BF16), known=knowing(engine("vllm", flags=flags)))
    fewer = tuple(flag for flag in engine("vllm").flags if flag.setting != "batch_tokens")
    assert plan(host(gpu(0, *RTX)), only(BF16), known=knowing(engine("vllm", flags=fewer))).engine == "vllm"


def test_a_flag_is_written_only_for_versions_that_have_it() -> None:
    base = engine("vllm").flags
    new = (
        *base,
        Flag(setting="x", flag="--new", value="1", since="99.0"),
        Flag(setting="y", flag="--old", value="1", until="0.5"),
    )
    words = plan(host(gpu(0, *RTX)), only(BF16), known=knowing(engine("vllm", flags=new))).command
    assert "--new" not in words
    assert "--old" not in words
    had = (*base, Flag(setting="x", flag="--new", value="1", since="0.20.0"))
    assert "--new" in plan(host(gpu(0, *RTX)), only(BF16), known=knowing(engine("vllm", flags=had))).command


def test_a_vulnerable_image_does_not_stand_in_where_a_safe_one_could() -> None:
    entries = [
        verified("cuda-source", "dockerfile:old:CUDA_ARCH=61", at="2026-10-01T00:00:00Z", version="b10000"),
        verified("cuda-source", "dockerfile:older:CUDA_ARCH=61", at="2026-09-01T00:00:00Z", version="b11400"),
    ]
    gone = {"cuda-source": "the build failed"}
    found = plan(sample("p40x2-535"), unavailable=gone, verified=entries, image="cuda-source")
    assert found.engine_version == "b11400"
    with pytest.raises(NoFitError) as caught:
        plan(sample("p40x2-535"), unavailable=gone, verified=entries[:1], image="cuda-source")
    assert any(item["rule"] == "security" for item in caught.value.details["rejected"])  # type: ignore[attr-defined]


def test_wsl_has_no_peer_access() -> None:
    where = replace(cards("GeForce RTX 3090", "8.6", 24576, 2), os=replace(host().os, wsl=True))
    found = plan(where, only(BF16, of=model("qwen2.5-14b-instruct")), engine="vllm")
    assert found.environment["NCCL_P2P_DISABLE"] == "1"


def test_forbidden_arguments_of_every_engine() -> None:
    for item in knowledge().engines:
        for name in item.forbidden_args[:3]:
            with pytest.raises(BadInputError):
                plan(host(gpu(0, *RTX)), every_form("qwen2.5-7b-instruct"), engine=item.engine, engine_args=(name,))


def test_what_containers_stand_on_is_looked_at_too() -> None:
    hole = Advisory(id="CVE-9", engine="nvidia-container-toolkit", summary="a way out", source="here", fixed="1.19.0")
    known = replace(knowledge(), advisories=(hole,))
    found = plan(host(gpu(0, *RTX)), "qwen2.5-7b-instruct", known=known)
    assert (
        "nvidia-container-toolkit 1.18.0 on this host has CVE-9: a way out; update it to 1.19.0 or newer"
        in found.warnings
    )
    fixed = replace(knowledge(), advisories=(replace(hole, fixed="1.18.0"),))
    assert not any("CVE-9" in text for text in plan(host(gpu(0, *RTX)), "qwen2.5-7b-instruct", known=fixed).warnings)


def test_the_hash_covers_what_the_container_is_given() -> None:
    found = plan(host(gpu(0, *RTX)), only(BF16), engine="vllm")
    assert plan_hash(replace(found, shm_mib=1)) != found.plan_hash
    assert plan_hash(replace(found, setup=(("x",),))) != found.plan_hash
    assert plan_hash(replace(found, key_variable="OTHER")) != found.plan_hash


def test_a_model_that_would_crawl_is_refused() -> None:
    large = only(BF16, of=model("qwen2.5-72b-instruct"))
    with pytest.raises(NoFitError) as caught:
        plan(host(ram_mib=2_000_000, cores=1), large, engine="vllm", context=2048)
    said = [item for item in caught.value.details["rejected"] if item["rule"] == "speed"]  # type: ignore[attr-defined]
    assert "would give less than 0.1 tokens/s" in said[0]["reason"]
