"""Rules about a form of the model on hardware: an engine has kernels for a quantization on some GPUs only.

Below the `native_capability` of a quantization its weights are widened on the fly (FP8 by Marlin on Ampere), which
runs, and is said. 16-bit weights in bf16 run everywhere: below 8.0 they are cast to half precision (settings).
"""

import functools

from deployer.decide.candidates import Candidate, Device, has_tensor_cores
from deployer.decide.host import short_name
from deployer.decide.version import capability
from deployer.types import EngineProfile, HostFacts, ModelSpec, ModelVariant, QuantizationSupport, Request

EXPERTS_UNWIDENED = ("sglang", "tgi", "tensorrt-llm")
"""Engines without a way to widen experts of 8 bits; vLLM has one by now (Marlin, fused_marlin_moe)."""


def support_of(engine: EngineProfile, variant: ModelVariant) -> QuantizationSupport | None:
    """The profile's line about this quantization in this format; None where the profile has none."""
    own, form = variant.quantization, variant.format
    return next(
        (item for item in engine.quantization_support if item.quantization == own and item.format == form), None
    )


@functools.lru_cache(maxsize=1024)
def weakest(devices: tuple[Device, ...]) -> Device | None:
    """The NVIDIA GPU with the lowest known capability: all GPUs of a server do what the weakest can (vllm#28572)."""
    known = [device for device in devices if device.gpu.compute_capability is not None]
    return min(known, key=lambda device: capability(device.gpu.compute_capability or ""), default=None)


def quantization_capability(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine has no kernel for the quantization on an NVIDIA GPU."""
    if candidate.image.accelerator != "cuda":
        return None
    support, device = support_of(candidate.engine, candidate.variant), weakest(candidate.devices)
    if support is None or support.min_capability is None or device is None:
        return None
    own = device.gpu.compute_capability or ""
    if capability(own) >= capability(support.min_capability):
        return None
    return (
        f"{candidate.engine.engine} has no kernel for {support.quantization} ({support.format}) below compute "
        f"capability {support.min_capability}, and {short_name(device.gpu)} is {own}; {_way_out(candidate, model, own)}"
    )


def quantization_experts(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Experts in FP8 run natively or not at all: `type fp8e4nv not supported in this architecture` (vllm#18182)."""
    if candidate.engine.engine not in EXPERTS_UNWIDENED or candidate.image.accelerator != "cuda":
        return None
    if not model.architecture.experts or candidate.variant.format != "fp8":
        return None
    support, device = support_of(candidate.engine, candidate.variant), weakest(candidate.devices)
    least, own = (support.native_capability if support else None), device.gpu.compute_capability if device else None
    if device is None or least is None or own is None or capability(own) >= capability(least):
        return None
    return (
        f"the experts of {model.name} in {candidate.variant.quantization} need arithmetic for it, from compute "
        f"capability {least} on, and {short_name(device.gpu)} is {own}; use 16-bit weights, AWQ or GPTQ"
    )


def quantization_gfx(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine has no kernel for the quantization on an AMD GPU."""
    support = support_of(candidate.engine, candidate.variant) if candidate.image.accelerator == "rocm" else None
    if support is None:
        return None
    for device in candidate.devices:
        if device.gpu.gfx is not None and device.gpu.gfx not in support.gfx:
            known = ", ".join(support.gfx) or "no AMD GPU"
            return (
                f"{candidate.engine.engine} runs {support.quantization} ({support.format}) on {known}, and "
                f"{short_name(device.gpu)} is {device.gpu.gfx}; use GGUF with llama.cpp, or another quantization"
            )
    return None


def quantization_float16(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """A GPU without bfloat16 computes in float16, too small a range for some models (vllm-project/vllm#18733)."""
    name = model.architecture.name
    if candidate.image.accelerator != "cuda" or name not in candidate.engine.no_float16:
        return None
    device = weakest(candidate.devices)
    if device is None:
        return None
    own = device.gpu.compute_capability or ""
    if capability(own) >= _BF16:
        return None
    return (
        f"{short_name(device.gpu)} ({own}) has no bfloat16, and {candidate.engine.engine} refuses {name} in float16, "
        "whose range is too small for it; use GGUF with llama.cpp"
    )


_BF16 = (8, 0)


def quantization_cpu(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine has no code for the quantization on a processor."""
    support = support_of(candidate.engine, candidate.variant) if candidate.on_cpu else None
    if support is None:
        return None
    if support.cpu:
        return _other_processor(candidate, support, host)
    return (
        f"{candidate.engine.engine} has no code for {support.quantization} ({support.format}) on a processor; "
        "use 16-bit weights, or GGUF with llama.cpp"
    )


def _other_processor(candidate: Candidate, support: QuantizationSupport, host: HostFacts) -> str | None:
    own = host.cpu.architecture or (candidate.image.architectures[0] if candidate.image.architectures else None)
    made_for = support.cpu_architectures
    if own is None or not made_for or {"amd64": "x86_64", "arm64": "aarch64"}.get(own, own) in made_for:
        return None
    return (
        f"{candidate.engine.engine} has code for {support.quantization} ({support.format}) on {', '.join(made_for)} "
        f"processors only, and this one is {own}; use 16-bit weights, or GGUF with llama.cpp"
    )


def unpacked(candidate: Candidate) -> bool:
    """True for 4 bits of AWQ or GPTQ on AMD GPUs, whose kernels are young (rates.UNPACKED)."""
    return candidate.image.accelerator == "rocm" and candidate.variant.format in ("awq", "gptq")


def widened(candidate: Candidate) -> str | None:
    """In words, that the weights are stored small and computed in 16 bits; None where the hardware does it natively."""
    if unpacked(candidate):
        return (
            f"{candidate.engine.engine}'s kernels for {candidate.variant.quantization} on AMD GPUs are young and reach "
            "less than half of the memory's speed on some; GGUF with llama.cpp has older ones"
        )
    if candidate.image.accelerator != "cuda":
        return None
    support, device = support_of(candidate.engine, candidate.variant), weakest(candidate.devices)
    if support is None or support.native_capability is None or device is None:
        return None
    own = device.gpu.compute_capability or ""
    if capability(own) >= capability(support.native_capability):
        return None
    if candidate.variant.quantization == "BF16":
        return (
            f"{short_name(device.gpu)} ({own}) has no bfloat16: the weights are cast to float16, which holds less range"
        )
    return (
        f"{short_name(device.gpu)} ({own}) has no arithmetic for {support.quantization} (from "
        f"{support.native_capability} on): the weights stay small in memory and are widened to 16 bits to compute"
    )


def without_tensor_cores(candidate: Candidate) -> str | None:
    """In words, that an engine of half-precision matrices runs on a Turing chip without hardware for them.

    Source: llama.cpp b11434 ggml-cuda.cu ("Turing devices with no tensor cores"); llama.cpp has integer kernels (dp4a).
    """
    if candidate.image.accelerator != "cuda" or candidate.engine.memory != "paged_kv":
        return None
    without = [item for item in candidate.devices if item.gpu.compute_capability and not has_tensor_cores(item)]
    if not without:
        return None
    gpu, engine = without[0].gpu, candidate.engine.engine
    return (
        f"{short_name(gpu)} ({gpu.compute_capability}) has no tensor cores: {engine} computes half-precision matrices, "
        "which crawl without them; llama.cpp has integer kernels for it"
    )


def _way_out(candidate: Candidate, model: ModelSpec, own: str) -> str:
    """Forms of the model that the same engine runs on this GPU, else the engine that runs everywhere."""
    have = {(variant.quantization, variant.format) for variant in model.variants} - {_form(candidate.variant)}
    fit = [
        item.quantization
        for item in candidate.engine.quantization_support
        if capability(item.min_capability or "0") <= capability(own) and (item.quantization, item.format) in have
    ]
    names = ", ".join(dict.fromkeys(fit))
    return f"use {names}" if names else "use GGUF with llama.cpp"


def _form(variant: ModelVariant) -> tuple[str, str]:
    return variant.quantization, variant.format
