"""Warnings about the chosen engine, image and model: keys, vulnerabilities, licences, what the start will be like."""

from deployer.decide.case import LOOPBACK, Case, is_loopback
from deployer.decide.command import overridden
from deployer.decide.flags import served_projector
from deployer.decide.front import has_gateway
from deployer.decide.host import short_name
from deployer.decide.rules_container import repair_injection
from deployer.decide.rules_image import open_advisories, safe_from
from deployer.decide.rules_quantization import widened, without_tensor_cores
from deployer.decide.source import UNKNOWN_VERSION


def image_stands_in(case: Case) -> str | None:
    """The wanted image could not be had and an older verified one is used."""
    return case.option.source.warning


def no_key(case: Case) -> str | None:
    """An engine without a key is for this machine only, and no file with a key changes that."""
    engine, asked = case.candidate.engine, case.request.address
    if engine.key != "none" or has_gateway(case.candidate):
        return None
    kept = "" if is_loopback(asked) else f" instead of {asked}"
    return (
        f"{engine.engine} has no API key: every user of this machine can use it, and any key is taken; it is published "
        f"on {LOOPBACK if kept else asked} only{kept}. For others, put a gateway that asks for a key in front of it"
    )


def key_in_arguments(case: Case) -> str | None:
    """An engine that takes its key as an argument shows it to everybody on the machine."""
    engine = case.candidate.engine
    if engine.key != "argument":
        return None
    return f"{engine.engine} takes its API key as an argument, which users of this machine can read in the process list"


def known_holes(case: Case) -> str | None:
    """Vulnerabilities that were accepted by name."""
    accepted = [item.id for item in open_advisories(case.candidate) if not item.condition]
    return f"vulnerabilities accepted by --allow-vulnerable: {', '.join(accepted)}" if accepted else None


def legacy_engine(case: Case) -> str | None:
    """An engine that its makers have given up."""
    engine = case.candidate.engine
    return (
        None if engine.status == "current" else f"{engine.title} is no longer developed; plan to move to another engine"
    )


def widened_weights(case: Case) -> str | None:
    """Small weights on a GPU without arithmetic for them."""
    return widened(case.candidate)


def no_tensor_cores(case: Case) -> str | None:
    """An engine that was asked for on a GPU that is slow for it."""
    return without_tensor_cores(case.candidate)


def shared_memory(case: Case) -> str | None:
    """While it starts, vLLM takes more than its part, where that is taken from the system (vllm-project/vllm#46307)."""
    part, gpus = case.option.sizing.settings.gpu_memory_fraction, [item.gpu for item in case.candidate.devices]
    if case.candidate.engine.engine != "vllm" or part is None or not any(gpu.unified_memory for gpu in gpus):
        return None
    return (
        f"{short_name(gpus[0])} shares one memory with the system, and vllm may take more than its {part:.0%} of it "
        "while it starts; a full memory freezes the machine: close other programs, and if it happens, give vllm less "
        "(--engine-arg=--gpu-memory-utilization=0.6)"
    )


def split_groups(case: Case) -> str | None:
    """Groups of small weights that the GPUs would cut through (vllm-project/vllm#5675, #2699).

    Some repositories pad their matrices for it, which is not known here; so it is said, and refuses nothing.
    """
    ranks, architecture = case.option.sizing.settings.tensor_parallel, case.model.architecture
    wide = architecture.expert_feed_forward or architecture.feed_forward
    if ranks == 1 or case.candidate.variant.format not in ("awq", "gptq") or wide % (ranks * GROUP) == 0:
        return None
    good = next((size for size in range(ranks - 1, 1, -1) if ranks % size == 0 and wide % (size * GROUP) == 0), None)
    return (
        f"{wide} columns of {case.model.name} do not divide into {ranks} parts of whole groups of {GROUP} weights: if "
        f'its files are not padded for it, {case.candidate.engine.engine} stops with "not aligned with the quantized '
        f'weight shape"' + (f"; {good} GPUs would do" if good else "")
    )


GROUP = 128
"""Weights that share a scale in AWQ and GPTQ (their usual group_size)."""


def own_image(case: Case) -> str | None:
    """An image from another place, whose version its tag does not tell."""
    reference, candidate = case.request.image_reference, case.candidate
    if reference is None or candidate.version != UNKNOWN_VERSION:
        return None
    floor = safe_from(candidate.advisories)
    known = f"{candidate.engine.engine} has known vulnerabilities before {floor}" if floor else "none is known here"
    return f"the version of {reference} is not in its tag, so it was not compared with known vulnerabilities: {known}"


def compute_cache(case: Case) -> str | None:
    """PTX is compiled at the first start."""
    part = next(item for item in case.considered.ranked[0].parts if item.part == "compiled")
    if not part.why.startswith("the driver compiles"):
        return None
    return "the first start takes minutes longer: the driver compiles the image's PTX for the GPU, once"


def text_only(case: Case) -> str | None:
    """A projector lies beside the model, and this engine takes none."""
    candidate = case.candidate
    if candidate.variant.projector is None or case.request.workload == "embedding":
        return None
    if served_projector(candidate, case.request) is not None:
        return None
    return (
        f"{candidate.engine.engine} is not told of the projector beside the model: {case.model.name} is served for "
        "text only, and no request may hold a picture"
    )


def user_overrides(case: Case) -> str | None:
    """The user's own flags win over the plan's."""
    names = overridden(case.candidate.engine, case.request.engine_args)
    return f"{', '.join(names)} overrides the plan; the estimate does not know it" if names else None


def gated(case: Case) -> str | None:
    """A download that needs consent."""
    if not case.model.gated or case.candidate.variant.present:
        return None
    return f"{case.model.name} is gated: accept its licence on the hub and set HF_TOKEN before the download"


def runtime_unknown(case: Case) -> str | None:
    """Whether the container engine or the program is there was not told."""
    image = case.candidate.image
    if image.program is not None:
        return f"whether {image.program} is installed is unknown" if case.host.programs is None else None
    container = case.host.container
    if container is None:
        return "whether this host has a container engine is unknown"
    if container.nvidia_runtime is False and not container.cdi and _nvidia(case):
        return (
            f"the NVIDIA toolkit {container.nvidia_toolkit} is installed, but {container.engine} has no nvidia runtime "
            f"and no CDI device; if the GPU does not come up: {repair_injection(container)}"
        )
    return None


def _nvidia(case: Case) -> bool:
    return any(device.gpu.vendor == "nvidia" for device in case.candidate.devices)
