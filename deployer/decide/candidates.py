"""Engine x image x variant x device set: everything that could be tried, before any rule."""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from deployer.decide.host import label, lookup, short_name
from deployer.decide.version import capability
from deployer.errors import BadInputError
from deployer.types import (
    Advisory,
    EngineProfile,
    Gpu,
    GpuModel,
    HostFacts,
    ImageProfile,
    ModelVariant,
    Request,
    RuntimeName,
)

TINY_MIB = 3072
"""A card below this is a display adapter, not a place for a model."""


class Device(msgspec.Struct, frozen=True, cache_hash=True):
    """A GPU that may be used, and what is known of it by name."""

    gpu: Gpu
    known: GpuModel | None = None


def has_tensor_cores(device: Device) -> bool:
    """Whether an NVIDIA GPU multiplies matrices in hardware: from 7.0 on, but for Turing's smallest chips."""
    if device.known is not None and device.known.tensor_cores is not None:
        return device.known.tensor_cores
    if device.gpu.compute_capability == _TURING and _SMALL_TURING.search(device.gpu.name or ""):
        return False
    return capability(device.gpu.compute_capability or "") >= _TENSOR_CORES


_TENSOR_CORES, _TURING = (7, 0), "7.5"
_SMALL_TURING = re.compile(r"\b(GTX 16\d\d|MX[45]\d\d|T\d{3,4}|CMP 30HX)\b")
"""Names of Turing's smallest chips, TU116 and TU117 (NVIDIA Turing architecture white paper)."""


class Candidate(msgspec.Struct, frozen=True):
    """One thing that could be started. No devices: the CPU, or a GPU image on a host without a GPU for it.

    `unavailable` says why the image cannot be had; None when it can, or when an older verified one stands in, whose
    version is `stands_in`. `advisories` are the known vulnerabilities of the engine. The devices are `data_parallel`
    whole copies of the model, each in `pipeline_parallel` stages of layers (both 1 for a layer split).
    """

    engine: EngineProfile
    image: ImageProfile
    variant: ModelVariant
    devices: tuple[Device, ...] = ()
    unavailable: str | None = None
    stands_in: str | None = None
    advisories: tuple[Advisory, ...] = ()
    data_parallel: int = 1
    pipeline_parallel: int = 1

    @property
    def tensor_parallel(self) -> int:
        """GPUs that share every matrix, in an engine that divides a model so."""
        return max(len(self.devices) // (self.data_parallel * self.pipeline_parallel), 1)

    @property
    def version(self) -> str:
        """Version of the engine that would run: of the image, or of an older one that stands in for it."""
        return self.stands_in or self.image.version

    @property
    def runtime(self) -> RuntimeName:
        """How this image is run."""
        return "process" if self.image.program is not None else "compose"

    @property
    def on_cpu(self) -> bool:
        """True for an image without GPU code."""
        return self.image.accelerator == "cpu"


def describe(devices: Sequence[Device]) -> str:
    """`2 x Tesla P40`, `GeForce RTX 3090 + Tesla P40`, or `CPU`."""
    if not devices:
        return "CPU"
    counts: dict[str, int] = {}
    for device in devices:
        name = short_name(device.gpu)
        counts[name] = counts.get(name, 0) + 1
    return " + ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())


def usable_devices(
    host: HostFacts, request: Request, table: Mapping[str, GpuModel]
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """The GPUs that may be used, by index, and a warning for each that may not.

    Asked GPUs (`--gpus 0,1`) are exactly those. Left out otherwise: a GPU with an error, a tiny card, and a card that
    drives a display while one at least as capable and as large is there. Raises BadInputError for an asked GPU that
    does not exist or reports an error.
    """
    gpus = sorted(host.gpus, key=lambda gpu: gpu.index)
    warnings: list[str] = []
    if request.gpus is not None:
        chosen = [_asked(index, gpus) for index in sorted(request.gpus)]
    else:
        chosen, warnings = _willing(gpus)
    found = [Device(part, _known(part, gpu, table)) for gpu in chosen for part in _mig_slices(gpu)]
    return tuple(found), tuple(warnings)


def _known(part: Gpu, whole: Gpu, table: Mapping[str, GpuModel]) -> GpuModel | None:
    """What is known of a GPU; of a MIG slice, whose memory is slices of the whole, the same part of the bandwidth.

    Source: NVIDIA Multi-Instance GPU User Guide, "Memory slice" (an eighth of memory and bandwidth).
    """
    card = (whole.name or "").partition(" MIG ")[0]
    known = lookup(card, table)
    if known is None or (part is whole and card == whole.name) or not part.memory_total_mib:
        return known
    share = min(part.memory_total_mib / known.memory_mib, 1.0)
    return msgspec.structs.replace(known, bandwidth_gb_s=max(int(known.bandwidth_gb_s * share), 1), linked=False)


def _asked(index: int, gpus: Iterable[Gpu]) -> Gpu:
    found = next((gpu for gpu in gpus if gpu.index == index), None)
    known = ", ".join(str(gpu.index) for gpu in gpus) or "none"
    if found is None:
        raise BadInputError(f"--gpus {index}: this host has no GPU {index}", hint=f"GPUs of this host: {known}")
    if found.error:
        raise BadInputError(f"--gpus {index}: {label(found)} reports an error: {found.error}", hint=f"GPUs: {known}")
    if is_slice(found) and not _mig_slices(found):
        raise BadInputError(f"--gpus {index}: {label(found)}: {_NO_SLICES}", hint=f"GPUs: {known}")
    return found


_NO_SLICES = (
    "it is in MIG mode and has no slices; make some (nvidia-smi mig -lgip lists the kinds), or turn MIG off "
    "(nvidia-smi -mig 0)"
)
"""NVIDIA Multi-Instance GPU User Guide: "Without creating GPU instances … CUDA workloads cannot be run on the GPU"."""


def _willing(gpus: Sequence[Gpu]) -> tuple[list[Gpu], list[str]]:
    chosen, warnings = [], []
    for gpu in gpus:
        if gpu.error:
            warnings.append(f"{label(gpu)} is left out: it reports an error: {gpu.error}")
        elif is_slice(gpu) and not _mig_slices(gpu):
            warnings.append(f"{label(gpu)} is left out: {_NO_SLICES}")
        elif gpu.memory_total_mib is not None and gpu.memory_total_mib < TINY_MIB:
            warnings.append(f"{label(gpu)} is left out: {gpu.memory_total_mib} MiB is too little for a model")
        else:
            chosen.append(gpu)
    for gpu in [gpu for gpu in chosen if gpu.display]:
        if any(_replaces(other, gpu) for other in chosen if other is not gpu and not other.display):
            warnings.append(f"{label(gpu)} is left out: it drives a display (--gpus {gpu.index} uses it all the same)")
            chosen = [other for other in chosen if other is not gpu]
    return chosen, warnings


def _replaces(other: Gpu, display: Gpu) -> bool:
    """A display card is worth leaving alone when another one is at least as capable and as large."""
    return (
        other.vendor == display.vendor
        and capability(other.compute_capability or "") >= capability(display.compute_capability or "")
        and (other.memory_total_mib or 0) >= (display.memory_total_mib or 0)
    )


def _mig_slices(gpu: Gpu) -> tuple[Gpu, ...]:
    if gpu.mig is None or not is_slice(gpu):
        return (gpu,)
    return tuple(
        msgspec.structs.replace(
            gpu,
            uuid=part.uuid,
            name=part.name or gpu.name,
            memory_total_mib=part.memory_total_mib,
            memory_free_mib=part.memory_free_mib if part.memory_free_mib is not None else part.memory_total_mib,
        )
        for part in gpu.mig.devices
    )


def is_slice(gpu: Gpu) -> bool:
    """True for a GPU that is cut into MIG slices, and for a slice of it."""
    return gpu.mig is not None and gpu.mig.enabled
