"""One request, one host, one model: the plan, or a refusal that names the nearest miss."""

from collections.abc import Mapping, Sequence

import msgspec

from deployer.decide.candidates import Candidate, describe
from deployer.decide.case import LOOPBACK, Case, is_loopback
from deployer.decide.cautions import warnings as cautions
from deployer.decide.choose import Ranked, consider
from deployer.decide.command import command, environment, key_variable, setup
from deployer.decide.hashing import plan_hash
from deployer.decide.host import complete
from deployer.decide.no_fit import no_fit
from deployer.decide.reasons import reasons
from deployer.decide.score import Option
from deployer.decide.source import plan_image
from deployer.errors import BadInputError
from deployer.types import (
    HostFacts,
    Knowledge,
    Limits,
    ModelSpec,
    Plan,
    PlanDevice,
    PlanModel,
    PlanRequest,
    Request,
    RunnerUp,
    ScorePart,
    Site,
    VerifiedImage,
)

RUNNERS_UP = 5
LOAD_MB_S, START_S = 200, 60
"""A slow disk reads this much a second; the rest of a start takes less than a minute."""

HEADROOM_MIB, GPU_HEADROOM_MIB = 1024, 3072
"""Room for prompt caching, allocator slack and, with a GPU, pinned memory, above the estimate."""

PAGED_HEADROOM_MIB, PAGED_START_S = 8192, 300
"""Engines on PyTorch read weights through main memory and compile kernels when they start."""

PIDS, PAGED_PIDS = 1024, 8192
"""Threads count: cores, HTTP workers and the GPU library stay far below; PyTorch has several for each core and GPU."""


def make_plan(
    request: Request,
    host: HostFacts,
    model: ModelSpec,
    knowledge: Knowledge,
    *,
    verified: Sequence[VerifiedImage],
    site: Site,
    unavailable: Mapping[str, str],
) -> Plan:
    """Decide. Equal input gives equal bytes.

    `verified` are images of hosts like this one that are here now, `unavailable` says by image profile why it could not
    be had. Raises BadInputError for a request that names what does not exist, NoFitError when nothing can run.
    """
    check_request(request, model, knowledge)
    known_host, guesses = complete(host, knowledge.gpus)
    considered = consider(request, known_host, model, knowledge, verified=verified, unavailable=unavailable)
    if not considered.ranked:
        raise no_fit(request, model, considered)
    best = considered.ranked[0]
    case = Case(best.option, known_host, model, request, considered)
    warned = (*cautions(case), *considered.warnings, *guesses)
    plan = _plan(case, best.parts, site, tuple(dict.fromkeys(warned)))
    return msgspec.structs.replace(plan, plan_hash=plan_hash(plan))


def check_request(request: Request, model: ModelSpec, knowledge: Knowledge) -> None:
    """Raise BadInputError, with the nearest valid word, for an engine, image or quantization that does not exist."""
    engines = [engine.engine for engine in knowledge.engines]
    _known("engine", request.engine, engines)
    chosen = [engine for engine in knowledge.engines if request.engine in (None, engine.engine)]
    _known("image", request.image, [image.id for engine in chosen for image in engine.images])
    _known("quant", request.quantization, [variant.quantization for variant in model.variants])
    if request.image_reference is not None and request.image is None:
        raise BadInputError(
            f"{request.image_reference}: say which image it stands for", hint="--image server=REFERENCE, for example"
        )
    if not model.variants:
        raise BadInputError(f"{model.name} has no file that could be served", hint="deployer models inspect MODEL")


def _known(flag: str, value: str | None, valid: Sequence[str]) -> None:
    if value is None or value.casefold() in {item.casefold() for item in valid}:
        return
    import difflib  # only for a word that is wrong

    nearest = difflib.get_close_matches(value, valid, n=1, cutoff=0.4)
    raise BadInputError(
        f"--{flag} {value}: not known here" + (f"; did you mean {nearest[0]}?" if nearest else ""),
        hint=f"one of: {', '.join(dict.fromkeys(valid)) or 'none'}",
    )


def _plan(case: Case, parts: tuple[ScorePart, ...], site: Site, warned: tuple[str, ...]) -> Plan:
    option, request, considered, host = case.option, case.request, case.considered, case.host
    candidate, engine = option.candidate, option.candidate.engine
    return Plan(
        name=site.name,
        plan_hash="",
        host_fingerprint=host.fingerprint or "",
        request=PlanRequest(
            model=request.model, users=request.users, context=option.sizing.offer.context, workload=request.workload
        ),
        engine=engine.engine,
        engine_version=_version(option),
        image=plan_image(candidate.image, candidate.devices, option.source),
        model=_plan_model(option, site),
        devices=tuple(
            PlanDevice(index=device.gpu.index, uuid=device.gpu.uuid, name=device.gpu.name, vendor=device.gpu.vendor)
            for device in candidate.devices
        ),
        settings=option.sizing.settings,
        command=command(option, request, site),
        environment=environment(option, request, site, host),
        memory=option.sizing.memory,
        speed=option.speed,
        score=parts,
        rejected=considered.rejected,
        warnings=warned,
        runner_up=_runners_up(considered.ranked),
        runtime=candidate.runtime,
        address=published(candidate, request),
        port=site.port,
        container_port=engine.container_port if candidate.runtime == "compose" else site.port,
        container_user=site.container_user,
        device_groups=_groups(candidate),
        key_file=site.key_file,
        key_variable=key_variable(candidate),
        setup=setup(option, request, site),
        writable=engine.writable,
        shm_mib=engine.shm_mib,
        ulimits=engine.ulimits,
        health=engine.health,
        limits=limits(option, host),
        start_period_s=start_period_s(option),
        reasons=reasons(option, considered, host, request),
    )


def published(candidate: Candidate, request: Request) -> str:
    """The address to listen on: as asked, but this machine's own for an engine that asks nobody for a key."""
    return LOOPBACK if candidate.engine.key == "none" and not is_loopback(request.address) else request.address


def _groups(candidate: Candidate) -> tuple[int, ...]:
    """Numeric groups of the device files of the chosen GPUs; NVIDIA's toolkit needs none."""
    if candidate.image.accelerator == "cuda":
        return ()
    return tuple(sorted({group for device in candidate.devices for group in device.gpu.device_groups}))


def limits(option: Option, host: HostFacts) -> Limits:
    """Ceilings: the host estimate with its margin, the prompt cache and headroom, never above what the host has."""
    memory, paged = option.sizing.memory.devices[-1], option.candidate.engine.memory == "paged_kv"
    headroom = GPU_HEADROOM_MIB if option.candidate.devices else HEADROOM_MIB
    headroom = PAGED_HEADROOM_MIB if paged else headroom
    shm = option.candidate.engine.shm_mib or 0
    wanted = memory.total_mib + memory.margin_mib + option.sizing.settings.prompt_cache_mib + headroom + shm
    ceilings = [size for size in (host.memory.total_mib, host.memory.limit_mib) if size is not None]
    return Limits(
        memory_mib=min([wanted, *ceilings]), pids=PAGED_PIDS if paged else PIDS, cpus=host.cpu.available_cores
    )


def start_period_s(option: Option) -> int:
    """Seconds a start may take before it counts as failed: reading the weights from a slow disk, and a start's rest."""
    weights = option.sizing.weights.layout.total_bytes
    rest = PAGED_START_S if option.candidate.engine.memory == "paged_kv" else START_S
    return rest + -(-weights // (LOAD_MB_S * 1_000_000))


def _version(option: Option) -> str:
    entry = option.source.entry
    return entry.engine_version if entry is not None else option.candidate.image.version


def _plan_model(option: Option, site: Site) -> PlanModel:
    variant, weights = option.candidate.variant, option.sizing.weights
    size = variant.size_bytes if variant.size_bytes is not None else weights.layout.total_bytes
    _, _, revision = variant.source.partition("@")
    return PlanModel(
        ref=variant.source,
        revision=revision.partition(":")[0] or None if variant.source.startswith("hf:") else None,
        format=variant.format,
        quantization=variant.quantization,
        files=variant.files,
        size_mib=-(-size // (1024 * 1024)),
        path=variant.path or "",
        name=site.name,
    )


def _runners_up(ranked: Sequence[Ranked]) -> tuple[RunnerUp, ...]:
    return tuple(
        RunnerUp(
            engine=item.option.candidate.engine.engine,
            image=item.option.candidate.image.id,
            quantization=item.option.candidate.variant.quantization,
            devices=describe(item.option.candidate.devices),
            total=item.total,
            score=item.parts,
        )
        for item in ranked[1 : RUNNERS_UP + 1]
    )
