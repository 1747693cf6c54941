"""Warnings about the hardware: what is unknown, what is not used, what is near its end."""

from collections.abc import Sequence

import msgspec

from deployer.decide.candidates import describe
from deployer.decide.capability import driver_of, last_driver
from deployer.decide.case import Case
from deployer.decide.choose import idle
from deployer.decide.device_sets import splits
from deployer.decide.host import is_tegra, label, labels, short_name, vgpu_kind
from deployer.decide.rules import DEVICE_RULES, DISK_RULE, first_refusal
from deployer.decide.score import MANY_USERS, unmeasured
from deployer.decide.settings import FALLBACK_THREADS, host_available_mib
from deployer.decide.version import newer_branch, numbers
from deployer.types import Gpu


def driver_silent(case: Case) -> str | None:
    """The NVIDIA driver does not answer, and the plan does without its GPUs: the repair comes first."""
    error = case.host.nvidia.error if case.host.nvidia is not None else None
    if error is None or case.request.gpus == () or any(item.gpu.vendor == "nvidia" for item in case.candidate.devices):
        return None
    names = dict.fromkeys(short_name(gpu) for gpu in case.host.gpus if gpu.vendor in (None, "nvidia") and gpu.name)
    cards = f" ({', '.join(names)})" if names else ""
    return f"no NVIDIA GPU is used{cards}, because the driver does not answer: {error}"


def gpu_unused(case: Case) -> str | None:
    """The host has GPUs, and the plan does not use them although nobody asked for that."""
    usable = [device.gpu for device in case.considered.devices]
    if not usable or case.candidate.devices or case.request.gpus == ():
        return None
    names = ", ".join(dict.fromkeys(short_name(gpu) for gpu in usable))
    forced = case.request.engine is not None or case.request.image is not None
    other = f"; {case.candidate.engine.engine} was asked for, and runs on the processor" if forced else ""
    return f"no GPU is used ({names}){other}: {_why_unused(case, usable)}"


def _why_unused(case: Case, usable: Sequence[Gpu]) -> str:
    """What can be repaired comes first; then that it was weighed and lost; then what keeps it away for good.

    Of the chosen engine first: what keeps another engine away is no reason where the GPU was weighed with this one, or
    would hold too little of it.
    """
    engine = case.candidate.engine
    if (why := _first_refused(case, _REPAIRABLE, engine.engine)) is not None:
        return why + _risky(case, engine.engine)
    if any(item.option.candidate.devices for item in case.considered.ranked):
        asked = ",".join(str(gpu.index) for gpu in usable)
        shares = "it reads the same memory, and " if all(gpu.unified_memory for gpu in usable) else ""
        return f"{shares}the processor is expected to do better; --gpus {asked} uses it"
    if (why := _too_small(case) or _no_kernel(case) or _kept_out(case)) is not None:
        return why
    instead = "" if engine.memory == "llama.cpp" and not engine.one_file else "; use llama.cpp"
    where = case.host.cpu.architecture
    on = f" on {where}" if where not in ("x86_64", "amd64", None) else ""
    if (why := _first_refused(case, _FOR_GOOD, engine.engine)) is not None:
        return (_first_refused(case, _REPAIRABLE) or why) + _risky(case, engine.engine)
    why = _first_refused(case, _REPAIRABLE)
    return why or _first_refused(case, _FOR_GOOD) or f"{engine.engine} has no image for it{on}{instead}"


def _too_small(case: Case) -> str | None:
    """What of the chosen engine nearly fits on the GPUs."""
    engine = case.candidate.engine.engine
    near = [item for item in case.considered.near if item.candidate.engine.engine == engine and item.candidate.devices]
    if not near:
        return None
    least = min(near, key=lambda item: item.shortage.missing_mib)
    return f"{least.candidate.image.id} on {describe(least.candidate.devices)}: {least.reason}"


def _no_kernel(case: Case) -> str | None:
    """The chosen engine runs this form of the model on the processor, and not on this GPU."""
    engine, form = case.candidate.engine.engine, case.candidate.variant.quantization
    found = (item for item in case.considered.rejected if (item.engine, item.quantization) == (engine, form))
    first = next((item for item in found if item.rule == "quantization-support"), None)
    return f"{first.image}: {first.reason}" if first is not None else None


def _kept_out(case: Case) -> str | None:
    """No container engine can start the images for GPUs of the chosen engine, or something else was asked for."""
    engine = case.candidate.engine
    images = {image.id for image in engine.images if image.accelerator != "cpu"}
    found = (item for item in case.considered.rejected if item.engine == engine.engine and item.image in images)
    first = next((item for item in found if item.rule in ("runtime", "forced")), None)
    return f"{first.image}: {first.reason}" if first is not None else None


def _first_refused(case: Case, rules: tuple[str, ...], engine: str | None = None) -> str | None:
    found = (item for item in case.considered.rejected if item.rule in rules)
    first = next((item for item in found if engine in (None, item.engine)), None)
    return f"{first.image}: {first.reason}" if first is not None else None


_REPAIRABLE = ("container-gpu-injection", "driver", "ptx-driver", "last-driver", "vgpu")
_FOR_GOOD = ("compute-capability", "gfx", "jetson", "memory")


def odd_card(case: Case) -> str | None:
    """GPUs that the chosen image cannot use, and why."""
    if not case.candidate.devices:
        return None
    said: dict[str, list[Gpu]] = {}
    for device in case.considered.devices:
        alone = msgspec.structs.replace(case.candidate, devices=(device,))
        refused = first_refusal(DEVICE_RULES, alone, case.host, case.model, case.request)
        if refused is not None:
            said.setdefault(refused[1], []).append(device.gpu)
    left = (f"{labels(gpus)} {'is' if len(gpus) == 1 else 'are'} left out: {why}" for why, gpus in said.items())
    return "; ".join(left) or None


def held_back(case: Case) -> str | None:
    """A Kepler card keeps the whole box at its own last driver, which newer cards have outgrown."""
    driver = driver_of(case.host)
    branches = [(gpu, last_driver(gpu, None)) for gpu in case.host.gpus if gpu.vendor == "nvidia"]
    oldest = min(
        ((gpu, branch) for gpu, branch in branches if branch is not None),
        key=lambda pair: numbers(pair[1]),
        default=None,
    )
    if oldest is None or driver is None or newer_branch(driver, oldest[1]):
        return None
    newer = [gpu for gpu, branch in branches if branch is None or newer_branch(branch, oldest[1])]
    if not newer:
        return None
    return (
        f"{label(oldest[0])} holds the driver of the whole host at {oldest[1]} at most; without it, "
        f"{', '.join(dict.fromkeys(short_name(gpu) for gpu in newer))} could have a newer one"
    )


def unused_gpus(case: Case) -> str | None:
    """Like GPUs that stay free because their number does not divide the attention heads."""
    free = idle(case.candidate, case.considered)
    ways = splits(case.candidate.engine)
    if not free or case.request.gpus is not None or "tensor" not in ways:
        return None
    used = len(case.candidate.devices)
    if len(free) >= used:
        return None
    names = ", ".join(label(device.gpu) for device in free)
    heads, every = case.model.architecture.heads, sorted(item.gpu.index for item in (*case.candidate.devices, *free))
    asked = ",".join(str(index) for index in every)
    pipeline = f"; --gpus {asked} has them in a pipeline, which is slower for one user" if "pipeline" in ways else ""
    return (
        f"{names} not used: {used + len(free)} GPUs do not divide the {heads} attention heads of {case.model.name}"
        f"{pipeline}"
    )


def last_branch(case: Case) -> str | None:
    """A chosen GPU is at the end of its driver support; that of a Jetson is part of its JetPack."""
    if case.candidate.on_cpu:
        return None
    for device in case.candidate.devices:
        branch = last_driver(device.gpu, device.known)
        if branch is not None and not is_tegra(device.gpu, case.host):
            kind = f" ({device.gpu.architecture.title()})" if device.gpu.architecture else ""
            stay = f"stay on {branch}, " if numbers(driver_of(case.host) or branch)[:1] == numbers(branch) else ""
            return (
                f"{short_name(device.gpu)}{kind}: NVIDIA driver {branch} is the last branch that supports it; "
                f"{stay}do not go to {int(branch) + 10}"
            )
    return None


def older_driver(case: Case) -> str | None:
    """A newer driver would spare a build, or the detour over Vulkan."""
    image, engine = case.candidate.image, case.candidate.engine.engine
    detour = image.dockerfile is not None or image.accelerator == "vulkan"
    if not detour or not any(device.gpu.vendor == "nvidia" for device in case.candidate.devices):
        return None
    others = (item for item in case.considered.rejected if item.engine == engine and item.image != image.id)
    first = next((item for item in others if item.rule in ("driver", "ptx-driver")), None)
    if first is None:
        return None
    instead = "has to be built here" if image.dockerfile is not None else "is slower than CUDA"
    return f"{image.id} {instead}; a ready image wants a newer driver: {first.image}: {first.reason}"


def newer_driver(case: Case) -> str | None:
    """Only the driver keeps an engine away that is made for as many users as this."""
    users, devices = case.request.users, case.candidate.devices
    if case.candidate.engine.memory != "llama.cpp" or users < MANY_USERS or case.request.engine is not None:
        return None
    if any(item.gpu.vendor != "nvidia" or last_driver(item.gpu, item.known) is not None for item in devices):
        return None
    held = {item.engine: item for item in reversed(case.considered.rejected) if item.rule == "driver"}
    found = next((held[name] for name in ("vllm", "sglang") if name in held), None)
    if found is None or not devices or all(variant.format == "gguf" for variant in case.model.variants):
        return None
    return (
        f"with a newer driver {found.engine} could be weighed too, which is made for {users} users and more: "
        f"{found.image}: {found.reason}{_risky(case, found.engine)}"
    )


def _risky(case: Case, engine: str) -> str:
    """An older image of the engine would do with this driver, but for its known vulnerabilities."""
    held = next((item for item in case.considered.rejected if (item.engine, item.rule) == (engine, "security")), None)
    if held is None:
        return ""
    return f", or {engine} {held.image}, which would run here but has known vulnerabilities (--explain names them)"


def virtual_gpu(case: Case) -> str | None:
    """A virtual GPU follows the machine below it, and needs a licence (NVIDIA Virtual GPU Software User Guide)."""
    ours = next((device.gpu for device in case.candidate.devices if vgpu_kind(device.gpu)), None)
    if ours is None:
        return None
    return (
        f"{short_name(ours)} is a virtual GPU: its driver has to suit the vGPU manager of the machine below, so who "
        "runs that updates both; without a licence it is slowed down"
    )


def disk_short(case: Case) -> str | None:
    """Better forms of the model that the disk has no room for."""
    engine = case.candidate.engine.engine
    lost = [item for item in case.considered.rejected if item.rule == DISK_RULE and item.engine == engine]
    if not lost:
        return None
    more = f" ({', '.join(str(item.quantization) for item in lost[1:])} neither)" if lost[1:] else ""
    return f"the disk has no room for a larger form of the model: {lost[0].reason}{more}"


def slow_processor(case: Case) -> str | None:
    """The processor runs the image, but without what makes it fast."""
    image, own = case.candidate.image, case.host.cpu.flags
    lacking = [flag for flag in image.cpu_flags_recommended if own is not None and flag not in own]
    if not lacking or not case.candidate.on_cpu:
        return None
    return f"the processor has no {', '.join(lacking)}: {image.id} runs, but slowly or without some features"


def driver_unknown(case: Case) -> str | None:
    """A CUDA image, and no driver version to compare with."""
    if case.candidate.image.accelerator != "cuda" or driver_of(case.host):
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
    unknown = [item for item in case.option.sizing.memory.devices if item.available_mib is None]
    if weights := unmeasured(case.option):
        names = describe(case.candidate.devices) if case.candidate.devices else "this host"
        need, form = max(item.total_mib + item.margin_mib for item in weights), case.candidate.variant.quantization
        each = " each" if len(weights) > 1 else ""
        return (
            f"free memory of {names} is unknown: whether {form}, which needs {need} MiB{each}, fits was not checked; a "
            "small form that is still good is preferred"
        )
    if unknown:
        need = unknown[0].total_mib
        return f"free main memory is unknown: whether the {need} MiB that the server itself needs fit was not checked"
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
