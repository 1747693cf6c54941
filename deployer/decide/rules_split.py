"""Rules about several GPUs together: what an engine can divide a model over."""

from deployer.decide.candidates import Candidate, describe, is_slice
from deployer.decide.device_sets import divides, same_kind, splits
from deployer.types import HostFacts, ModelSpec, Request


def one_gpu(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine uses one GPU only."""
    if len(candidate.devices) < 2 or splits(candidate.engine):  # noqa: PLR2004
        return None
    return (
        f"{candidate.engine.engine} uses one GPU, and {len(candidate.devices)} were asked for; choose one with --gpus"
    )


def mig(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """MIG slices cannot reach each other's memory."""
    slices = [device for device in candidate.devices if is_slice(device.gpu)]
    if not slices or len(candidate.devices) == 1:
        return None
    return (
        f"{describe(candidate.devices)}: MIG slices have no access to each other, so a model cannot be divided over "
        "them; use one slice (--gpus), a larger one, or turn MIG off (nvidia-smi -mig 0)"
    )


def tensor_parallel_heads(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The attention heads cannot be shared evenly."""
    count, architecture = candidate.tensor_parallel, model.architecture
    if "layer" in splits(candidate.engine) or divides(architecture, count):
        return None
    good = [size for size in range(count - 1, 0, -1) if divides(architecture, size)]
    return (
        f"{candidate.engine.engine} shares the {architecture.heads} attention heads ({architecture.kv_heads} for keys "
        f"and values) of {model.name} evenly, and {count} GPUs do not divide them; use {good[0]} of them, or "
        "llama.cpp, which splits by layers"
    )


def tensor_parallel_alike(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Every rank gets the same part, so the smallest and weakest card rules."""
    devices = candidate.devices
    if len(devices) < 2 or "layer" in splits(candidate.engine):  # noqa: PLR2004
        return None
    if all(same_kind(devices[0].gpu, device.gpu) for device in devices[1:]):
        return None
    kinds = ", ".join(
        dict.fromkeys(
            f"{describe([device])} {device.gpu.compute_capability or device.gpu.gfx or '?'} "
            f"{device.gpu.memory_total_mib or '?'} MiB"
            for device in devices
        )
    )
    return (
        f"{candidate.engine.engine} gives every GPU the same part, and these differ ({kinds}); choose like GPUs with "
        "--gpus, or llama.cpp, which splits by free memory"
    )
