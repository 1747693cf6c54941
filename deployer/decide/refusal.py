"""Sentences for what could run but is refused for its memory or its speed."""

from deployer.decide.candidates import Candidate, describe, is_slice
from deployer.decide.settings import Shortage
from deployer.types import HostFacts, ModelVariant, Request, SpeedEstimate

LEAST_TOKENS_PER_S = 0.1
MIB = 1024 * 1024
DISK_RESERVE_MIB = 1024
"""Left on the disk beside the model, as before a download."""


def crawl_sentence(candidate: Candidate, expected: SpeedEstimate) -> str | None:
    """A server that needs more than ten seconds for a word serves nobody; unknown speed refuses nothing."""
    decode = expected.decode_tokens_per_s
    if decode is None or decode >= LEAST_TOKENS_PER_S:
        return None
    return (
        f"{candidate.variant.quantization} on {describe(candidate.devices)} would give less than {LEAST_TOKENS_PER_S} "
        f"tokens/s ({expected.basis}); use a smaller model or quantization, or GPUs"
    )


def shortage_sentence(candidate: Candidate, shortage: Shortage, request: Request) -> str:
    """What is missing where, in MiB, for the smallest offer, and the way out."""
    device, offer = shortage.device, shortage.offer
    where = "main memory" if device.device == "host" else describe(candidate.devices)
    kept = "" if request.context is None else f"--context below {request.context}, "
    return (
        f"{candidate.variant.quantization} for {offer.slots} x {offer.context} tokens needs {device.total_mib} MiB and "
        f"{device.margin_mib} MiB of margin in {where} (weights {device.weights_mib}, KV cache {device.kv_cache_mib}, "
        f"compute {device.compute_mib}, overhead {device.overhead_mib}); {device.available_mib} MiB are free; "
        f"{shortage.missing_mib} MiB are missing: {kept}a smaller quantization or model, or free memory"
        f"{held_by_others(candidate)}{slices_apart(candidate)}"
    )


def disk_sentence(variant: ModelVariant, total_bytes: int, host: HostFacts) -> str | None:
    """A form that still has to be fetched (`total_bytes`) and is more than the state folder's disk has room for."""
    free, size = host.disk.free_mib, -(-max((variant.size_bytes or total_bytes) - variant.fetched_bytes, 0) // MIB)
    if variant.present or not variant.source.startswith("hf:") or free is None or size + DISK_RESERVE_MIB <= free:
        return None
    where = f" of {host.disk.path}" if host.disk.path else ""
    return (
        f"{variant.quantization} has {size} MiB to fetch, and {free} MiB are free on the disk{where}, of which "
        f"{DISK_RESERVE_MIB} stay free; make room for {size + DISK_RESERVE_MIB - free} MiB there, choose a smaller "
        "form, or another disk with DEPLOYER_HOME"
    )


def slices_apart(candidate: Candidate) -> str:
    """The way out where a slice of a GPU is too small, because somebody cut it; empty for whole GPUs."""
    if not any(is_slice(device.gpu) for device in candidate.devices):
        return ""
    return "; MIG slices cannot be joined: take a larger one, or turn MIG off (nvidia-smi -mig 0)"


def held_by_others(candidate: Candidate) -> str:
    """Who holds GPU memory, in brackets, for the way out; empty where nobody was told."""
    held = [
        f"{process.name or 'process'} {process.pid}: {process.memory_mib} MiB"
        for device in candidate.devices
        for process in device.gpu.processes or ()
        if process.memory_mib
    ]
    return f" ({', '.join(held[:3])})" if held else ""
