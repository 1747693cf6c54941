"""How fast it will about be. Decoding is bound by memory bandwidth: every weight is read once a token."""

from deployer.decide.candidates import Candidate
from deployer.decide.host import short_name
from deployer.decide.settings import Sizing
from deployer.decide.version import capability
from deployer.types import Accelerator, HostFacts, SpeedEstimate

EFFICIENCY: dict[Accelerator, float] = {"cuda": 0.58, "rocm": 0.5, "vulkan": 0.45, "sycl": 0.4, "cpu": 0.6}
"""Part of the bandwidth that decoding reaches. CUDA: 0.63 on P40 (llama.cpp#4766), about 0.6 on RTX 4090; CPU: 150
tokens/s of a 98 MB model on 2 cores. The others are our allowance."""

PAGED_CPU = 0.37
"""The same of engines on PyTorch: SGLang 0.5.23 reads 270 MB a token 34 times a second where llama-server reads 98 MB
150 times (SmolLM2-135M on the same 2 cores)."""

CPU_GB_S = 25
"""Assumed bandwidth of one NUMA node: a desktop's two channels give 40 to 50, a virtual machine less."""

SHARING = {("slots", "gpu"): 0.15, ("slots", "cpu"): 0.55, ("paged_kv", "gpu"): 0.03, ("paged_kv", "cpu"): 0.4}
"""n users get n / (1 + s * (n - 1)) times the tokens of one. llama-server on a CPU: 258 tokens/s for 8 against 158 for
1, measured. The rest is our allowance: on GPUs batches read the weights once for all, and engines with paged KV caches
lose little until hundreds of sequences; on a CPU all share its arithmetic. (SGLang 0.5.23 on a CPU has 177 for 8
against 34 for 1, with a model so small that most of the 1 is overhead.)"""

TENSOR_PARALLEL = 0.75
"""Part of its efficiency that a GPU keeps when it waits for the others twice a layer (PCIe); our allowance."""

PROMPT_TENSOR_CORES, PROMPT_GPU, PROMPT_CPU = 30, 12, 3
"""Prompt tokens are computed in batches: so many times faster than decoding, roughly."""

_TENSOR_CORES = (7, 0)


def estimate(candidate: Candidate, host: HostFacts, sizing: Sizing) -> SpeedEstimate:
    """Tokens a second for one user, for all slots together and for reading prompts; None where unknown."""
    seconds, basis = _seconds_per_token(candidate, host, sizing)
    if seconds is None:
        return SpeedEstimate(prompt_tokens_per_s=None, decode_tokens_per_s=None, total_tokens_per_s=None, basis=basis)
    decode, slots = 1 / seconds, sizing.offer.slots
    on_host = sizing.offloaded < sizing.layers or sizing.settings.cpu_moe_layers > 0
    sharing = SHARING[("paged_kv" if candidate.engine.memory == "paged_kv" else "slots", "cpu" if on_host else "gpu")]
    return SpeedEstimate(
        prompt_tokens_per_s=_shown(decode * _prompt_factor(candidate, on_host=on_host)),
        decode_tokens_per_s=_shown(decode),
        total_tokens_per_s=_shown(decode * slots / (1 + sharing * (slots - 1))),
        basis=basis,
    )


def _shown(tokens_per_s: float) -> float:
    """One decimal, and two below one token a second."""
    return round(tokens_per_s, 1 if tokens_per_s >= 1 else 2)


def per_user(speed: SpeedEstimate, slots: int) -> float | None:
    """Tokens a second that each user sees when all slots are busy."""
    return None if speed.total_tokens_per_s is None else speed.total_tokens_per_s / slots


def _seconds_per_token(candidate: Candidate, host: HostFacts, sizing: Sizing) -> tuple[float | None, str]:
    """Time of one token: bytes on each device over its bandwidth, one device after the other.

    With tensor parallelism all devices read their part at once, and wait for each other twice a layer.
    """
    read, start, told = 0.0, sizing.layers - sizing.offloaded, []
    ranks = sizing.settings.tensor_parallel
    for device, count in zip(candidate.devices, sizing.counts, strict=True):
        if device.known is None:
            return None, f"memory bandwidth of {short_name(device.gpu)} unknown"
        efficiency = EFFICIENCY[candidate.image.accelerator] * (TENSOR_PARALLEL if ranks > 1 else 1)
        size = (_weights_read(sizing, start, start + count) / ranks + _cache_read(sizing, start, start + count)) / ranks
        read += size / (device.known.bandwidth_gb_s * 1e9 * efficiency)
        told.append(f"{short_name(device.gpu)} {device.known.bandwidth_gb_s} GB/s at {efficiency:.0%}")
        start += count if ranks == 1 else 0
    kept = sizing.layers - sizing.offloaded
    if kept or sizing.settings.cpu_moe_layers:
        bandwidth = CPU_GB_S * max(host.cpu.numa_nodes or 1, 1)
        size = _weights_read(sizing, 0, kept) + _cache_read(sizing, 0, kept) + _experts_read(sizing)
        efficiency = PAGED_CPU if candidate.engine.memory == "paged_kv" else EFFICIENCY["cpu"]
        read += size / (bandwidth * 1e9 * efficiency)
        told.append(f"main memory assumed {bandwidth} GB/s at {efficiency:.0%}")
    return read, f"rough: bytes read a token over memory bandwidth ({', '.join(dict.fromkeys(told))})"


def _weights_read(sizing: Sizing, start: int, end: int) -> float:
    """Bytes of weights of items `start` to `end` (layers, then the output), without idle experts."""
    layers = sizing.weights.layout.layer_bytes
    output = sizing.weights.output_bytes if start <= len(layers) < end else 0
    return sum(layers[start:end]) * sizing.weights.active_layer_share + output


def _cache_read(sizing: Sizing, start: int, end: int) -> float:
    """Half of one conversation's KV cache in these layers: as much as is read on average."""
    return sum(sizing.kv_bytes[start:end]) / 2


def _experts_read(sizing: Sizing) -> float:
    """Bytes of the used experts that are in main memory although their layer is on a GPU.

    They are counted on the GPU as well, so the estimate is a little too slow.
    """
    weights, count = sizing.weights, sizing.settings.cpu_moe_layers
    active = weights.active_layer_share - (1 - weights.expert_share)
    return sum(weights.layout.layer_bytes[:count]) * max(active, 0.0)


def _prompt_factor(candidate: Candidate, *, on_host: bool) -> int:
    if on_host:
        return PROMPT_CPU
    weakest = min(capability(device.gpu.compute_capability or "0") for device in candidate.devices)
    return PROMPT_TENSOR_CORES if weakest >= _TENSOR_CORES else PROMPT_GPU
