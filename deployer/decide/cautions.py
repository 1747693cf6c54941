"""Warnings about the chosen plan: facts that are unknown, limits that are near, hardware that is not used."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from deployer.decide.candidates import Candidate, describe
from deployer.decide.capability import last_driver
from deployer.decide.choose import Considered
from deployer.decide.command import overridden
from deployer.decide.host import label, short_name
from deployer.decide.rules import DEVICE_RULES, first_refusal
from deployer.decide.rules_device import repair_injection
from deployer.decide.score import Option
from deployer.decide.settings import FALLBACK_THREADS, host_available_mib
from deployer.types import HostFacts, ModelSpec, Request


class Case(NamedTuple):
    """What a caution looks at."""

    option: Option
    host: HostFacts
    model: ModelSpec
    request: Request
    considered: Considered

    @property
    def candidate(self) -> Candidate:
        """The chosen candidate."""
        return self.option.candidate


SLOW_TOKENS_PER_S = 3.0


def warnings(case: Case) -> tuple[str, ...]:
    """Every warning that applies, in a fixed order, each once."""
    found = (caution(case) for caution in CAUTIONS)
    return tuple(dict.fromkeys(text for text in found if text is not None))


def image_stands_in(case: Case) -> str | None:
    """The wanted image could not be had and an older verified one is used."""
    return case.option.source.warning


def gpu_unused(case: Case) -> str | None:
    """The host has GPUs, and the plan does not use them although nobody asked for that."""
    usable = [gpu for gpu in case.host.gpus if gpu.error is None]
    if not usable or case.candidate.devices or case.request.gpus == ():
        return None
    why = next((item for item in case.considered.rejected if item.rule in _GPU_RULES), None)
    names = ", ".join(dict.fromkeys(short_name(gpu) for gpu in usable))
    return f"no GPU is used ({names})" + (f": {why.image}: {why.reason}" if why else "")


_GPU_RULES = ("container-gpu-injection", "driver", "ptx-driver", "last-driver", "compute-capability", "gfx", "memory")


def odd_card(case: Case) -> str | None:
    """GPUs that the chosen image cannot use, and why."""
    if not case.candidate.devices:
        return None
    said = []
    for device in case.considered.devices:
        alone = msgspec.structs.replace(case.candidate, devices=(device,))
        refused = first_refusal(DEVICE_RULES, alone, case.host, case.model, case.request)
        if refused is not None:
            said.append(f"{label(device.gpu)} is left out: {refused[1]}")
    return "; ".join(said) or None


def last_branch(case: Case) -> str | None:
    """A chosen GPU is at the end of its driver support."""
    if case.candidate.on_cpu:
        return None
    for device in case.candidate.devices:
        branch = last_driver(device.gpu, device.known)
        if branch is not None:
            kind = f" ({device.gpu.architecture.title()})" if device.gpu.architecture else ""
            return (
                f"{short_name(device.gpu)}{kind}: NVIDIA driver {branch} is the last branch that supports it; stay on "
                f"{branch}, do not go to {int(branch) + 10}"
            )
    return None


def driver_unknown(case: Case) -> str | None:
    """A CUDA image, and no driver version to compare with."""
    if case.candidate.image.accelerator != "cuda" or (case.host.nvidia and case.host.nvidia.driver):
        return None
    return "the NVIDIA driver's version is unknown, so it was not compared with the image's floor"


def capability_unknown(case: Case) -> str | None:
    """A GPU image, and a GPU whose capability or target is unknown."""
    image = case.candidate.image
    for device in case.candidate.devices:
        unknown = {"cuda": device.gpu.compute_capability, "rocm": device.gpu.gfx}.get(image.accelerator, "")
        if unknown is None:
            return f"{short_name(device.gpu)}: its capability is unknown, so {image.id} may have no code for it"
    return None


def memory_unknown(case: Case) -> str | None:
    """Memory that nobody measured."""
    unknown = [item.device for item in case.option.sizing.placement.memory.devices if item.available_mib is None]
    if unknown:
        return f"free memory of {', '.join(unknown)} is unknown: whether the plan fits was not checked"
    if host_available_mib(case.host) == case.host.memory.total_mib and case.host.memory.available_mib is None:
        return "free main memory is unknown; all of it was taken as free"
    return None


def cpu_unknown(case: Case) -> str | None:
    """Facts of the processor that a rule or a setting needed."""
    cpu, image = case.host.cpu, case.candidate.image
    if image.cpu_flags and cpu.flags is None:
        return f"the processor's flags are unknown; {image.id} needs {', '.join(image.cpu_flags)}"
    if cpu.architecture is None:
        return f"the processor's architecture is unknown; {image.id} is made for {', '.join(image.architectures)}"
    if cpu.available_cores is None and cpu.cores is None and cpu.threads is None:
        return f"the number of cores is unknown; {FALLBACK_THREADS} threads are used"
    return None


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


def compute_cache(case: Case) -> str | None:
    """PTX is compiled at the first start."""
    part = next(item for item in case.considered.ranked[0].parts if item.part == "compiled")
    if not part.why.startswith("the driver compiles"):
        return None
    return "the first start takes minutes longer: the driver compiles the image's PTX for the GPU, once"


def given_up(case: Case) -> str | None:
    """What the users get less of, because it would not fit."""
    lost = case.option.sizing.offer.given_up
    return f"to fit into memory: {'; '.join(lost)}" if lost else None


def partial_offload(case: Case) -> str | None:
    """Some layers stay on the CPU."""
    layers = len(case.option.sizing.load.weights.layout.layer_bytes) + 1
    offloaded = case.option.sizing.placement.offloaded
    if not 0 < offloaded < layers:
        return None
    where = describe(case.candidate.devices)
    return f"only {offloaded} of {layers} layers fit on {where}; the rest runs on the CPU, slowly"


def slow(case: Case) -> str | None:
    """Too slow to chat with."""
    decode = case.option.speed.decode_tokens_per_s
    if decode is None or decode >= SLOW_TOKENS_PER_S:
        return None
    return f"expect only about {decode} tokens/s: a smaller model would answer sooner"


def fewer_slots(case: Case) -> str | None:
    """More users than slots."""
    slots = case.option.sizing.settings.slots
    if case.request.users <= slots or case.option.sizing.offer.given_up:
        return None
    return f"{slots} of {case.request.users} users are served at once; the others wait their turn"


def gated(case: Case) -> str | None:
    """A download that needs consent."""
    if not case.model.gated or case.candidate.variant.present:
        return None
    return f"{case.model.name} is gated: accept its licence on the hub and set HF_TOKEN before the download"


def approximate_weights(case: Case) -> str | None:
    """The layout of the weights is only known roughly."""
    if case.option.sizing.load.weights.basis != "approximate":
        return None
    return "the sizes of the model's parts are estimated from its total size; the margin is wider for it"


def user_overrides(case: Case) -> str | None:
    """The user's own flags win over the plan's."""
    names = overridden(case.candidate.engine, case.request.engine_args)
    return f"{', '.join(names)} overrides the plan; the estimate does not know it" if names else None


def _nvidia(case: Case) -> bool:
    return any(device.gpu.vendor == "nvidia" for device in case.candidate.devices)


CAUTIONS: tuple[Callable[[Case], str | None], ...] = (
    image_stands_in,
    gpu_unused,
    odd_card,
    last_branch,
    given_up,
    partial_offload,
    fewer_slots,
    slow,
    compute_cache,
    user_overrides,
    gated,
    driver_unknown,
    capability_unknown,
    memory_unknown,
    cpu_unknown,
    runtime_unknown,
    approximate_weights,
)
"""Every caution, the most important first."""
