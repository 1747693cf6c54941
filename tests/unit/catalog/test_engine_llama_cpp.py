"""What the profile of llama.cpp promises to the floors that read it."""

import re

import pytest

from deployer import catalog
from deployer.types import EngineProfile, ImageProfile

SETTINGS = (
    "model", "alias", "host", "port", "api_key_file", "context_total", "slots", "threads", "numa", "batch",
    "micro_batch", "gpu_layers", "cpu_moe_layers", "tensor_split", "devices", "kv_cache_type_k", "kv_cache_type_v",
    "flash_attention", "fit_off", "cache_ram", "metrics", "offline", "no_ui", "jinja", "embeddings", "rerank",
    "log_verbosity", "projector",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> EngineProfile:
    return catalog.load_engine("llama.cpp")


@pytest.fixture(scope="module")
def images(engine: EngineProfile) -> dict[str, ImageProfile]:
    return {image.id: image for image in engine.images}


def test_settings_come_in_the_order_of_the_command_line(engine: EngineProfile) -> None:
    assert tuple(flag.setting for flag in engine.flags) == SETTINGS


def test_fit_is_turned_off_with_a_value(engine: EngineProfile) -> None:
    assert [(flag.flag, flag.value) for flag in engine.flags if flag.value] == [("--fit", "off")]


def test_what_a_plan_decides_and_what_is_dangerous_is_forbidden(engine: EngineProfile) -> None:
    decided = {flag.flag for flag in engine.flags if flag.setting in {"model", "host", "port", "api_key_file"}}
    dangerous = {"--rpc", "--api-key", "--tools", "--agent", "--ui-mcp-proxy", "--ssl-key-file", "--mcp-servers-json"}
    assert decided | dangerous <= set(engine.forbidden_args)
    assert len(set(engine.forbidden_args)) == len(engine.forbidden_args)


def test_no_image_is_below_the_security_floor(engine: EngineProfile) -> None:
    builds = [int(match[1]) for image in engine.images if (match := re.search(r"b(\d{5})$", image.version))]
    assert len(builds) == len(engine.images) - 1  # the program on PATH has its own version
    assert min(builds) >= 11393


@pytest.mark.parametrize(
    ("image", "capability", "kind"),
    [
        ("server-cuda", "6.1", "ptx"),
        ("server-cuda", "8.0", "ptx"),
        ("server-cuda", "8.6", "sass"),
        ("server-cuda", "12.0a", "sass"),
        ("server-cuda13", "7.5", "ptx"),
        ("server-cuda13", "12.1a", "sass"),
        ("cuda-source", "6.0", "sass"),
        ("cuda-source", "7.0", "sass"),
    ],
)
def test_compiled_code(images: dict[str, ImageProfile], image: str, capability: str, kind: str) -> None:
    assert capability in getattr(images[image], kind)
    assert capability not in getattr(images[image], "ptx" if kind == "sass" else "sass")


def test_driver_floors(images: dict[str, ImageProfile]) -> None:
    floors = {name: (image.driver_min, image.driver_min_ptx) for name, image in images.items() if image.cuda}
    assert floors == {"server-cuda": ("550", "570"), "server-cuda13": ("580", "615"), "cuda-source": ("525", None)}


def test_cuda_13_has_no_code_below_turing(images: dict[str, ImageProfile]) -> None:
    image = images["server-cuda13"]
    assert min(float(code.rstrip("a")) for code in (*image.sass, *image.ptx)) == 7.5


def test_no_digest_is_invented(engine: EngineProfile) -> None:
    assert [image.digest for image in engine.images] == [None] * len(engine.images)


def test_the_build_takes_one_argument_from_the_plan(images: dict[str, ImageProfile]) -> None:
    assert images["cuda-source"].build_args == {"CUDA_ARCH": ""}


def test_the_wheel_needs_avx2(images: dict[str, ImageProfile]) -> None:
    assert {"avx2", "fma", "f16c", "bmi2"} <= set(images["xllamacpp"].cpu_flags)
    assert images["server"].cpu_flags == images["debian"].cpu_flags == ()


def test_every_quantization_is_of_gguf(engine: EngineProfile) -> None:
    gguf = {entry.name for entry in catalog.load_quantizations() if entry.format == "gguf"}
    assert gguf == set(engine.quantizations)


def test_catalog_models_are_of_known_architectures(engine: EngineProfile) -> None:
    for model in catalog.load_models():
        assert model.architecture.name in engine.architectures, model.name
        gguf = {variant.quantization for variant in model.variants if variant.format == "gguf"}
        assert gguf <= set(engine.quantizations), model.name


# Each log is of llama-server 0.7.0 (build 11669) run on purpose into the failure, except the GPU ones, whose text is
# in the source of b11434.
LOGS = {
    "not where the plan": """
E gguf_init_from_file: failed to open GGUF file '/models/nope.gguf' (No such file or directory)
E llama_model_load: error loading model: llama_model_loader: failed to load model from /models/nope.gguf
E srv  llama_server: exiting due to model loading error""",
    "may not read": """
E gguf_init_from_file: failed to open GGUF file '/models/m.gguf' (Permission denied)
E srv  llama_server: exiting due to model loading error""",
    "not a GGUF model": """
E gguf_init_from_reader: failed to read magic
E srv    load_model: failed to load model, '/models/key'""",
    "cut short": """
E llama_model_load: error loading model: tensor 'blk.2.ffn_up.weight' data is not within the file bounds, model is \
corrupted or incomplete
E srv  llama_server: exiting due to model loading error""",
    "does not know the model's architecture": """
E llama_model_load: error loading model: unknown model architecture: 'foozz'
E srv  llama_server: exiting due to model loading error""",
    "not visible to the server": 'error while handling argument "--device": invalid device: CUDA0',
    "API key cannot be read": "error while handling argument \"--api-key-file\": error: failed to open file '/k'",
    "does not know a flag": "error: invalid argument: --no-mmap",
    "refused the value of a flag": 'error while handling argument "--cache-type-k": Unsupported cache type: q9',
    "without flash attention": """
E llama_init_from_model: quantized V cache requires flash_attn to be enabled
E srv    load_model: failed to create_context with model '/models/m.gguf'
E srv  llama_server: exiting due to model loading error""",
    "chat template": """
E common_chat_templates_init: failed to initialize chat template
error: the supplied chat template is not supported: {% bad""",
    "memory for the context": """
E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
E srv    load_model: failed to create_context with model '/models/m.gguf'
E srv  llama_server: exiting due to model loading error""",
    "listen on its address": "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
    "GPU has not enough free memory": """
ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory
llama_model_load: error loading model: unable to allocate CUDA0 buffer""",
    "no code for this GPU": "CUDA error: no kernel image is available for execution on the device",
    "has only PTX": "CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    "compressed": "CUDA error: device kernel image is invalid",
    "went on with the CPU": "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
    "older than the CUDA version this image asks": "requirement error: unsatisfied condition: cuda>=12.8, please",
    "CUDA failed while": "CUDA error: unspecified launch failure",
}


@pytest.mark.parametrize("expected", LOGS)
def test_a_log_is_read_as_its_cause(engine: EngineProfile, expected: str) -> None:
    found = next(signature for signature in engine.failures if re.search(signature.pattern, LOGS[expected]))
    assert expected in found.cause
    assert found.hint


def test_a_good_log_has_no_failure(engine: EngineProfile) -> None:
    log = """I srv  llama_server: initializing ...
W srv  llama_server: security: no API key is set and CORS allows all origins
I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
W llama_context: n_ctx_seq (400128) > n_ctx_train (8192) -- possible training context overflow
I srv  llama_server: model loaded
I srv  llama_server: listening on http://0.0.0.0:8080"""
    assert [signature for signature in engine.failures if re.search(signature.pattern, log)] == []


def test_the_documentation_is_in_the_comments(engine: EngineProfile) -> None:
    text = catalog.engine_text("llama.cpp")
    assert text.startswith("# llama.cpp: ")
    assert sum(line.lstrip().startswith("#") for line in text.splitlines()) > 60
    assert max(map(len, text.splitlines())) <= 120
