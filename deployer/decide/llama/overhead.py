"""Memory that is in no buffer of the log: contexts and kernels of a GPU, and the server itself."""

from deployer.types import Accelerator, Architecture

MIB = 1024 * 1024

GPU_OVERHEAD_MIB: dict[Accelerator, int] = {"cuda": 300, "rocm": 460, "vulkan": 150, "sycl": 300}
"""Context and kernels of one process on one GPU. CUDA: 252 to 255 MiB seen on RTX 3080, 164 on RTX 4060 Ti; Vulkan: 71
to 239 seen; ROCm: Ollama's floor for a GPU (ml/device.go)."""

VULKAN_MOE_MIB = 2048
"""Grown at run time by a mixture of experts under Vulkan: 1901 MiB seen with gemma4-26B."""

HOST_OVERHEAD_MIB = 60
HOST_GPU_OVERHEAD_MIB = 400
"""The server process itself, and the GPU library's share of main memory (an allowance, not measured)."""


def gpu_overhead(accelerator: Accelerator, architecture: Architecture, reserve_mib: int = 0) -> int:
    """Bytes of one GPU that no buffer accounts for; `reserve_mib`: as many as an engine counts itself, at least."""
    extra = VULKAN_MOE_MIB if accelerator == "vulkan" and architecture.experts else 0
    return (max(GPU_OVERHEAD_MIB.get(accelerator, 0), reserve_mib) + extra) * MIB


def host_overhead(accelerator: Accelerator) -> int:
    """Bytes of main memory that no buffer accounts for."""
    return (HOST_OVERHEAD_MIB + (HOST_GPU_OVERHEAD_MIB if accelerator != "cpu" else 0)) * MIB
