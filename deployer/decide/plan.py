"""One request, one host, one model: the plan, or a refusal that names the nearest miss."""

from collections.abc import Mapping, Sequence

import msgspec

from deployer.decide import correction
from deployer.decide.candidates import Candidate, describe
from deployer.decide.case import LOOPBACK, Case, is_loopback
from deployer.decide.cautions import warnings as cautions
from deployer.decide.choose import Considered, Ranked, consider
from deployer.decide.command import command, environment, files, key_config, key_variable, launcher, setup
from deployer.decide.copies import copies
from deployer.decide.flags import served_projector
from deployer.decide.front import front, has_gateway, health_of
from deployer.decide.given_up import given_up
from deployer.decide.hashing import plan_hash
from deployer.decide.host import complete, is_tegra
from deployer.decide.no_fit import no_fit
from deployer.decide.purpose import embeds_by_itself, settled
from deployer.decide.reasons import reasons
from deployer.decide.score import Option
from deployer.decide.source import plan_image
from deployer.errors import BadInputError, did_you_mean, nearest
from deployer.types import (
    Gpu,
    HostFacts,
    Knowledge,
    Limits,
    ModelSpec,
    Observation,
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
    observations: Sequence[Observation] = (),
) -> Plan:
    """Decide. Equal input gives equal bytes.

    `verified` are images of hosts like this one that are here now, `unavailable` says by image profile why it could not
    be had, `observations` are what was measured on hosts like this one, oldest first. Raises BadInputError for a
    request that names what does not exist, NoFitError when nothing can run.
    """
    check_request(request, model, knowledge)
    asked_for, request = request, settled(request, model)
    known_host, guesses = complete(host, knowledge.gpus)

    def ask(asked: Request) -> Considered:
        return consider(
            *(asked, known_host, model, knowledge),
            verified=verified,
            unavailable=unavailable,
            observations=observations,
        )

    considered = ask(request)
    if not considered.ranked:
        from deployer.decide.ways_out import together, ways_out  # only for a refusal

        alone = ways_out(request, known_host, model, considered, ask)
        raise no_fit(request, model, considered, alone, {} if alone else together(request, ask))
    best = considered.ranked[0]
    case = Case(best.option, known_host, model, request, considered)
    purpose = [text for text in [embeds_by_itself(asked_for, request)] if text is not None]
    warned = (
        *purpose,
        *cautions(case),
        *correction.cautions(best.option.sizing.memory),
        *considered.warnings,
        *guesses,
    )
    plan = _plan(case, best.parts, site, tuple(dict.fromkeys(warned)), knowledge.gateway_image)
    newest = max((item.serial for item in observations), default=0)
    return msgspec.structs.replace(plan, plan_hash=plan_hash(plan), learned=newest)


def check_request(request: Request, model: ModelSpec, knowledge: Knowledge) -> None:
    """Raise BadInputError, with the nearest valid word, for an engine, image or quantization that does not exist."""
    engines = [engine.engine for engine in knowledge.engines]
    _known("engine", request.engine, engines)
    chosen = [engine for engine in knowledge.engines if request.engine in (None, engine.engine)]
    _known("image", request.image, [image.id for engine in chosen for image in engine.images])
    _known("kv-type", request.kv_type, [kv_type for engine in chosen for kv_type in engine.kv_types])
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
    raise BadInputError(
        f"--{flag} {value}: not known here{did_you_mean(nearest(value, valid))}",
        hint=f"one of: {', '.join(dict.fromkeys(valid)) or 'none'}",
    )


def _plan(case: Case, parts: tuple[ScorePart, ...], site: Site, warned: tuple[str, ...], gateway_image: str) -> Plan:
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
        model=_plan_model(option, site, case.model, request),
        devices=tuple(_plan_device(device.gpu, host) for device in candidate.devices),
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
        key_config=key_config(candidate, site),
        launcher=launcher(candidate),
        setup=setup(option, request, site),
        files=files(option, request, site),
        store=engine.store if candidate.runtime == "compose" else None,
        gateway=front(candidate, gateway_image, ranks=request.ranks),
        copies=copies(candidate),
        writable=engine.writable,
        shm_mib=engine.shm_mib,
        ulimits=ulimits(candidate, host),
        health=health_of(candidate),
        limits=limits(option, host),
        start_period_s=start_period_s(option),
        reasons=(*reasons(option, considered, host, request), *correction.sentences(option.sizing.memory)),
        given_up=given_up(considered, request),
    )


def _plan_device(gpu: Gpu, host: HostFacts) -> PlanDevice:
    return PlanDevice(index=gpu.index, uuid=gpu.uuid, name=gpu.name, vendor=gpu.vendor, tegra=is_tegra(gpu, host))


def published(candidate: Candidate, request: Request) -> str:
    """The address to listen on: as asked, but this machine's own where nobody asks for a key."""
    open_to_all = candidate.engine.key == "none" and not has_gateway(candidate)
    return LOOPBACK if open_to_all and not is_loopback(request.address) else request.address


def ulimits(candidate: Candidate, host: HostFacts) -> dict[str, int]:
    """Limits that the engine wants raised, for its GPUs' buffers; a rootless container engine may raise none."""
    rootless = host.container is not None and host.container.rootless
    return candidate.engine.ulimits if candidate.devices and not rootless else {}


def _groups(candidate: Candidate) -> tuple[int, ...]:
    """Numeric groups of the device files of the chosen GPUs; NVIDIA's toolkit needs none."""
    if candidate.image.accelerator == "cuda":
        return ()
    return tuple(sorted({group for device in candidate.devices for group in device.gpu.device_groups}))


def limits(option: Option, host: HostFacts) -> Limits:
    """Ceilings: the host estimate with its margin, the prompt cache and headroom, never above what the host has.

    Of several copies each has its part of the estimate. A correction raises a ceiling and never lowers it: less than
    expected was used is no reason to allow less.
    """
    memory, paged = option.sizing.memory.devices[-1], option.candidate.engine.memory == "paged_kv"
    formula = correction.formula_of(memory)
    headroom = GPU_HEADROOM_MIB if option.candidate.devices else HEADROOM_MIB
    headroom = PAGED_HEADROOM_MIB if paged else headroom
    shm = option.candidate.engine.shm_mib or 0
    estimate = max(memory.total_mib + memory.margin_mib, formula.total_mib + formula.margin_mib)
    own = -(-(estimate + option.sizing.settings.prompt_cache_mib) // copies(option.candidate))
    wanted = own + headroom + shm
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


def _plan_model(option: Option, site: Site, model: ModelSpec, request: Request) -> PlanModel:
    projector = served_projector(option.candidate, request)
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
        architecture=model.architecture.name,
        parameters=model.parameters,
        projector=None if projector is None else projector.path,
        projector_mib=None if projector is None else -(-projector.weight_bytes // (1024 * 1024)),
        reranker=request.ranks,
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
