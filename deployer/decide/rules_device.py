# ruff: noqa: ARG001 - every rule has the same four parameters
"""Rules about GPUs: vendor, compiled code, driver, and whether a container can have them."""

from deployer.decide.candidates import Candidate, Device
from deployer.decide.capability import Code, code_for, driver_floor
from deployer.decide.capability import last_driver as last_branch
from deployer.decide.host import short_name
from deployer.decide.version import at_least, capability, newer_branch, numbers
from deployer.types import Accelerator, ContainerFacts, Gpu, HostFacts, ImageProfile, ModelSpec, Request

VENDORS: dict[Accelerator, tuple[str, ...]] = {
    "cuda": ("nvidia",),
    "rocm": ("amd",),
    "sycl": ("intel",),
    "vulkan": ("nvidia", "amd", "intel"),
    "cpu": (),
}

_MAKERS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}
_CONFIGURE = "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
_CDI = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


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
        return f"GPUs of several makers ({describe_vendors(vendors)}) cannot serve one model; choose with --gpus"
    return None


def describe_vendors(vendors: set[str | None]) -> str:
    """Makers by name, in a stable order."""
    return ", ".join(sorted(_MAKERS.get(name or "", "unknown") for name in vendors))


def last_driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The driver is newer than the last branch that supports the GPU."""
    if candidate.on_cpu or host.nvidia is None or host.nvidia.driver is None:
        return None
    for device in candidate.devices:
        branch = last_branch(device.gpu, device.known)
        if branch is not None and newer_branch(host.nvidia.driver, branch):
            return (
                f"{_named(device)} is supported by NVIDIA drivers up to {branch} only, and this host has "
                f"{host.nvidia.driver}; go back to driver {branch}"
            )
    return None


def compute_capability(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image has no compiled code for a GPU."""
    if candidate.image.accelerator != "cuda":
        return None
    own = sorted({device.gpu.compute_capability for device in candidate.devices if device.gpu.compute_capability})
    if candidate.image.dockerfile is not None and len(own) > 1:
        return f"{candidate.image.id} is compiled for one capability, and these GPUs have {' and '.join(own)}"
    for device in candidate.devices:
        if device.gpu.compute_capability is None:
            if candidate.image.dockerfile is not None:
                name = short_name(device.gpu)
                return f"the capability of {name} is unknown, and {candidate.image.id} is compiled for it"
        elif code_for(candidate.image, device.gpu) is None:
            return (
                f"{short_name(device.gpu)} is compute capability {device.gpu.compute_capability}; this image has "
                f"{_what_it_has(candidate.image, device.gpu)}; {way_out(candidate, device, host)}"
            )
    return None


def ptx_driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The GPU would run PTX, which only the toolkit's own driver or a newer one can compile."""
    return _driver_below(candidate, host, "ptx")


def driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The driver is older than the compiled code needs, or does not answer."""
    if candidate.image.accelerator == "cuda" and host.nvidia is not None and host.nvidia.error is not None:
        return (
            f"the NVIDIA driver does not answer: {host.nvidia.error}; repair it first (nvidia-smi shows the same error)"
        )
    return _driver_below(candidate, host, "sass")


def gfx(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image has no code for an AMD GPU."""
    image = candidate.image
    if image.accelerator != "rocm":
        return None
    for device in candidate.devices:
        if device.gpu.gfx is not None and device.gpu.gfx not in image.gfx:
            other = next((item.id for item in candidate.engine.images if item.accelerator == "vulkan"), None)
            use = f"use {other}" if other else "use the CPU"
            return (
                f"{short_name(device.gpu)} is {device.gpu.gfx}; this image has code for {', '.join(image.gfx)}; {use}"
            )
    return None


def container_gpu_injection(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Docker cannot hand an NVIDIA GPU to a container."""
    container = host.container
    if candidate.on_cpu or candidate.runtime != "compose" or container is None or container.nvidia_runtime is not False:
        return None
    if not any(device.gpu.vendor == "nvidia" for device in candidate.devices):
        return None
    if container.nvidia_toolkit is not None or any("nvidia.com/gpu" in name for name in container.cdi or ()):
        return None
    name = (container.engine or "the container engine").capitalize()
    return (
        f"{name} cannot hand NVIDIA GPUs to containers: no nvidia runtime and no CDI device; install the package "
        f"nvidia-container-toolkit, then: {repair_injection(container)}"
    )


def repair_injection(container: ContainerFacts) -> str:
    """The command that lets this container engine hand out NVIDIA GPUs."""
    if container.engine == "podman":
        return _CDI
    if container.rootless:
        return (
            "nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/daemon.json && "
            "systemctl --user restart docker"
        )
    return _CONFIGURE


def way_out(candidate: Candidate, device: Device, host: HostFacts) -> str:
    """What to do for this GPU instead: another CUDA image that has code for it, with the drivers that suit."""
    now = host.nvidia.driver if host.nvidia else None
    last = last_branch(device.gpu, device.known)
    found: list[str] = []
    for image in candidate.engine.images:
        if image is candidate.image or image.accelerator != "cuda" or device.gpu.compute_capability is None:
            continue
        code = code_for(image, device.gpu)
        floor = driver_floor(image, code) if code else None
        if code is None or (floor and last and numbers(floor)[:1] > numbers(last)[:1]):
            continue
        if floor is None or (now is not None and at_least(now, floor)):
            return f"use {image.id}" + (f", which runs with this host's driver {now}" if now else "")
        found.append(f"use {image.id} with driver {_range(floor, last)}")
    if found:
        return found[0]
    other = next((item.id for item in candidate.engine.images if item.accelerator in ("vulkan", "cpu")), None)
    return f"use {other}" if other else "no image of this engine has code for it"


def _driver_below(candidate: Candidate, host: HostFacts, kind: Code) -> str | None:
    image, now = candidate.image, host.nvidia.driver if host.nvidia else None
    if image.accelerator != "cuda" or now is None:
        return None
    for device in candidate.devices:
        if device.gpu.compute_capability is None or code_for(image, device.gpu) != kind:
            continue
        floor = driver_floor(image, kind)
        if floor is not None and not at_least(now, floor):
            return _too_old(candidate, device, host, kind=kind, floor=floor)
    return None


def _too_old(candidate: Candidate, device: Device, host: HostFacts, *, kind: Code, floor: str) -> str:
    last = last_branch(device.gpu, device.known)
    now = host.nvidia.driver if host.nvidia else None
    only = "only as PTX, which the driver compiles; that" if kind == "ptx" else "and it"
    if last is not None and numbers(floor)[:1] > numbers(last)[:1]:
        update = f"no driver for it is that new ({last} is its last)"
    else:
        update = f"update the driver to {_range(floor, last)}"
    return (
        f"{_named(device)} has code in this image {only} needs driver {floor} or newer, and this host has {now}; "
        f"{update}, or {way_out(candidate, device, host)}"
    )


def _range(floor: str, last: str | None) -> str:
    if last is None:
        return f"{floor} or newer"
    return last if numbers(floor)[:1] == numbers(last)[:1] else f"{floor} to {last}"


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
