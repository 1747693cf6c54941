"""Rules about GPUs: vendor, compiled code, driver and its last branch."""

from deployer.decide.candidates import Candidate, Device
from deployer.decide.capability import Code, code_for, driver_floor, driver_of, driver_range
from deployer.decide.capability import last_driver as last_branch
from deployer.decide.host import short_name, vgpu_kind
from deployer.decide.rules_image import has_holes
from deployer.decide.rules_vulkan import NO_GRAPHICS, VULKAN_LEAST, with_code
from deployer.decide.version import at_least, capability, newer_branch, numbers
from deployer.types import Accelerator, Gpu, HostFacts, ImageProfile, ModelSpec, Request

VENDORS: dict[Accelerator, tuple[str, ...]] = {
    "cuda": ("nvidia",),
    "rocm": ("amd",),
    "sycl": ("intel",),
    "vulkan": ("nvidia", "amd", "intel"),
    "cpu": (),
}

_MAKERS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}


def forced_devices(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """`--gpus none` keeps GPU images away, `--gpus 0,1` the CPU."""
    if request.gpus is None:
        return None
    if not request.gpus and not candidate.on_cpu:
        return f"--gpus none was asked for; {candidate.image.id} needs a GPU"
    if request.gpus and candidate.on_cpu:
        asked = ",".join(str(index) for index in request.gpus)
        return f"--gpus {asked} was asked for; {candidate.image.id} uses the CPU only"
    return None


def vendor(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image is for another maker's GPUs, or there is no GPU."""
    image = candidate.image
    if candidate.on_cpu:
        return None
    makers = " or ".join(_MAKERS[name] for name in VENDORS[image.accelerator])
    if not candidate.devices:
        return f"{image.id} needs an {makers} GPU; {_no_gpu(host, VENDORS[image.accelerator])}"
    vendors = {device.gpu.vendor for device in candidate.devices}
    wrong = next((device.gpu for device in candidate.devices if _foreign(device.gpu, image)), None)
    if wrong is not None:
        maker = _MAKERS.get(wrong.vendor or "", wrong.vendor)
        return f"{image.id} needs an {makers} GPU; {short_name(wrong)} is from {maker}"
    if len(vendors) > 1:
        return f"GPUs of several makers ({describe_vendors(vendors)}) are not joined in one server; choose with --gpus"
    return None


def describe_vendors(vendors: set[str | None]) -> str:
    """Makers by name, in a stable order."""
    return ", ".join(sorted(_MAKERS.get(name or "", "unknown") for name in vendors))


def last_driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The driver is newer than the last branch that supports the GPU."""
    now = driver_of(host)
    if candidate.on_cpu or now is None:
        return None
    for device in candidate.devices:
        branch = last_branch(device.gpu, device.known)
        if branch is not None and newer_branch(now, branch):
            return (
                f"{_named(device)} is supported by NVIDIA drivers up to {branch} only, and this host has "
                f"{now}; go back to driver {branch}"
            )
    return None


def compute_capability(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image has no compiled code for a GPU."""
    image = candidate.image
    if image.accelerator != "cuda":
        return None
    known = [device for device in candidate.devices if device.gpu.compute_capability is not None]
    if image.dockerfile is not None and len(known) < len(candidate.devices):
        unknown = next(device.gpu for device in candidate.devices if device.gpu.compute_capability is None)
        return f"the capability of {short_name(unknown)} is unknown, and {image.id} is compiled for it"
    without = [device for device in known if code_for(image, device.gpu) is None]
    if not without:
        return None
    named = dict.fromkeys(
        f"{short_name(device.gpu)} is compute capability {device.gpu.compute_capability}" for device in without
    )
    first = min(without, key=lambda device: capability(device.gpu.compute_capability or ""))
    return (
        f"{', '.join(named)}; this image has {_what_it_has(image, first.gpu)}; {way_out(candidate, first, host, model)}"
    )


def vgpu_profile(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """A virtual GPU for desktops or single programs (profiles B and A) has no CUDA.

    Source: NVIDIA Virtual GPU Software User Guide, "CUDA and OpenCL": on Q and C profiles only.
    """
    if candidate.image.accelerator != "cuda":
        return None
    for device in candidate.devices:
        if (kind := vgpu_kind(device.gpu)) in ("A", "B"):
            return (
                f"{short_name(device.gpu)} is a virtual GPU with a profile of kind {kind}, which has no CUDA; give "
                "this machine a profile of kind C or Q, or use the CPU"
            )
    return None


def broken_driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """A GPU that a reboot brings back is not silently replaced by the processor."""
    error = host.nvidia.error if host.nvidia is not None else None
    if not candidate.on_cpu or error is None or request.gpus is not None or "reboot" not in error.casefold():
        return None
    return f"the NVIDIA driver does not answer: {error}; repair it, or ask for the CPU with --gpus none"


def ptx_driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The GPU would run PTX, which only the toolkit's own driver or a newer one can compile."""
    return _driver_below(candidate, host, model, "ptx")


def driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The driver is older than the compiled code needs, or does not answer."""
    needed = any(device.gpu.vendor == "nvidia" for device in candidate.devices)
    if candidate.image.accelerator in ("cuda", "vulkan") and needed and host.nvidia and host.nvidia.error is not None:
        return (
            f"the NVIDIA driver does not answer: {host.nvidia.error}; repair it first (nvidia-smi shows the same error)"
        )
    return _driver_below(candidate, host, model, "sass")


def gfx(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image has no code for an AMD GPU."""
    image = candidate.image
    if image.accelerator != "rocm":
        return None
    for device in candidate.devices:
        if device.gpu.gfx is not None and device.gpu.gfx not in image.gfx:
            has, use = ", ".join(image.gfx), _instead(candidate, device.gpu)
            return f"{short_name(device.gpu)} is {device.gpu.gfx}; this image is for {has}; use {use}"
    return None


def _instead(candidate: Candidate, gpu: Gpu) -> str:
    """What serves this AMD target: another image of the engine, else Vulkan where the chip has it, else who may."""
    if (own := with_code(candidate, gpu)) is not None:
        return own
    if gpu.gfx in NO_GRAPHICS:
        return "another engine" if "gguf" in candidate.engine.formats else "llama.cpp"
    return next((item.id for item in candidate.engine.images if item.accelerator == "vulkan"), "llama.cpp")


def way_out(candidate: Candidate, device: Device, host: HostFacts, model: ModelSpec) -> str:
    """What to do for this GPU instead: another CUDA image that has code for it, with the drivers that suit."""
    now = driver_of(host)
    last = last_branch(device.gpu, device.known)
    found: list[str] = []
    for image in candidate.engine.images:
        if image is candidate.image or image.accelerator != "cuda" or device.gpu.compute_capability is None:
            continue
        if image.jetpack is not None or has_holes(candidate.advisories, image.version):
            continue
        code = code_for(image, device.gpu)
        floor = driver_floor(image, code) if code else None
        if code is None or (floor and last and numbers(floor)[:1] > numbers(last)[:1]):
            continue
        if floor is None or (now is not None and at_least(now, floor)):
            return f"use {image.id}" + (f", which runs with this host's driver {now}" if now else "")
        found.append(f"use {image.id} with driver {driver_range(floor, last)}")
    if found:
        return found[0]
    if "gguf" not in candidate.engine.formats:
        no_form = all(variant.format != "gguf" for variant in model.variants)
        return "use a GGUF file of the model with llama.cpp" if no_form else "use llama.cpp"
    too_old = capability(device.gpu.compute_capability or "99") < VULKAN_LEAST
    others = ("cpu",) if too_old else ("vulkan", "cpu")
    other = next((item.id for item in candidate.engine.images if item.accelerator in others), None)
    return f"use {other}" if other else "no image of this engine has code for it"


def unknown_capability(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Whether the image has machine code for an unknown GPU cannot be told, so its PTX has to do."""
    image, now = candidate.image, driver_of(host)
    unknown = [device for device in candidate.devices if device.gpu.compute_capability is None]
    if image.accelerator != "cuda" or not image.ptx or not unknown or now is None:
        return None
    floor = driver_floor(image, "ptx")
    if floor is None or at_least(now, floor):
        return None
    return (
        f"the capability of {short_name(unknown[0].gpu)} is unknown: this image may have PTX only for it, which needs "
        f"driver {floor} or newer, and this host has {now}; update the driver, or say which GPU it is (deployer probe)"
    )


def _driver_below(candidate: Candidate, host: HostFacts, model: ModelSpec, kind: Code) -> str | None:
    """Every GPU needs the floor of machine code; of a GPU whose capability is unknown, no more is asked here."""
    image, now = candidate.image, driver_of(host)
    if image.accelerator != "cuda" or now is None:
        return None
    for device in candidate.devices:
        known = device.gpu.compute_capability is not None
        code = code_for(image, device.gpu) if known else "sass"
        floor = driver_floor(image, kind)
        if code == kind and floor is not None and not at_least(now, floor):
            return _too_old(candidate, device, host, model, kind=kind, floor=floor)
    return None


def _too_old(candidate: Candidate, device: Device, host: HostFacts, model: ModelSpec, *, kind: Code, floor: str) -> str:
    last = last_branch(device.gpu, device.known)
    now = driver_of(host)
    code = (
        f"this image has code for {_named(device)} only as PTX, which the driver compiles; that"
        if kind == "ptx"
        else f"the machine code for {_named(device)} in this image"
    )
    if last is not None and numbers(floor)[:1] > numbers(last)[:1]:
        update = f"no driver for it is that new ({last} is its last)"
    else:
        update = f"update the driver to {driver_range(floor, last)}"
    return (
        f"{code} needs driver {floor} or newer, and this host has {now}; "
        f"{update}{holds_back(host, device, floor)}, or {way_out(candidate, device, host, model)}"
    )


def holds_back(host: HostFacts, device: Device, floor: str) -> str:
    """In words, which older GPU of the host forbids a driver this new: one Kepler card keeps a whole box at 470."""
    own = last_branch(device.gpu, device.known)
    for gpu in host.gpus:
        branch = last_branch(gpu, None)
        if branch is not None and branch != own and numbers(branch)[:1] < numbers(floor)[:1]:
            return f" (first take out GPU {gpu.index}, {short_name(gpu)}, whose last driver is {branch})"
    return ""


def _named(device: Device) -> str:
    own = device.gpu.compute_capability
    return short_name(device.gpu) + (f" (compute capability {own})" if own else "")


def _what_it_has(image: ImageProfile, gpu: Gpu) -> str:
    known = sorted({capability(item) for item in (*image.sass, *image.ptx)})
    if not known:
        return "no code for any GPU"
    own = capability(gpu.compute_capability or "")
    if own < known[0]:
        return f"no code below {known[0][0]}.{known[0][1]}"
    return "code for " + ", ".join(f"{major}.{minor}" for major, minor in known) + " only"


def _foreign(gpu: Gpu, image: ImageProfile) -> bool:
    return gpu.vendor is not None and gpu.vendor not in VENDORS[image.accelerator]


def _no_gpu(host: HostFacts, vendors: tuple[str, ...]) -> str:
    if "nvidia" in vendors and host.nvidia is not None and host.nvidia.error is not None:
        return f"the NVIDIA driver does not answer: {host.nvidia.error}"
    broken = [gpu for gpu in host.gpus if gpu.error and gpu.vendor in (*vendors, None)]
    if broken:
        return f"GPU {broken[0].index} ({short_name(broken[0])}) reports an error: {broken[0].error}"
    return "this host has none that can be used" if host.gpus else "this host has no GPU"
