"""Rules about Vulkan, the way for GPUs that no image of their maker's own library serves."""

from deployer.decide.candidates import Candidate
from deployer.decide.capability import driver_of, driver_range
from deployer.decide.capability import last_driver as last_branch
from deployer.decide.host import short_name
from deployer.decide.version import at_least, capability
from deployer.types import Gpu, HostFacts, ModelSpec, Request


def vulkan_capability(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """An NVIDIA GPU before Maxwell, for which no driver with all that Vulkan code needs is known to work."""
    if candidate.image.accelerator != "vulkan":
        return None
    for device in candidate.devices:
        own, last = device.gpu.compute_capability, last_branch(device.gpu, device.known)
        if device.gpu.vendor == "nvidia" and own is not None and capability(own) < VULKAN_LEAST:
            until = f" (its last driver is {last})" if last else ""
            return (
                f"{short_name(device.gpu)} is compute capability {own}{until}; Vulkan is used from 5.0 (Maxwell) on; "
                "use the CPU"
            )
    return None


VULKAN_LEAST = (5, 0)
"""Maxwell."""


def vulkan_gfx(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """An AMD chip without graphics: Mesa's driver is for GPUs "capable of graphics" (docs.mesa3d.org/drivers/radv)."""
    if candidate.image.accelerator != "vulkan":
        return None
    for device in candidate.devices:
        if device.gpu.gfx in NO_GRAPHICS:
            return (
                f"{short_name(device.gpu)} is {device.gpu.gfx}, which has no graphics, and AMD GPUs without have no "
                f"Vulkan; use {with_code(candidate, device.gpu) or 'another engine'}"
            )
    return None


NO_GRAPHICS = ("gfx908", "gfx90a", "gfx940", "gfx941", "gfx942", "gfx950")
"""AMD Instinct from MI100 to MI355X (CDNA)."""


def with_code(candidate: Candidate, gpu: Gpu) -> str | None:
    """The first image of the engine that was compiled for this AMD target."""
    return next((item.id for item in candidate.engine.images if gpu.gfx in item.gfx), None)


def vulkan_driver(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """NVIDIA's driver is too old for Vulkan 1.2, which llama.cpp needs ("ggml_vulkan: Error: Vulkan 1.2 required.")."""
    now = driver_of(host)
    ours = [device for device in candidate.devices if device.gpu.vendor == "nvidia"]
    if candidate.image.accelerator != "vulkan" or now is None or not ours or at_least(now, VULKAN_DRIVER):
        return None
    last = last_branch(ours[0].gpu, ours[0].known)
    return (
        f"{candidate.image.id} needs Vulkan 1.2, which NVIDIA drivers have from {VULKAN_DRIVER} on, and this host has "
        f"{now}; update the driver to {driver_range(VULKAN_DRIVER, last)}, or use the CPU"
    )


VULKAN_DRIVER = "450"
"""The first production branch with Vulkan 1.2 (NVIDIA's release notes of R450)."""
