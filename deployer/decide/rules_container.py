"""Rules about handing a GPU to a container, with the exact repair for the engine that is there.

Docker needs the hook of NVIDIA's toolkit or a CDI specification, podman the specification, rootless engines their own
configuration file and no cgroup rules (NVIDIA Container Toolkit, install guide; moby daemon/devices_nvidia_linux.go).
"""

from deployer.decide.candidates import Candidate
from deployer.decide.host import is_tegra, short_name
from deployer.decide.rules_vulkan import NO_GRAPHICS
from deployer.types import ContainerFacts, HostFacts, ModelSpec, Request

_INSTALL = "install the package nvidia-container-toolkit, then: "
_CDI = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


def container_gpu_injection(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The container engine cannot hand an NVIDIA GPU to a container."""
    container = host.container
    if candidate.on_cpu or candidate.runtime != "compose" or container is None:
        return None
    if not any(device.gpu.vendor == "nvidia" for device in candidate.devices):
        return None
    if any(is_tegra(device.gpu, host) for device in candidate.devices):
        return _tegra_injection(container)
    if can_inject(container) is not False:
        return None
    name = (container.engine or "the container engine").capitalize()
    lacks = "no CDI device" if container.engine == "podman" else "no nvidia runtime and no CDI device"
    install = "" if container.nvidia_toolkit is not None else _INSTALL
    windows = " (in WSL never install an NVIDIA driver: it is that of Windows)" if host.os.wsl else ""
    return f"{name} cannot hand NVIDIA GPUs to containers: {lacks}{windows}; {install}{repair_injection(container)}"


def _tegra_injection(container: ContainerFacts) -> str | None:
    """A Jetson's GPU has no UUID and no `--gpus`: the runtime mounts what the files of JetPack list."""
    told, has = container.nvidia_injection, container.nvidia_runtime
    if ("runtime" in told) if told is not None else has is not False:
        return None
    name = (container.engine or "the container engine").capitalize()
    install = "" if container.nvidia_toolkit is not None else _INSTALL
    return (
        f"{name} has no runtime nvidia, which alone hands a Jetson's GPU to containers; {install}"
        f"{repair_injection(container)}"
    )


def can_inject(container: ContainerFacts) -> bool | None:
    """Whether NVIDIA GPUs can be handed to containers; None where that was not told."""
    if container.nvidia_injection is not None:
        return bool(container.nvidia_injection)
    if any("nvidia.com/gpu" in name for name in container.cdi or ()):
        return True
    if container.engine == "podman":
        return False if container.cdi is not None else None
    if container.nvidia_runtime is not False:
        return container.nvidia_runtime
    return container.nvidia_toolkit is not None


def repair_injection(container: ContainerFacts) -> str:
    """The command that lets this container engine hand out NVIDIA GPUs."""
    if container.engine == "podman":
        return (
            "mkdir -p $HOME/.config/cdi && nvidia-ctk cdi generate --output=$HOME/.config/cdi/nvidia.yaml"
            if container.rootless
            else _CDI
        )
    if container.rootless:
        return (
            "nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/daemon.json && "
            "sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place && systemctl --user restart docker"
        )
    return "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"


def device_files(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """AMD and Intel GPUs come as files of /dev, which have to be there and open for whoever the container runs as.

    A rootless engine gives a container the rights of its user and no group of the host (rootlesscontaine.rs).
    """
    others = [device.gpu for device in candidate.devices if device.gpu.vendor in ("amd", "intel")]
    if candidate.image.accelerator not in ("rocm", "vulkan", "sycl") or candidate.runtime != "compose" or not others:
        return None
    if host.os.wsl:
        return (
            f"WSL has no /dev/dri, by which a container reaches {short_name(others[0])}; use native Linux, or the CPU"
        )
    shut = next((gpu for gpu in others if gpu.access is not None), None)
    if shut is None or host.container is None or not host.container.rootless:
        return None
    return (
        f"a rootless container can open only what its user can: {(shut.access or '').rstrip('.')}; then start the "
        "container engine again"
    )


def amd_device_files(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """ROCm needs /dev/kfd, which Windows' Linux does not have (vllm-project/vllm#10653)."""
    if candidate.image.accelerator != "rocm":
        return None
    if host.amd is not None and host.amd.error is not None:
        vulkan = all(device.gpu.gfx not in NO_GRAPHICS for device in candidate.devices)
        way_out = "; a Vulkan image may (llama.cpp server-vulkan)" if vulkan else ""
        return f"ROCm cannot work here: {host.amd.error.rstrip('.')}{way_out}"
    if not host.os.wsl:
        return None
    names = ", ".join(dict.fromkeys(short_name(device.gpu) for device in candidate.devices))
    return f"WSL has no /dev/kfd, without which ROCm cannot use {names or 'a GPU'}; use Linux itself, or the CPU"
