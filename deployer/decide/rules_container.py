"""Rules about handing a GPU to a container, with the exact repair for the engine that is there.

Docker needs the hook of NVIDIA's toolkit or a CDI specification, podman the specification, rootless engines their own
configuration file and no cgroup rules (NVIDIA Container Toolkit, install guide; moby daemon/devices_nvidia_linux.go).
"""

from deployer.decide.candidates import Candidate
from deployer.decide.host import short_name
from deployer.types import ContainerFacts, HostFacts, ModelSpec, Request

_INSTALL = "install the package nvidia-container-toolkit, then: "
_CDI = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


def container_gpu_injection(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The container engine cannot hand an NVIDIA GPU to a container."""
    container = host.container
    if candidate.on_cpu or candidate.runtime != "compose" or container is None:
        return None
    if not any(device.gpu.vendor == "nvidia" for device in candidate.devices) or can_inject(container) is not False:
        return None
    name = (container.engine or "the container engine").capitalize()
    lacks = "no CDI device" if container.engine == "podman" else "no nvidia runtime and no CDI device"
    install = "" if container.nvidia_toolkit is not None else _INSTALL
    windows = " (in WSL never install an NVIDIA driver: it is that of Windows)" if host.os.wsl else ""
    return f"{name} cannot hand NVIDIA GPUs to containers: {lacks}{windows}; {install}{repair_injection(container)}"


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


def amd_device_files(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """ROCm needs /dev/kfd, which Windows' Linux does not have (vllm-project/vllm#10653)."""
    if candidate.image.accelerator != "rocm":
        return None
    if host.amd is not None and host.amd.error is not None:
        return f"ROCm cannot work here: {host.amd.error.rstrip('.')}; a Vulkan image may (llama.cpp server-vulkan)"
    if not host.os.wsl:
        return None
    names = ", ".join(dict.fromkeys(short_name(device.gpu) for device in candidate.devices))
    return f"WSL has no /dev/kfd, without which ROCm cannot use {names or 'a GPU'}; use Linux itself, or the CPU"
