"""Engine x image x variant x device set: everything that could be tried, before any rule."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from deployer.decide.host import label, lookup, short_name
from deployer.decide.version import capability
from deployer.errors import BadInputError
from deployer.types import (
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

SAME_MEMORY = 0.05
"""GPUs whose total memory differs by no more than this part are alike."""


class Device(msgspec.Struct, frozen=True):
    """A GPU that may be used, and what is known of it by name."""

    gpu: Gpu
    known: GpuModel | None = None


class Candidate(msgspec.Struct, frozen=True):
    """One thing that could be started. No devices: the CPU, or a GPU image on a host without a GPU for it.

    `unavailable` says why the image cannot be had; None when it can, or when an older verified one stands in.
    """

    engine: EngineProfile
    image: ImageProfile
    variant: ModelVariant
    devices: tuple[Device, ...] = ()
    unavailable: str | None = None

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
    slices = [part for gpu in chosen for part in _mig_slices(gpu)]
    return tuple(Device(gpu, lookup(gpu.name, table)) for gpu in slices), tuple(warnings)


def device_sets(devices: Sequence[Device]) -> tuple[tuple[Device, ...], ...]:
    """Sets worth trying, in a stable order; each set is sorted by index and has one vendor.

    The best single card of each kind, growing groups of like cards, and growing sets of all cards by free memory
    (for an uneven layer split). MIG slices are never combined.
    """
    found: dict[tuple[tuple[int, str | None], ...], tuple[Device, ...]] = {}
    groups = [*_alike(devices), *_by_vendor(devices)]
    for group in groups:
        ordered = sorted(group, key=lambda device: (-_free(device), device.gpu.index))
        for count in range(1, len(ordered) + 1):
            chosen = tuple(sorted(ordered[:count], key=lambda device: device.gpu.index))
            found.setdefault(tuple((device.gpu.index, device.gpu.uuid) for device in chosen), chosen)
    return tuple(sorted(found.values(), key=len))


def _asked(index: int, gpus: Iterable[Gpu]) -> Gpu:
    found = next((gpu for gpu in gpus if gpu.index == index), None)
    known = ", ".join(str(gpu.index) for gpu in gpus) or "none"
    if found is None:
        raise BadInputError(f"--gpus {index}: this host has no GPU {index}", hint=f"GPUs of this host: {known}")
    if found.error:
        raise BadInputError(f"--gpus {index}: {label(found)} reports an error: {found.error}", hint=f"GPUs: {known}")
    return found


def _willing(gpus: Sequence[Gpu]) -> tuple[list[Gpu], list[str]]:
    chosen, warnings = [], []
    for gpu in gpus:
        if gpu.error:
            warnings.append(f"{label(gpu)} is left out: it reports an error: {gpu.error}")
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
    if gpu.mig is None or not _is_slice(gpu):
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


def _is_slice(gpu: Gpu) -> bool:
    return gpu.mig is not None and gpu.mig.enabled


def _free(device: Device) -> int:
    return device.gpu.memory_free_mib or 0


def _alike(devices: Sequence[Device]) -> list[list[Device]]:
    """Groups of the same vendor, capability and total memory; a MIG slice is a group of its own."""
    groups: list[list[Device]] = []
    for device in devices:
        home = next((group for group in groups if _same_kind(group[0].gpu, device.gpu)), None)
        if home is None:
            groups.append([device])
        else:
            home.append(device)
    return groups


def _same_kind(one: Gpu, other: Gpu) -> bool:
    if _is_slice(one) or _is_slice(other):
        return False
    kind = (one.vendor, one.compute_capability, one.gfx)
    first, second = one.memory_total_mib, other.memory_total_mib
    if kind != (other.vendor, other.compute_capability, other.gfx) or first is None or second is None:
        return False
    return abs(first - second) <= SAME_MEMORY * max(first, second)


def _by_vendor(devices: Sequence[Device]) -> list[list[Device]]:
    groups: dict[str | None, list[Device]] = {}
    for device in devices:
        if not _is_slice(device.gpu) and device.gpu.memory_free_mib is not None:
            groups.setdefault(device.gpu.vendor, []).append(device)
    return list(groups.values())
