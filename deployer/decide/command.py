"""Settings and the profile's flags to argv, and the arguments that a user may add."""

from collections.abc import Mapping, Sequence

from deployer.decide.candidates import Candidate
from deployer.decide.score import Option
from deployer.errors import BadInputError, ProfileError
from deployer.types import Accelerator, EngineProfile, Flag, Request, Site

MODEL_FOLDER = "/models"
KEY_PATH = "/run/secrets/api_key"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - inside the container; the port is published on the planned address only

LOG_BUFFERS = "4"
"""The level at which the log tells each buffer's size and where the layers went."""

DEVICE_PREFIX: dict[Accelerator, str] = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "sycl": "SYCL"}
"""llama.cpp's names of devices (`llama-server --list-devices`). A named device that is missing stops the server."""


def command(option: Option, request: Request, site: Site) -> tuple[str, ...]:
    """The image's command, the profile's flags in order, then the user's arguments.

    Raises ProfileError when a setting has no flag, BadInputError for a forbidden argument.
    """
    engine = option.candidate.engine
    refuse_forbidden(engine, request.engine_args)
    flags = _flags(engine, settings_values(option, request, site))
    return (*option.candidate.image.command, *flags, *request.engine_args)


def settings_values(option: Option, request: Request, site: Site) -> dict[str, str | bool | None]:
    """Every setting by our word for it; None or False where it does not apply. Paths are those that the server sees."""
    candidate, settings = option.candidate, option.sizing.settings
    inside = candidate.runtime == "compose"
    return {
        "model": f"{MODEL_FOLDER}/{model_file(candidate)}" if inside else candidate.variant.path,
        "alias": site.name,
        "host": ANY_ADDRESS if inside else request.address,
        "port": str(candidate.engine.container_port if inside else site.port),
        "api_key_file": KEY_PATH if inside else site.key_file,
        "context_total": str(option.sizing.load.cells * settings.slots),
        "slots": str(settings.slots),
        "threads": str(settings.threads),
        "batch": str(settings.batch),
        "micro_batch": str(settings.micro_batch),
        "gpu_layers": str(settings.gpu_layers) if candidate.devices else None,
        "tensor_split": ",".join(str(count) for count in settings.tensor_split) or None,
        "devices": devices_value(candidate),
        "kv_cache_type_k": settings.kv_cache_type,
        "kv_cache_type_v": settings.kv_cache_type,
        "flash_attention": "auto" if settings.kv_cache_type == "f16" else "on",
        "cache_ram": str(settings.prompt_cache_mib),
        "metrics": True,
        "offline": True,
        "no_ui": True,
        "jinja": request.workload != "embedding",
        "embeddings": request.workload == "embedding",
        "log_verbosity": LOG_BUFFERS,
    }


def model_file(candidate: Candidate) -> str:
    """Name of the (first) model file, as it is mounted."""
    path = candidate.variant.path
    if path is not None:
        return path.rpartition("/")[2]
    return candidate.variant.files[0].rpartition("/")[2]


def devices_value(candidate: Candidate) -> str | None:
    """`CUDA0,CUDA1`: the planned devices as the server counts them. A CPU image has none to name.

    A program on this host may have been built with GPU code, so it is told `none`.
    """
    if candidate.on_cpu:
        return "none" if candidate.image.program is not None else None
    prefix = DEVICE_PREFIX[candidate.image.accelerator]
    return ",".join(f"{prefix}{index}" for index in range(len(candidate.devices)))


def refuse_forbidden(engine: EngineProfile, arguments: Sequence[str]) -> None:
    """Raise BadInputError for a flag that the plan or safety needs; its value is never repeated in the message."""
    for argument in arguments:
        if (name := forbidden_name(engine, argument)) is not None:
            raise BadInputError(
                f"--engine-arg {name}: {engine.engine} may not be given this flag here",
                hint="the plan sets it, or it would open the server; see: deployer docs " + engine.engine,
            )


def forbidden_name(engine: EngineProfile, argument: str) -> str | None:
    """The flag when it is forbidden: also as `--flag=value` and with `_` for `-`, which llama-server takes as well."""
    if not argument.startswith("-"):
        return None
    name = argument.partition("=")[0]
    plain = _plain(name)
    return name if plain in {_plain(item) for item in engine.forbidden_args} else None


def overridden(engine: EngineProfile, arguments: Sequence[str]) -> tuple[str, ...]:
    """Flags of the user that the plan sets too; the last one wins, and the estimate does not know it."""
    own = {_plain(flag.flag) for flag in engine.flags}
    names = (argument.partition("=")[0] for argument in arguments if argument.startswith("-"))
    return tuple(name for name in names if _plain(name) in own)


def _plain(name: str) -> str:
    return name.replace("_", "-") if name.startswith("--") else name


def _flags(engine: EngineProfile, values: Mapping[str, str | bool | None]) -> list[str]:
    missing = [word for word, value in values.items() if value and word not in {flag.setting for flag in engine.flags}]
    if missing:
        raise ProfileError(
            f"{engine.engine}.yaml: flags: no flag for {', '.join(missing)}", hint="add it to the profile"
        )
    return [word for flag in engine.flags for word in _words(engine, flag, values)]


def _words(engine: EngineProfile, flag: Flag, values: Mapping[str, str | bool | None]) -> tuple[str, ...]:
    """A flag with its value; alone for a switch; nothing for a setting that does not apply."""
    if flag.value is not None:
        return (flag.flag, flag.value)
    if flag.setting not in values:
        raise ProfileError(
            f"{engine.engine}.yaml: flags: {flag.setting}: not a setting, and no fixed value",
            hint=f"settings: {', '.join(values)}",
        )
    value = values[flag.setting]
    if value is True:
        return (flag.flag,)
    return (flag.flag, value) if value else ()
