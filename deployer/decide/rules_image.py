"""Rules about an image: what was asked for, what the host can run, what its version knows and where it is weak."""

from collections.abc import Iterable

from deployer.decide.candidates import Candidate, Device
from deployer.decide.capability import code_for, driver_floor, driver_of, last_driver
from deployer.decide.rules_engine import asked_for
from deployer.decide.version import at_least, numbers, older, release
from deployer.types import Advisory, HostFacts, ImageProfile, ModelSpec, Request


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
        return _program(candidate, host)
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


def container_first(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Where a container engine answers, a program is started without one only by request."""
    container = host.container
    if candidate.runtime != "process" or request.runtime == "process" or container is None:
        return None
    if not container.engine or container.error:
        return None
    return f"{container.engine} answers here, so servers run in containers; --runtime process runs one without"


def _program(candidate: Candidate, host: HostFacts) -> str | None:
    image = candidate.image
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
    if _suits(candidate.image, own):
        return None
    return f"this host is {own}; {candidate.image.id} is made for {', '.join(candidate.image.architectures)}"


def _suits(image: ImageProfile, own: str | None) -> bool:
    known = {_MACHINES.get(name, name) for name in image.architectures}
    return own is None or _MACHINES.get(own, own) in known


LEVELS = (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"))
"""Instruction sets by the flag that stands for them, the newest first."""


def cpu_level(flags: tuple[str, ...]) -> str:
    """The newest instruction set among these flags of /proc/cpuinfo: `AMX`, `AVX-512`, `AVX2`, `AVX` or `no AVX`."""
    return next((name for flag, name in LEVELS if flag in flags), "no AVX")


def cpu_flags(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The processor lacks instructions that the image was compiled with; ARM names its instructions otherwise."""
    own, image = host.cpu.flags, candidate.image
    if own is None or (host.cpu.architecture or "x86_64") not in ("x86_64", "amd64"):
        return None
    missing, name = [flag for flag in image.cpu_flags if flag not in own], host.cpu.model or "unknown model"
    if not missing:
        return None
    made_for = (item for item in candidate.engine.images if _suits(item, host.cpu.architecture))
    instead = next((item.id for item in made_for if item.accelerator == "cpu" and not item.cpu_flags), None)
    way_out = f"use {instead}, which needs none of them" if instead else "it would stop with SIGILL; use another engine"
    return (
        f"the processor ({' '.join(name.split())}, {cpu_level(own)}) lacks {', '.join(missing)}, "
        f"which {image.id} was compiled for{_masked(own)}; {way_out}"
    )


def _masked(flags: tuple[str, ...]) -> str:
    """No processor has F16C or FMA without AVX: a virtual machine hides it (ollama/ollama#10074)."""
    if "avx" in flags or not {"f16c", "fma", "avx2"} & set(flags):
        return ""
    return " (a virtual machine seems to hide it: set its CPU type to host)"


def architecture_since(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine learned to know this kind of model only after the version of this image."""
    name = model.architecture.name
    since = candidate.engine.architectures_since.get(name)
    if since is None or not older(candidate.version, since):
        return None
    newer = (image for image in candidate.engine.images if older(image.version, since) is False)
    instead = next((image.id for image in newer if image is not candidate.image), None)
    way_out = f"use {instead}" if instead else "choose another model or engine"
    return (
        f"{candidate.engine.engine} knows the model architecture {name} since {since}, and {candidate.image.id} is "
        f"{candidate.version}; {way_out}"
    )


def security(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The version has a known vulnerability, and nobody said that it may be used."""
    allowed = {word.casefold() for word in request.allow_vulnerable}
    held = [item for item in open_advisories(candidate) if item.id.casefold() not in allowed and not item.condition]
    if not held:
        return None
    first = held[0]
    more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
    return (
        f"{candidate.engine.engine} {candidate.version} has {first.id}{more}: {first.summary.rstrip('.')}; "
        f"{_fixed(candidate, host, first)}, or accept the risk with "
        f"{' '.join(f'--allow-vulnerable {item.id}' for item in held)}"
    )


def open_advisories(candidate: Candidate) -> tuple[Advisory, ...]:
    """Vulnerabilities of the version that would run: introduced before or in it, and fixed after it.

    A version that cannot be compared (a program of the host, `latest`) has none that we know of.
    """
    return tuple(item for item in candidate.advisories if affects(item, candidate.version))


def safe_from(advisories: Iterable[Advisory]) -> str | None:
    """The first version without a known vulnerability that counts; None where there is none, or no fix for one."""
    fixed = [item.fixed for item in advisories if not item.condition]
    known = [version for version in fixed if version is not None and release(version) is not None]
    return max(known, key=lambda version: release(version) or (), default=None) if len(known) == len(fixed) else None


def has_holes(advisories: Iterable[Advisory], version: str) -> bool:
    """True for a version that nobody should be sent to."""
    return any(affects(item, version) for item in advisories if not item.condition)


def vulnerable_parts(host: HostFacts, advisories: Iterable[Advisory]) -> tuple[str, ...]:
    """A warning for each known vulnerability of what containers stand on, in the version of this host."""
    container = host.container
    if container is None:
        return ()
    versions = {"docker-compose": container.compose, "nvidia-container-toolkit": container.nvidia_toolkit}
    found = []
    for item in advisories:
        version = versions.get(item.engine)
        if version is not None and not item.condition and affects(item, version):
            repair = f"update it to {item.fixed} or newer" if item.fixed else "there is no fixed version"
            found.append(f"{item.engine} {version} on this host has {item.id}: {item.summary.rstrip('.')}; {repair}")
    return tuple(found)


def affects(advisory: Advisory, version: str) -> bool:
    """True for a version from `introduced` up to, not including, `fixed`; without `fixed` for all later ones."""
    early = advisory.introduced is not None and older(version, advisory.introduced) is not False
    late = advisory.fixed is not None and older(version, advisory.fixed) is not True
    return not early and not late


def _fixed(candidate: Candidate, host: HostFacts, advisory: Advisory) -> str:
    if advisory.fixed is None:
        return "there is no fixed version"
    safe = next((image for image in candidate.engine.images if _could_replace(image, candidate, host)), None)
    if safe is None:
        return f"fixed in {advisory.fixed}: use that or a newer version"
    now, floor = driver_of(host), _floor(safe, candidate.devices)
    needs = f" with driver {floor} or newer" if now and floor and not at_least(now, floor) else ""
    return f"fixed in {advisory.fixed}: use {safe.id}{needs}"


def _could_replace(image: ImageProfile, candidate: Candidate, host: HostFacts) -> bool:
    """True for a safe image of the same kind that this hardware can run, if need be with a newer driver."""
    alike = image.accelerator == candidate.image.accelerator and image.jetpack == candidate.image.jetpack
    if not alike or has_holes(candidate.advisories, image.version) or not _suits(image, host.cpu.architecture):
        return False
    return all(_has_code(image, device) for device in candidate.devices)


def _has_code(image: ImageProfile, device: Device) -> bool:
    gpu = device.gpu
    if image.accelerator == "rocm":
        return gpu.gfx is None or gpu.gfx in image.gfx
    if image.accelerator != "cuda" or gpu.compute_capability is None:
        return True
    floor, last = _floor(image, (device,)), last_driver(gpu, device.known)
    drivable = floor is None or last is None or numbers(floor)[:1] <= numbers(last)[:1]
    return drivable and code_for(image, gpu) is not None


def _floor(image: ImageProfile, devices: Iterable[Device]) -> str | None:
    """The oldest driver for all of the GPUs: PTX for one of them needs a newer one than machine code."""
    known = [device.gpu for device in devices if device.gpu.compute_capability is not None]
    ptx = image.accelerator == "cuda" and any(code_for(image, gpu) == "ptx" for gpu in known)
    return driver_floor(image, "ptx" if ptx else "sass")
