"""How fast it will about be. Decoding is bound by memory bandwidth: every weight is read once a token."""

from deployer.decide.candidates import Candidate
from deployer.decide.host import short_name
from deployer.decide.settings import Sizing
from deployer.decide.version import capability
from deployer.types import Accelerator, HostFacts, SpeedEstimate

EFFICIENCY: dict[Accelerator, float] = {"cuda": 0.58, "rocm": 0.5, "vulkan": 0.45, "sycl": 0.4, "cpu": 0.6}
"""Part of the bandwidth that decoding reaches. CUDA: 0.63 on P40 (llama.cpp#4766), about 0.6 on RTX 4090; CPU: 150
tokens/s of a 98 MB model on 2 cores. The others are our allowance."""

CPU_GB_S = 25
"""Assumed bandwidth of one NUMA node: a desktop's two channels give 40 to 50, a virtual machine less."""

SHARING_GPU, SHARING_CPU = 0.15, 0.55
"""n users get n / (1 + s * (n - 1)) times the tokens of one; CPU: 258 tokens/s for 8 against 158 for 1, measured."""

PROMPT_TENSOR_CORES, PROMPT_GPU, PROMPT_CPU = 30, 12, 3
"""Prompt tokens are computed in batches: so many times faster than decoding, roughly."""

_TENSOR_CORES = (7, 0)


def estimate(candidate: Candidate, host: HostFacts, sizing: Sizing) -> SpeedEstimate:
    """Tokens a second for one user, for all slots together and for reading prompts; None where unknown."""
    seconds, basis = _seconds_per_token(candidate, host, sizing)
    if seconds is None:
        return SpeedEstimate(prompt_tokens_per_s=None, decode_tokens_per_s=None, total_tokens_per_s=None, basis=basis)
    decode = 1 / seconds
    slots, on_host = sizing.offer.slots, sizing.placement.offloaded <= len(sizing.load.weights.layout.layer_bytes)
    sharing = SHARING_CPU if on_host else SHARING_GPU
    return SpeedEstimate(
        prompt_tokens_per_s=round(decode * _prompt_factor(candidate, on_host=on_host), 1),
        decode_tokens_per_s=round(decode, 1),
        total_tokens_per_s=round(decode * slots / (1 + sharing * (slots - 1)), 1),
        basis=basis,
    )


def per_user(speed: SpeedEstimate, slots: int) -> float | None:
    """Tokens a second that each user sees when all slots are busy."""
    return None if speed.total_tokens_per_s is None else speed.total_tokens_per_s / slots


def _seconds_per_token(candidate: Candidate, host: HostFacts, sizing: Sizing) -> tuple[float | None, str]:
    """Time of one token: bytes on each device over its bandwidth, one device after the other."""
    read, start = 0.0, len(sizing.load.weights.layout.layer_bytes) + 1 - sizing.placement.offloaded
    told = []
    for device, count in zip(candidate.devices, sizing.placement.counts, strict=True):
        if device.known is None:
            return None, f"memory bandwidth of {short_name(device.gpu)} unknown"
        efficiency = EFFICIENCY[candidate.image.accelerator]
        read += _bytes_read(sizing, start, start + count) / (device.known.bandwidth_gb_s * 1e9 * efficiency)
        told.append(f"{short_name(device.gpu)} {device.known.bandwidth_gb_s} GB/s at {efficiency:.0%}")
        start += count
    kept = len(sizing.load.weights.layout.layer_bytes) + 1 - sizing.placement.offloaded
    if kept:
        bandwidth = CPU_GB_S * max(host.cpu.numa_nodes or 1, 1)
        read += _bytes_read(sizing, 0, kept) / (bandwidth * 1e9 * EFFICIENCY["cpu"])
        told.append(f"main memory assumed {bandwidth} GB/s at {EFFICIENCY['cpu']:.0%}")
    return read, f"rough: bytes read a token over memory bandwidth ({', '.join(dict.fromkeys(told))})"


def _bytes_read(sizing: Sizing, start: int, end: int) -> float:
    """Bytes of items `start` to `end` (layers, then the output) and half of one user's KV cache."""
    load = sizing.load
    layers = load.weights.layout.layer_bytes
    held = layers[start:end]
    kv = load.kv_layer_bytes / load.slots / 2 * len(held)
    output = load.weights.output_bytes if start <= len(layers) < end else 0
    return sum(held) * load.weights.active_layer_share + kv + output


def _prompt_factor(candidate: Candidate, *, on_host: bool) -> int:
    if on_host:
        return PROMPT_CPU
    weakest = min(capability(device.gpu.compute_capability or "0") for device in candidate.devices)
    return PROMPT_TENSOR_CORES if weakest >= _TENSOR_CORES else PROMPT_GPU
