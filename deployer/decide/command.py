"""Settings and the profile's flags to argv, and the arguments that a user may add."""

from collections.abc import Mapping, Sequence

from deployer.decide.candidates import Candidate
from deployer.decide.capability import cuda_of, driver_of
from deployer.decide.flags import flags_of
from deployer.decide.host import is_tegra
from deployer.decide.score import Option
from deployer.decide.values import settings_values
from deployer.decide.version import numbers
from deployer.errors import BadInputError, ProfileError
from deployer.types import EngineProfile, Flag, HostFacts, Request, Site

REQUIRED: dict[str, frozenset[str]] = {
    "llama.cpp": frozenset({
        *("model", "alias", "host", "port", "api_key_file", "context_total", "slots", "threads", "batch"),
        *("micro_batch", "gpu_layers", "tensor_split", "devices", "kv_cache_type_k", "kv_cache_type_v"),
        *("flash_attention", "cache_ram", "metrics", "offline", "no_ui", "jinja", "log_verbosity"),
        *("embeddings", "rerank"),
    }),
}  # fmt: skip
"""Settings that an engine must be told when they apply, because it would choose otherwise by itself. The other engines
must be told the model, unless they are set up by commands of their own."""

_USUAL = frozenset({"model"})


def command(option: Option, request: Request, site: Site) -> tuple[str, ...]:
    """The image's command, the profile's flags in order, then the user's arguments.

    Raises ProfileError when a required setting has no flag, BadInputError for a forbidden argument.
    """
    engine = option.candidate.engine
    refuse_forbidden(engine, request.engine_args)
    values = settings_values(option, request, site)
    _check(engine, values)
    flags = (flag for flag in flags_of(option.candidate) if flag.variable is None)
    words = (word for flag in flags for word in _words(engine, flag, values))
    return (*option.candidate.image.command, *words, *request.engine_args)


def environment(option: Option, request: Request, site: Site, host: HostFacts) -> dict[str, str]:
    """The profile's and the image's variables, settings that are told by variable, and the GPUs for a local program.

    GPUs cannot reach each other's memory under WSL, where NCCL would hang in the attempt (vllm-project/vllm#14449). An
    image that asks for a newer CUDA than the driver reports is told that the driver will do: the rules have compared
    both, and machine code runs within its major version (NVIDIA Container Toolkit, internal/config/image/envvars.go).
    """
    candidate = option.candidate
    values = settings_values(option, request, site)
    told = {
        flag.variable: word
        for flag in flags_of(candidate)
        if flag.variable is not None and (word := _variable(candidate.engine, flag, values)) is not None
    }
    ranks = max(option.sizing.settings.tensor_parallel, option.sizing.settings.pipeline_parallel)
    apart = {"NCCL_P2P_DISABLE": "1"} if host.os.wsl and ranks > 1 else {}
    will_do = {"NVIDIA_DISABLE_REQUIRE": "1"} if asks_for_more(candidate, host) else {}
    found = {**_own_folders(candidate, site), **candidate.image.environment, **told, **apart, **will_do}
    uuids = [device.gpu.uuid for device in candidate.devices if device.gpu.uuid and not is_tegra(device.gpu, host)]
    if candidate.runtime != "process" or candidate.image.accelerator != "cuda" or not uuids:
        return found
    return {**found, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(uuids)}


def _own_folders(candidate: Candidate, site: Site) -> dict[str, str]:
    """The engine's variables. Without a container, folders below `writable` lie below the site's own scratch folder.

    Compiled kernels are loaded from them: on a host, a folder that everybody may write would be a way in.
    """
    found = dict(candidate.engine.environment)
    if candidate.runtime != "process" or not site.scratch:
        return found
    for name, value in found.items():
        below = next((folder for folder in candidate.engine.writable if value.startswith(f"{folder}/")), None)
        if below is not None:
            found[name] = site.scratch + value.removeprefix(below)
    return found


def asks_for_more(candidate: Candidate, host: HostFacts) -> bool:
    """True for a CUDA image whose toolkit is newer than what the driver reports."""
    image = candidate.image
    if image.accelerator != "cuda" or image.cuda is None or candidate.runtime != "compose" or host.nvidia is None:
        return False
    now = host.nvidia.cuda or cuda_of(driver_of(host))
    return now is not None and numbers(now)[:2] < numbers(image.cuda)[:2]


def setup(option: Option, request: Request, site: Site) -> tuple[tuple[str, ...], ...]:
    """Commands to run in the container once the port answers, with the settings in their places."""
    values = {f"{{{word}}}": value for word, value in settings_values(option, request, site).items()}
    return tuple(tuple(_placed(word, values) for word in step) for step in option.candidate.engine.setup)


def files(option: Option, request: Request, site: Site) -> dict[str, str]:
    """Texts that are mounted for the setup, with the settings in their places."""
    if option.candidate.runtime != "compose":
        return {}
    values = {f"{{{word}}}": value for word, value in settings_values(option, request, site).items()}
    return {name: _placed(text, values) for name, text in option.candidate.engine.files.items()}


def _placed(word: str, values: Mapping[str, str | bool | None]) -> str:
    for name, value in values.items():
        if isinstance(value, str):
            word = word.replace(name, value)
    return word


def key_variable(candidate: Candidate) -> str | None:
    """The variable of the environment from which the engine takes its key, if that is its way."""
    if candidate.engine.key != "environment":
        return None
    return next((flag.variable for flag in flags_of(candidate) if flag.setting == "api_key_env"), None)


def key_config(candidate: Candidate, site: Site) -> str | None:
    """The YAML file on this host that holds the key, where the engine takes it so."""
    return f"{site.key_file}.yaml" if candidate.engine.key == "config" else None


def launcher(candidate: Candidate) -> tuple[str, ...]:
    """What hands the key over inside a container; a local program gets it from its supervisor."""
    return candidate.engine.launcher if candidate.runtime == "compose" else ()


def refuse_forbidden(engine: EngineProfile, arguments: Sequence[str]) -> None:
    """Raise BadInputError for a flag that the plan or safety needs; its value is never repeated in the message."""
    for argument in arguments:
        if (name := forbidden_name(engine, argument)) is not None:
            raise BadInputError(
                f"--engine-arg {name}: {engine.engine} may not be given this flag here",
                hint="the plan sets it, or it would open the server; see: deployer docs " + engine.engine,
            )


def forbidden_name(engine: EngineProfile, argument: str) -> str | None:
    """The flag when it is forbidden, also as `--flag=value`, with `_` for `-`, cut short where the engine takes it.

    llama-server takes `_`; Python's argument parsers take any beginning of a long option that is not ambiguous.
    """
    if not argument.startswith("-"):
        return None
    name = argument.partition("=")[0]
    plain = _plain(name)
    forbidden = {_plain(item) for item in engine.forbidden_args}
    if plain in forbidden:
        return name
    cut_short = engine.abbreviates and plain.startswith("--") and any(item.startswith(plain) for item in forbidden)
    return name if cut_short else None


def overridden(engine: EngineProfile, arguments: Sequence[str]) -> tuple[str, ...]:
    """Flags of the user that the plan sets too; the last one wins, and the estimate does not know it."""
    own = {_plain(flag.flag) for flag in engine.flags}
    names = (argument.partition("=")[0] for argument in arguments if argument.startswith("-"))
    return tuple(name for name in names if _plain(name) in own)


def _plain(name: str) -> str:
    return name.replace("_", "-") if name.startswith("--") else name


def _check(engine: EngineProfile, values: Mapping[str, str | bool | None]) -> None:
    """Raise ProfileError when a required setting that applies has no flag."""
    placed = {flag.setting for flag in engine.flags}
    required = REQUIRED.get(engine.engine, frozenset() if engine.setup else _USUAL)
    missing = [word for word, value in values.items() if value and word in required and word not in placed]
    if missing:
        raise ProfileError(
            f"{engine.engine}.yaml: flags: no flag for {', '.join(missing)}", hint="add it to the profile"
        )


def _words(engine: EngineProfile, flag: Flag, values: Mapping[str, str | bool | None]) -> tuple[str, ...]:
    """A flag with its value; alone for a switch; nothing for a setting that does not apply."""
    value = _value(engine, flag, values)
    name = (flag.flag,) if flag.flag else ()
    if value is True or flag.value == "":
        return (*name, flag.value_if_yes) if flag.value_if_yes else name
    return (*name, value) if value else ()


def _variable(engine: EngineProfile, flag: Flag, values: Mapping[str, str | bool | None]) -> str | None:
    """What a variable is set to; yes is `1`."""
    value = _value(engine, flag, values)
    return (flag.value_if_yes or "1") if value is True else value or None


def _value(engine: EngineProfile, flag: Flag, values: Mapping[str, str | bool | None]) -> str | bool | None:
    if flag.value is not None:
        return flag.value
    if flag.setting not in values:
        raise ProfileError(
            f"{engine.engine}.yaml: flags: {flag.setting}: not a setting, and no fixed value",
            hint=f"settings: {', '.join(values)}",
        )
    return values[flag.setting]
