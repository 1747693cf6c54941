"""Stage one: what cannot run is refused, with a sentence that holds the numbers and the way out.

Every rule is `(candidate, host, model, request) -> str | None`. A fact that is unknown refuses nothing: it becomes a
warning (cautions.py). The groups are asked in this order, the first refusal of a group counts.
"""

from collections.abc import Callable
from typing import NamedTuple

from deployer.decide import (
    rules_container,
    rules_device,
    rules_engine,
    rules_image,
    rules_jetson,
    rules_kv,
    rules_quantization,
    rules_split,
    rules_vulkan,
)
from deployer.decide.candidates import Candidate
from deployer.types import HostFacts, ModelSpec, Request

Check = Callable[[Candidate, HostFacts, ModelSpec, Request], str | None]


class Rule(NamedTuple):
    """A name for scripts and the function that answers."""

    name: str
    check: Check


ENGINE_RULES = (
    Rule("forced", rules_engine.forced_engine),
    Rule("legacy", rules_engine.legacy),
    Rule("model-architecture", rules_engine.model_architecture),
    Rule("workload", rules_engine.reranker),
    Rule("workload", rules_engine.workload),
    Rule("context", rules_engine.context),
    Rule("kv-type", rules_engine.kv_type),
    Rule("kv-type", rules_kv.kv_type_heads),
)
"""Answered once for an engine."""

VARIANT_RULES = (
    Rule("forced", rules_engine.forced_quantization),
    Rule("format", rules_engine.model_format),
    Rule("quantization", rules_engine.quantization),
    Rule("model-source", rules_engine.model_source),
)
"""Answered once for an engine and a form of the model."""

IMAGE_RULES = (
    Rule("forced", rules_image.forced_image),
    Rule("forced", rules_image.forced_runtime),
    Rule("container-first", rules_image.container_first),
    Rule("runtime", rules_image.runtime),
    Rule("image-unavailable", rules_image.image_unavailable),
    Rule("cpu-architecture", rules_image.cpu_architecture),
    Rule("cpu-flags", rules_image.cpu_flags),
    Rule("model-architecture", rules_image.architecture_since),
)
"""Answered once for an image."""

DEVICE_RULES = (
    Rule("forced", rules_device.forced_devices),
    Rule("driver", rules_device.broken_driver),
    Rule("vendor", rules_device.vendor),
    Rule("last-driver", rules_device.last_driver),
    Rule("jetson", rules_jetson.jetson),
    Rule("compute-capability", rules_device.compute_capability),
    Rule("compute-capability", rules_vulkan.vulkan_capability),
    Rule("gfx", rules_vulkan.vulkan_gfx),
    Rule("driver", rules_vulkan.vulkan_driver),
    Rule("vgpu", rules_device.vgpu_profile),
    Rule("gfx", rules_device.gfx),
    Rule("container-gpu-injection", rules_container.amd_device_files),
    Rule("container-gpu-injection", rules_container.device_files),
    Rule("container-gpu-injection", rules_container.container_gpu_injection),
    Rule("ptx-driver", rules_device.ptx_driver),
    Rule("driver", rules_device.driver),
    Rule("ptx-driver", rules_device.unknown_capability),
)
"""Answered for an image on each GPU (or on the asked GPUs together)."""

SAFETY_RULES = (Rule("security", rules_image.security),)
"""Answered for an image and the GPUs on which it can run: a version's holes matter only where the hardware suits."""

SET_RULES = (
    Rule("split", rules_split.one_gpu),
    Rule("mig", rules_split.mig),
    Rule("tensor-parallel", rules_split.tensor_parallel_alike),
    Rule("tensor-parallel", rules_split.tensor_parallel_heads),
)
"""Answered for an image on a set of GPUs."""

FORM_RULES = (
    Rule("kv-type", rules_kv.kv_type_devices),
    Rule("quantization-support", rules_quantization.quantization_capability),
    Rule("quantization-support", rules_quantization.quantization_experts),
    Rule("quantization-support", rules_quantization.quantization_gfx),
    Rule("quantization-support", rules_quantization.quantization_float16),
    Rule("quantization-support", rules_quantization.quantization_cpu),
)
"""Answered for a form of the model on a set of GPUs, or on the processor."""

RULES = (*ENGINE_RULES, *VARIANT_RULES, *IMAGE_RULES, *DEVICE_RULES, *SAFETY_RULES, *SET_RULES, *FORM_RULES)
"""Every rule but `memory`, `speed` and `disk`, which follow from sizes that are worked out."""

MEMORY_RULE, SPEED_RULE, DISK_RULE = "memory", "speed", "disk"


def first_refusal(
    rules: tuple[Rule, ...], candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request
) -> tuple[str, str] | None:
    """Name and sentence of the first rule that refuses, or None."""
    for rule in rules:
        reason = rule.check(candidate, host, model, request)
        if reason is not None:
            return rule.name, reason
    return None
