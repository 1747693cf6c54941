"""A short name for all that decides whether an image that worked on a host will work again."""

import hashlib
import re

import msgspec

from deployer.types import ContainerFacts, Gpu, HostFacts

_LENGTH = 12
_FLAGS = re.compile(
    r"sse4_2|avx|avx2|f16c|fma|bmi2|avx512\w*|avx_vnni\w*|avx10\w*|amx_\w+"
    r"|asimd|asimddp|asimdhp|fphp|i8mm|bf16|sve\w*|sme\w*"
)


def fingerprint(host: HostFacts) -> str:
    """Give 12 hex digits of SHA-256 over the canonical JSON of what decides compatibility.

    In: system, CPU architecture and the instruction sets that engines dispatch on, GPUs as a multiset (vendor, name,
    capability, total memory, MIG), the driver's branch and CUDA version, the engine's kind and how it injects GPUs.
    Out: whatever fluctuates or does not decide: names, kernel, free memory, disk, processes, patch versions, GPU order.
    """
    facts = {
        "system": host.os.system,
        "architecture": host.cpu.architecture,
        "flags": sorted(flag for flag in host.cpu.flags or () if _FLAGS.fullmatch(flag)),
        "gpus": sorted(_gpu(gpu) for gpu in host.gpus if gpu.name is not None),
        "driver_branch": (host.nvidia.driver or "").split(".")[0] if host.nvidia else "",
        "cuda": (host.nvidia.cuda or "") if host.nvidia else "",
        **_container(host.container or ContainerFacts()),
    }
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()[:_LENGTH]


def _gpu(gpu: Gpu) -> tuple[str, ...]:
    """Give what matters of a GPU as texts, so that unknown values sort too. Integrated memory belongs to the host."""
    capability = gpu.compute_capability or gpu.gfx or ""
    total = "" if gpu.memory_total_mib is None or gpu.unified_memory else str(gpu.memory_total_mib)
    partitioned = "mig" if gpu.mig is not None and gpu.mig.enabled else ""
    return (gpu.vendor or "", gpu.name or "", capability, total, partitioned)


def _container(container: ContainerFacts) -> dict[str, object]:
    return {
        "engine": container.engine or "",
        "nvidia_runtime": bool(container.nvidia_runtime),
        "cdi": any("nvidia.com/gpu" in device for device in container.cdi or ()),
    }
