"""What devices really reach: part of their bandwidth, useful arithmetic, and how far from the truth that may be. Pure.

Useful arithmetic is prompt tokens a second times twice the parameters, which is far below the data sheets. It grows
with a generation's bandwidth about as its cards do, so it is kept as operations per byte of bandwidth. Sources of what
was measured (Q4 models of 7 and 8 thousand million parameters, llama-bench):

[1] llama.cpp#4766: P40, Llama 7B Q4_0, 56.8 tokens/s and 912 of a prompt
[2] XiongjieDai/GPU-Benchmarks-on-LLM-Inference: RTX 30 and 40, A100, H100 PCIe
[3] llama.cpp#15802, #8416: RTX 3090, 8B Q4_0, 156 tokens/s; 1 to 8 users; 4300 of a prompt
[4] llama.cpp#26284 and #20934: RX 7900 XTX, 106 (8B Q4_K_M) and 136 (7B Q4_0) tokens/s; 3227 and 4200 of a prompt
[5] intel/ipex-llm#12991: Arc B580, Qwen2 7B Q4_K, 66.5 tokens/s, 2336 of a prompt
[6] llama.cpp#8278, #5835: RX 6800, 690 of a prompt (8B); RX 6700 XT, 59 tokens/s and 1017 of a prompt (7B)
[7] tenstorrent/tt-inference-server#143: two H100, Qwen2.5 72B in 16 bits, vLLM, 32.4 tokens/s
[8] ik_llama.cpp#54: llama.cpp, 8B Q4_0, 123 of a prompt on 16 cores with AVX-512, 139 on 32 with AVX2
[9] llama.cpp#14949, #27841: MI100, 13B, 850 of a prompt; MI50, 8B Q4_0, 1083
"""

import functools
import re
from typing import NamedTuple

import msgspec

from deployer.decide.candidates import Candidate, Device, has_tensor_cores
from deployer.decide.host import short_name
from deployer.decide.rules_quantization import unpacked
from deployer.types import Accelerator, HostFacts

MEASURED, KNOWN, ALLOWANCE = 1.1, 1.3, 2.0
"""The truth is between the estimate divided and multiplied by this: where this model was measured on this host, where
cards of this generation were measured by others, and where nobody told."""


class Rate(msgspec.Struct, frozen=True):
    """Bytes and useful operations a second, how far off each may be, and in words what reading follows from."""

    bytes_per_s: float
    operations_per_s: float
    reading: float
    arithmetic: float
    told: str


class _Kind(NamedTuple):
    part: float
    per_byte: float
    reading: float = KNOWN
    arithmetic: float = KNOWN


_KINDS = {
    "kepler": _Kind(0.5, 8, ALLOWANCE, ALLOWANCE),
    "maxwell": _Kind(0.6, 10, ALLOWANCE, ALLOWANCE),
    "pascal": _Kind(0.65, 36),  # [1]
    "pascal HBM": _Kind(0.35, 10, ALLOWANCE, ALLOWANCE),
    "volta": _Kind(0.55, 35, ALLOWANCE, ALLOWANCE),
    "turing": _Kind(0.7, 55, ALLOWANCE, ALLOWANCE),
    "turing without tensor cores": _Kind(0.65, 20, ALLOWANCE, ALLOWANCE),
    "ampere": _Kind(0.75, 75),  # [2] [3]
    "ampere HBM": _Kind(0.5, 45, ALLOWANCE, ALLOWANCE),  # [2]: 0.31 to 0.55, and 24 to 60
    "ada": _Kind(0.75, 125),  # [2]
    "hopper": _Kind(0.5, 50, ALLOWANCE, ALLOWANCE),  # [2]: 0.29 to 0.60, and 32 to 49
    "blackwell": _Kind(0.75, 140, ALLOWANCE, ALLOWANCE),
    "blackwell HBM": _Kind(0.5, 60, ALLOWANCE, ALLOWANCE),
    "rdna2": _Kind(0.65, 28, KNOWN, ALLOWANCE),  # [6]
    "rdna3": _Kind(0.6, 56),  # [4]
    "rdna3.5": _Kind(0.6, 40, ALLOWANCE, ALLOWANCE),
    "rdna4": _Kind(0.6, 80, ALLOWANCE, ALLOWANCE),
    "gcn5": _Kind(0.45, 17, ALLOWANCE, KNOWN),  # [9]
    "cdna": _Kind(0.4, 18, ALLOWANCE, KNOWN),  # [9]
    "cdna2": _Kind(0.4, 30, ALLOWANCE, ALLOWANCE),
    "cdna3": _Kind(0.4, 30, ALLOWANCE, ALLOWANCE),
    "cdna4": _Kind(0.4, 30, ALLOWANCE, ALLOWANCE),
    "alchemist": _Kind(0.35, 40, ALLOWANCE, ALLOWANCE),
    "battlemage": _Kind(0.68, 78),  # [5]
    "few execution units": _Kind(0.5, 4, ALLOWANCE, ALLOWANCE),  # llama.cpp docs/backend/SYCL.md, and our allowance
}
_UNKNOWN = _Kind(0.5, 30, ALLOWANCE, ALLOWANCE)
_HBM = ("6.0", "8.0", "10.0", "10.3")

_PAGED = {
    "ampere": _Kind(0.8, 75, ALLOWANCE),
    "ampere HBM": _Kind(0.8, 60, ALLOWANCE),
    "ada": _Kind(0.8, 125),
    "hopper": _Kind(0.85, 120, KNOWN, ALLOWANCE),
    "blackwell": _Kind(0.8, 140, ALLOWANCE, ALLOWANCE),
    "blackwell HBM": _Kind(0.8, 100, ALLOWANCE, ALLOWANCE),
}
"""vLLM and its like: 0.86 of the bandwidth on H100 [7] and RTX 4090 (club-3090#697) beside what every layer costs
(steps.LAYER_S); others as those, our allowance. Arithmetic of 16 bits on A100 as llama.cpp#6017 measured it (8668
tokens/s of a prompt, 7B); on H100 our allowance."""

_VULKAN = 0.8
"""Vulkan's part of what the maker's own library reaches: 0.67 of reading and all of arithmetic on an RTX 3090
(llama.cpp#13506), 1.2 on an RX 7900 XTX (#20934), 0.7 and 0.4 on an RX 6700 XT (#5835)."""

UNPACKED = 0.7
"""Part of it that 4 bits of AWQ and GPTQ reach on AMD GPUs: 0.42 of the bandwidth, "less than half" on a Radeon 8060S
(lemonade-sdk/vllm-rocm#24), 25 tokens/s of 24B on an R9700, half of it (ROCm/aiter#900)."""

_CORE_GB_S, _NODE_GB_S, _NEXT_NODE_GB_S = 7.5, 30.0, 10.0
"""What decoding reads: 14.5 GB/s on 2 cores of a virtual machine, 16 on an i5-6500 (llama.cpp#34), 50 on a desktop of
16 cores and 52 with eight channels [8], 32 on two sockets with four channels of DDR4 each (llama.cpp#1556)."""

UNIFIED_GB_S = 50.0
"""Assumed bandwidth of memory that a processor shares with its graphics: two channels of DDR4 or DDR5."""

_CORE_OPERATIONS: tuple[tuple[str, float], ...] = (
    ("amx_int8", 250e9),
    ("avx512_vnni", 100e9),  # [8]: 123
    ("avx2", 60e9),  # [8]: 70; i5-6500: 47 (llama.cpp#34)
    ("i8mm", 60e9),
    ("asimddp", 40e9),
)
_PLAIN_CORE = 15e9
"""Operations a second of one core by what it can do, of prompts; our allowance where no source is named."""

_TORCH_OPERATIONS: tuple[tuple[str, float], ...] = (
    ("amx_bf16", 250e9),
    ("avx512_bf16", 60e9),  # SGLang 0.5.23 on 2 cores: 34 tokens/s for one, 177 for eight, SmolLM2-135M
    ("avx512f", 30e9),
)


def gpu_rate(candidate: Candidate, device: Device) -> Rate | None:
    """What one GPU reaches with this engine; None where its bandwidth is unknown."""
    kernels = UNPACKED if unpacked(candidate) else 1.0
    return _gpu_rate(candidate.engine.memory, candidate.image.accelerator, device, kernels)


@functools.lru_cache(maxsize=1024)
def _gpu_rate(memory: str, accelerator: Accelerator, device: Device, kernels: float) -> Rate | None:
    bandwidth = gpu_bandwidth(device)
    if bandwidth is None:
        return None
    part, per_byte, reading, arithmetic = _kind(_name(device), memory, accelerator)
    part, reading = part * kernels, reading if kernels == 1 else ALLOWANCE
    told = f"{short_name(device.gpu)} {bandwidth:.0f} GB/s at {part:.0%}"
    return Rate(bandwidth * 1e9 * part, bandwidth * 1e9 * per_byte, reading, arithmetic, told)


def _kind(name: str, memory: str, accelerator: Accelerator) -> _Kind:
    kind = _KINDS.get(name, _UNKNOWN)
    if memory == "paged_kv" and name in _PAGED:
        return _PAGED[name]
    if accelerator == "vulkan":
        return _Kind(kind.part * _VULKAN, kind.per_byte * _VULKAN, ALLOWANCE, ALLOWANCE)
    return kind


def gpu_bandwidth(device: Device) -> float | None:
    """GB/s by name; of graphics in a processor, which read main memory, what is assumed of that; None when unknown."""
    if device.known is not None:
        return float(device.known.bandwidth_gb_s)
    return UNIFIED_GB_S if device.gpu.unified_memory else None


def cpu_rate(host: HostFacts, cores: int, *, paged: bool = False) -> Rate:
    """What so many cores and main memory reach together; nobody tells how many channels are filled.

    `paged`: with an engine on PyTorch, which needs wider registers to be as fast.
    """
    node = min(cores * _CORE_GB_S, _NODE_GB_S)
    reads = node + _NEXT_NODE_GB_S * (max(host.cpu.numa_nodes or 1, 1) - 1)
    flags = host.cpu.flags or ("avx2",)
    known = _TORCH_OPERATIONS if paged else _CORE_OPERATIONS
    each = next((speed for flag, speed in known if flag in flags), _PLAIN_CORE)
    return Rate(reads * 1e9, cores * each, ALLOWANCE, ALLOWANCE, f"main memory assumed to give {reads:.0f} GB/s")


_FEW_UNITS = re.compile(r"\b(?:U?HD Graphics|Iris (?:Plus|Pro))\b", re.IGNORECASE)
"""Names of Intel's graphics with less than 80 execution units, which are "too slow for practical use" (llama.cpp b11434
docs/backend/SYCL.md)."""


def _name(device: Device) -> str:
    """The generation, and which of its two kinds of chips where they differ."""
    architecture = device.known.architecture if device.known is not None else ""
    if device.known is None and _FEW_UNITS.search(device.gpu.name or ""):
        return "few execution units"
    if architecture == "turing" and not has_tensor_cores(device):
        return "turing without tensor cores"
    return f"{architecture} HBM" if device.gpu.compute_capability in _HBM else architecture
