"""What a plan decides, in the words that profiles use for it (`model`, `context_total`, `gpu_memory_fraction`)."""

from deployer.decide.candidates import Candidate
from deployer.decide.copies import copies
from deployer.decide.flags import served_projector
from deployer.decide.score import Option
from deployer.types import Accelerator, EngineProfile, Request, Site

MODEL_FOLDER = "/models"
KEY_PATH = "/run/secrets/api_key"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - inside the container; the port is published on the planned address only

LOG_BUFFERS = "4"
"""The level at which the log tells each buffer's size and where the layers went."""

DEVICE_PREFIX: dict[Accelerator, str] = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "sycl": "SYCL"}
"""llama.cpp's names of devices (`llama-server --list-devices`). A named device that is missing stops the server."""


def settings_values(option: Option, request: Request, site: Site) -> dict[str, str | bool | None]:
    """Every setting by our word for it; None or False where it does not apply. Paths are those that the server sees.

    A key in an environment variable is never here: what starts the server reads it from the key's file.
    """
    candidate, settings = option.candidate, option.sizing.settings
    inside = candidate.runtime == "compose"
    embedding = request.workload == "embedding"
    return {
        "model": model_place(candidate) if inside else candidate.variant.path,
        "projector": projector_place(candidate, request),
        "alias": site.name,
        "host": ANY_ADDRESS if inside else request.address,
        "port": str(candidate.engine.container_port if inside else site.port),
        **_key_values(candidate.engine, KEY_PATH if inside else site.key_file),
        "threads": str(settings.threads),
        "slots": str(-(-settings.slots // settings.data_parallel)),
        "metrics": True,
        "offline": True,
        "no_ui": True,
        "embeddings": embedding,
        "rerank": request.ranks,
        "log_verbosity": LOG_BUFFERS,
        **_memory_values(option),
        **_whole_values(option, request),
        **_model_values(option, embedding=embedding),
    }


def _key_values(engine: EngineProfile, path: str) -> dict[str, str | bool | None]:
    """Where the server finds its key, in the way that this engine takes it."""
    return {
        "api_key_file": path if engine.key == "file" else None,
        "api_key_config": f"{path}.yaml" if engine.key == "config" else None,
        "api_key_env": None,
    }


def _memory_values(option: Option) -> dict[str, str | bool | None]:
    """Settings of context, cache, batches and places."""
    candidate, settings = option.candidate, option.sizing.settings
    share, pool = settings.gpu_memory_fraction, settings.kv_cache_mib
    return {
        "context": str(settings.context),
        "context_total": str(option.sizing.context_total),
        "batch": str(settings.batch),
        "micro_batch": str(settings.micro_batch),
        "batch_tokens": str(settings.batch),
        "gpu_memory_fraction": None if share is None else f"{share:.2f}",
        "kv_cache_gib": None if pool is None or candidate.devices else str(max(-(-pool // 1024), 1)),
        "kv_cache_tokens": None if candidate.devices else str(option.sizing.context_total),
        "kv_cache_type": None if settings.kv_cache_type == "auto" else settings.kv_cache_type,
        "kv_cache_type_k": settings.kv_cache_type,
        "kv_cache_type_v": settings.kv_cache_type,
        "flash_attention": "auto" if settings.kv_cache_type == "f16" else "on",
        "tensor_parallel": str(settings.tensor_parallel) if settings.tensor_parallel > 1 else None,
        "data_parallel": str(settings.data_parallel) if settings.data_parallel > copies(candidate) else None,
        "pipeline_parallel": str(settings.pipeline_parallel) if settings.pipeline_parallel > 1 else None,
        "tensor_split": ",".join(str(count) for count in settings.tensor_split) or None,
        "gpu_layers": str(settings.gpu_layers) if candidate.devices else None,
        "numa": settings.numa,
        "cpu_moe_layers": str(settings.cpu_moe_layers) if settings.cpu_moe_layers else None,
        "devices": devices_value(candidate),
        "cache_ram": str(settings.prompt_cache_mib // copies(candidate)),
    }


def _whole_values(option: Option, request: Request) -> dict[str, str | bool | None]:
    """Settings of a model that reads texts whole; one engine has other words for its batch then."""
    whole = request.whole_texts
    found: dict[str, str | bool | None] = {"whole_texts": whole, "no_prefix_cache": whole, "whole_batch_tokens": None}
    if whole and any(flag.setting == "whole_texts" for flag in option.candidate.engine.flags):
        found |= {"batch_tokens": None, "whole_batch_tokens": str(option.sizing.settings.batch)}
    return found


def _model_values(option: Option, *, embedding: bool) -> dict[str, str | bool | None]:
    """Settings that follow from the model: arithmetic, quantization, chat template and tools."""
    variant, settings = option.candidate.variant, option.sizing.settings
    parser = None if embedding else settings.tool_parser
    return {
        "dtype": None if settings.dtype == "auto" else settings.dtype,
        "quantization": variant.format if variant.format in NAMED.get(option.candidate.engine.engine, ()) else None,
        "eager": False,
        "jinja": not embedding,
        "chat_template": None,
        "tools": parser is not None,
        "tool_parser": parser,
        "reasoning_parser": None,
    }


NAMED = {"tgi": ("awq", "gptq", "fp8")}
"""Formats that an engine has to be told; the others read it in the model's config.json."""


def model_place(candidate: Candidate) -> str:
    """Where the container has the model: a GGUF file below the mounted folder, any other as that folder itself."""
    return f"{MODEL_FOLDER}/{model_file(candidate)}" if candidate.variant.format == "gguf" else MODEL_FOLDER


def projector_place(candidate: Candidate, request: Request) -> str | None:
    """Where the server has the projector, below the same folder as the model; None where it has none."""
    projector = served_projector(candidate, request)
    if projector is None:
        return None
    return f"{MODEL_FOLDER}/{projector.path.rpartition('/')[2]}" if candidate.runtime == "compose" else projector.path


def model_file(candidate: Candidate) -> str:
    """Name of the (first) model file, as it is mounted."""
    path = candidate.variant.path
    if path is not None:
        return path.rpartition("/")[2]
    return candidate.variant.files[0].rpartition("/")[2]


def devices_value(candidate: Candidate) -> str | None:
    """`CUDA0,CUDA1`: the planned devices as one server counts them. A CPU image has none to name.

    A program on this host may have been built with GPU code, so it is told `none`.
    """
    if candidate.on_cpu:
        return "none" if candidate.image.program is not None else None
    prefix = DEVICE_PREFIX[candidate.image.accelerator]
    return ",".join(f"{prefix}{index}" for index in range(len(candidate.devices) // copies(candidate)))
