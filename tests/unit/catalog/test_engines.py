"""What the profiles of all engines promise, and how their logs are read."""

import re

import pytest

from deployer import catalog
from deployer.catalog.pattern import numbers
from deployer.types import Advisory, EngineProfile, ImageProfile

ENGINES = {engine.engine: engine for engine in catalog.load_engines()}
IMAGES = {(engine.engine, image.id): image for engine in ENGINES.values() for image in engine.images}


def test_the_engines_that_are_known() -> None:
    assert list(ENGINES) == ["llama.cpp", "lm-studio", "ollama", "sglang", "tensorrt-llm", "tgi", "vllm"]
    assert [name for name, engine in ENGINES.items() if engine.status == "legacy"] == ["tgi"]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_fact_has_a_source(engine: EngineProfile) -> None:
    texts = [*engine.sources, *(source for image in engine.images for source in image.sources)]
    texts += [item.source for item in engine.quantization_support] + [item.source for item in engine.strengths]
    assert [text for text in texts if not text.strip()] == []
    assert all(image.sources for image in engine.images)
    assert len(engine.sources) > 0


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_no_digest_is_invented(engine: EngineProfile) -> None:
    assert {image.digest for image in engine.images} == {None}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_architectures_have_their_gguf_names(engine: EngineProfile) -> None:
    assert set(engine.architectures) <= set(ENGINES["llama.cpp"].architectures)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_the_documentation_is_in_the_comments(engine: EngineProfile) -> None:
    text = catalog.engine_text(engine.engine)
    assert text.startswith("# ")
    assert "Where the facts come from" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_what_a_plan_decides_may_not_be_said_again(engine: EngineProfile) -> None:
    decided = {flag.flag for flag in engine.flags if flag.setting in {"host", "port", "api_key_file", "api_key_config"}}
    assert decided - {""} <= set(engine.forbidden_args)
    assert len(set(engine.forbidden_args)) == len(engine.forbidden_args)


@pytest.mark.parametrize("name", ["vllm", "sglang", "tensorrt-llm", "tgi"])
def test_code_of_others_is_never_run(name: str) -> None:
    assert {flag.replace("_", "-") for flag in ENGINES[name].forbidden_args} >= {"--trust-remote-code"}


def test_no_key_is_ever_an_argument() -> None:
    """By file, by variable, by the YAML of --config, or not at all."""
    assert {name: engine.key for name, engine in ENGINES.items()} == {
        "llama.cpp": "file", "vllm": "environment", "tgi": "environment", "sglang": "config",
        "ollama": "none", "lm-studio": "none", "tensorrt-llm": "none",
    }  # fmt: skip
    arguments = {flag.flag for engine in ENGINES.values() for flag in engine.flags if "key" in flag.setting}
    assert arguments == {"", "--api-key-file", "--config"}


def test_engines_without_a_key_say_that_all_is_open() -> None:
    for engine in ENGINES.values():
        assert (engine.key == "none") == (engine.health.public_paths == ("/",)), engine.engine


@pytest.mark.parametrize("name", ["vllm", "sglang", "tensorrt-llm", "tgi"])
def test_models_are_served_from_a_folder_of_safetensors(name: str) -> None:
    assert "gguf" not in ENGINES[name].formats
    assert ENGINES[name].memory == "paged_kv"
    assert ENGINES[name].splits[0] == "tensor"


def test_ollama_and_lm_studio_are_llama_cpp_underneath() -> None:
    for name in ("ollama", "lm-studio"):
        engine = ENGINES[name]
        assert (engine.memory, engine.formats) == ("llama.cpp", ("gguf",))
        assert set(engine.quantizations) <= set(ENGINES["llama.cpp"].quantizations)
        assert any("{alias}" in word for step in engine.setup for word in step)


# Engine, image: toolkit, lowest capability with any code, driver for machine code, driver for PTX.
CUDA = {
    ("vllm", "cuda13"): ("13.0.3", "7.5", "580", None),
    ("vllm", "cuda12"): ("12.9", "7.5", "550", None),
    ("vllm", "cuda12-volta"): ("12.9.1", "7.0", "550", None),
    ("sglang", "cuda13"): ("13.0", "8.0", "580", None),
    ("sglang", "cuda12"): ("12.9", "8.0", "550", None),
    ("tensorrt-llm", "cuda13"): ("13", "8.0", "580", None),
    ("tgi", "cuda12"): ("12.4.0", "8.0", "535", "550"),
    ("ollama", "cuda"): ("12.8", "7.0", "550", None),
    ("ollama", "cuda-pascal"): ("12.8", "5.0", "570", "570"),
    ("ollama", "jetpack6"): (None, "8.7", "525", None),
    ("ollama", "jetpack5"): (None, "7.2", "470", None),
}


@pytest.mark.parametrize("key", CUDA, ids="/".join)
def test_cuda_images(key: tuple[str, str]) -> None:
    image = IMAGES[key]
    lowest = min((*image.sass, *image.ptx), key=numbers)
    assert (image.cuda, lowest, image.driver_min, image.driver_min_ptx) == CUDA[key]


def test_every_cuda_image_is_in_the_table() -> None:
    others = {key for key, image in IMAGES.items() if image.accelerator == "cuda" and key[0] != "llama.cpp"}
    assert others == set(CUDA)


def test_cuda_13_has_no_code_below_turing_and_needs_driver_580() -> None:
    for key, image in IMAGES.items():
        if image.accelerator == "cuda" and (image.cuda or "").startswith("13"):
            assert min((*image.sass, *image.ptx), key=numbers) >= "7.5", key
            assert image.driver_min == "580", key


def test_processors() -> None:
    assert IMAGES["sglang", "xeon"].cpu_flags[:1] == ("avx512f",)
    assert {"amx_tile", "amx_bf16"} <= set(IMAGES["sglang", "xeon"].cpu_flags)
    assert IMAGES["vllm", "cpu"].cpu_flags == ("avx2",)
    assert "avx512f" in IMAGES["vllm", "cpu"].cpu_flags_recommended
    assert IMAGES["lm-studio", "llmster-cpu"].cpu_flags == ("avx2",)
    assert IMAGES["ollama", "cpu"].cpu_flags == ()


def test_amd_targets() -> None:
    targets = {key: len(image.gfx) for key, image in IMAGES.items() if image.accelerator == "rocm"}
    assert targets == {
        ("llama.cpp", "server-rocm"): 11, ("vllm", "rocm"): 9, ("ollama", "rocm"): 11,
        ("sglang", "rocm-mi30x"): 1, ("sglang", "rocm-mi35x"): 1,
    }  # fmt: skip
    assert "gfx906" not in {target for image in IMAGES.values() for target in image.gfx}


@pytest.mark.parametrize(
    ("engine", "quantization", "minimum", "native"),
    [
        ("vllm", "AWQ", "7.5", None),
        ("vllm", "FP8", "7.5", "8.9"),
        ("vllm", "BF16", None, "8.0"),
        ("vllm", "MXFP4", "8.0", "10.0"),
        ("sglang", "AWQ", "8.0", None),
        ("sglang", "FP8", "8.0", "8.9"),
        ("tensorrt-llm", "FP8", "8.9", "8.9"),
        ("tensorrt-llm", "MXFP4", "10.0", "10.0"),
        ("tgi", "GPTQ", "8.0", None),
    ],
)
def test_where_quantizations_run(engine: str, quantization: str, minimum: str | None, native: str | None) -> None:
    found = next(item for item in ENGINES[engine].quantization_support if item.quantization == quantization)
    assert (found.min_capability, found.native_capability) == (minimum, native)


def test_every_form_of_a_catalog_model_has_an_engine() -> None:
    for model in catalog.load_models():
        engines = [engine for engine in ENGINES.values() if model.architecture.name in engine.architectures]
        for variant in model.variants:
            able = [
                engine.engine
                for engine in engines
                if variant.format in engine.formats and variant.quantization in engine.quantizations
            ]
            assert able, f"{model.name}: {variant.quantization} ({variant.format})"


def held(image: ImageProfile, engine: str) -> list[Advisory]:
    """Advisories that the image's version has. Versions without numbers have none that we know of."""
    build = re.search(r"(?:^|-)b(\d+)$", image.version)
    own = numbers(build[1] if build else image.version)
    return [
        item
        for item in catalog.load_advisories()
        if own
        and item.engine == engine
        and not item.condition
        and (item.introduced is None or numbers(item.introduced) <= own)
        and (item.fixed is None or own < numbers(item.fixed))
    ]


def test_only_these_images_are_below_the_security_floor() -> None:
    below = {key for key, image in IMAGES.items() if held(image, key[0])}
    assert below == {("vllm", "cuda12"), ("vllm", "cuda12-volta"), ("sglang", "cuda12")}


LOGS = {
    ("vllm", "holds memory of the GPU"): "ValueError: Free memory on device cuda:0 (3.1/23.6 GiB) on startup is less "
    "than desired GPU memory utilization (0.92, 21.7 GiB).\nRuntimeError: Engine core initialization failed. See root",
    ("vllm", "larger than the KV cache"): "Based on the available memory, the estimated maximum model length is 12288.",
    ("vllm", "no bfloat16"): "Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
    ("vllm", "too old for the quantization"): "The quantization method awq is not supported for the current GPU. "
    "Minimum capability: 75. Current capability: 70.",
    ("vllm", "not know the model's architecture"): "Model architectures ['FooForCausalLM'] are not supported for now.",
    ("vllm", "has no code for this GPU"): "CUDA error: no kernel image is available for execution on the device\n"
    "Engine core initialization failed. See root cause above.",
    ("vllm", "could not start"): "RuntimeError: Engine core initialization failed. See root cause above.",
    ("vllm", "has not enough free memory"): "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ("vllm", "does not know a flag"): "vllm: error: unrecognized arguments: --no-such",
    ("sglang", "weights leave no memory"): "Not enough memory. Please try to increase --mem-fraction-static.",
    ("sglang", "out of main memory"): "Rank 0 scheduler died during initialization (exit code: -9).",
    ("sglang", "could not start"): "Rank 0 scheduler died during initialization (exit code: 3).",
    ("sglang", "no kernels for this processor"): "ModuleNotFoundError: No module named 'vllm'",
    ("tensorrt-llm", "older than this engine"): "Target GPU SM 70 is not supported by this TensorRT release.",
    ("tgi", "Fewer GPUs"): "Error: ArgumentValidation not enough cuda devices: 1 found, 2 asked",
    ("tgi", "could not start"): "Error: ShardCannotStart\nShard cannot start",
    (
        "ollama",
        "went on with the CPU",
    ): 'level=WARN msg="NVIDIA driver too old" device=0 required_driver="570 or newer"',
    ("ollama", "has stopped"): "llama-server process has terminated: exit status 2",
    ("lm-studio", "does not have"): "Unexpected endpoint or method. (GET /x). Returning 200 anyway",
    ("tgi", "accepted licence"): "Cannot access gated repo for url https://huggingface.co/x/y",
    ("ollama", "port is taken"): "listen tcp 0.0.0.0:11434: bind: address already in use",
}


@pytest.mark.parametrize("key", LOGS, ids=" ".join)
def test_a_log_is_read_as_its_cause(key: tuple[str, str]) -> None:
    name, expected = key
    found = next(item for item in ENGINES[name].failures if re.search(item.pattern, LOGS[key]))
    assert expected in found.cause
    assert found.hint


GOOD = {
    "sglang": """The current platform does not support Intel AMX, will fallback to torch_native backend.
KV Cache is allocated. dtype: torch.bfloat16, #tokens: 8192, K size: 0.09 GB, V size: 0.09 GB
The server is fired up and ready to roll!""",
    "vllm": """Model loading took 14.99 GiB memory and 3.1 seconds
GPU KV cache size: 37,000 tokens
Maximum concurrency for 8192 tokens per request: 4.52x
Application startup complete.""",
    "ollama": "Ollama is running",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_log_has_no_failure(name: str) -> None:
    assert [item.cause for item in ENGINES[name].failures if re.search(item.pattern, GOOD[name])] == []
