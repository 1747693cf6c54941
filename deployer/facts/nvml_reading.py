"""What NVML's answers mean: facts, and errors as sentences. Pure."""

from collections.abc import Sequence

from deployer.facts import nvml_errors
from deployer.facts.nvml_lines import DeviceLine, DriverLine, Lines, SliceLine
from deployer.facts.pci import PciCard, same_slot
from deployer.types import Gpu, GpuProcess, MigDevice, MigFacts, NvidiaFacts

_MIB = 1024 * 1024
_PASSED_ON = "vfio-pci"
_FROM_VFIO = "run deployer in the machine that has it, or bind it to the nvidia driver"
_INTEGRATED = frozenset({"5.3", "6.2", "7.2", "8.7", "10.1", "11.0", "12.1"})
_ARCHITECTURES = {
    2: "fermi",
    3: "kepler",
    5: "maxwell",
    6: "pascal",
    8: "ampere",
    9: "hopper",
    10: "blackwell",
    11: "blackwell",
    12: "blackwell",
}
_EXCEPTIONS = {"7.0": "volta", "7.2": "volta", "7.5": "turing", "8.9": "ada", "10.7": "rubin"}


def read(
    lines: Lines, *, status: int, timeout_s: float | None, cards: Sequence[PciCard]
) -> tuple[NvidiaFacts, tuple[Gpu, ...]]:
    """Give the driver's facts and a `Gpu` for each card.

    `status` is the child's exit status (-signal), `timeout_s` the limit that cut it off (None: it ended by itself).
    A GPU that was not answered for, or that only the PCI bus knows, stays in the list with its error.
    """
    ended = _ended(status, timeout_s)
    first = lines.driver
    if first is None:
        unread = ended or "The NVML probe gave no readable answer: reinstall the NVIDIA driver."
        return NvidiaFacts(error=unread), unanswered(cards)
    if first.init_error is not None:
        return NvidiaFacts(error=nvml_errors.driver_error(first.init_error)), unanswered(cards)
    gpus = [_gpu(line) for line in lines.devices]
    silent = range(len(gpus), first.count.value or 0)
    gpus += [
        Gpu(index=index, vendor="nvidia", error=ended or "The NVML probe ended before this GPU.") for index in silent
    ]
    if not ended:
        gpus += _unlisted(gpus, cards, first.driver.value)
    return _driver(first, gpus), tuple(gpus)


def _ended(status: int, timeout_s: float | None) -> str | None:
    """Say how the child failed; None when it ended well."""
    if timeout_s is not None:
        return (
            f"NVML did not answer within {timeout_s:g} s: the driver or this GPU hangs. Read `dmesg` for Xid lines and "
            "reboot; without persistence mode try `sudo nvidia-smi -pm 1`."
        )
    if status != 0:
        return f"The NVML probe failed (exit status {status}): reinstall the NVIDIA driver."
    return None


def _driver(line: DriverLine, gpus: Sequence[Gpu]) -> NvidiaFacts:
    """Give driver and CUDA version; an error when the driver can serve no GPU at all."""
    error = next((code for code in (line.count.error, line.driver.error) if code is not None), None)
    if error is None and line.cuda.error not in nvml_errors.UNKNOWN_FACT:
        error = line.cuda.error
    sentence = None if error is None else nvml_errors.driver_error(error)
    if sentence is None and not gpus:
        sentence = (
            "The NVIDIA driver is loaded but lists no GPU: none is installed, or none was passed to this container."
        )
    return NvidiaFacts(driver=line.driver.value, cuda=cuda_version(line.cuda.value), error=sentence)


def cuda_version(number: int | None) -> str | None:
    """Turn 12020 into "12.2" (1000 x major + 10 x minor)."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def architecture(compute_capability: str | None) -> str | None:
    """Name the architecture of a compute capability ("6.1": pascal); None for one that is not known here."""
    if compute_capability is None:
        return None
    if compute_capability in _EXCEPTIONS:
        return _EXCEPTIONS[compute_capability]
    return _ARCHITECTURES.get(int(compute_capability.split(".")[0]))


def _gpu(line: DeviceLine) -> Gpu:
    """Read one GPU. Memory that NVML cannot tell stays unknown; on an integrated GPU it is the host's memory."""
    if line.handle_error is not None:
        return Gpu(index=line.index, vendor="nvidia", error=nvml_errors.device_error(line.handle_error))
    pair = line.compute_capability.value
    capability = None if pair is None else f"{pair[0]}.{pair[1]}"
    total, free, reserved = line.memory.value or (None, None, None)
    return Gpu(
        index=line.index,
        vendor="nvidia",
        name=line.name.value,
        uuid=line.uuid.value,
        pci_bus_id=line.pci_bus_id.value,
        architecture=architecture(capability),
        compute_capability=capability,
        memory_total_mib=_mib(total),
        memory_free_mib=_mib(free),
        memory_reserved_mib=_mib(reserved),
        unified_memory=_unified(line, capability),
        display=None if line.display.value is None else bool(line.display.value),
        mig=_mig(line),
        processes=_processes(line),
        error=_error(line),
    )


def _unified(line: DeviceLine, capability: str | None) -> bool | None:
    """Tell an integrated GPU: NVML has no memory of its own to report (DGX Spark and Jetson: nvitop#208)."""
    if line.memory.value is not None:
        return False
    return True if line.memory.error == nvml_errors.NOT_SUPPORTED and capability in _INTEGRATED else None


def _processes(line: DeviceLine) -> tuple[GpuProcess, ...] | None:
    if line.processes.value is None:
        return None
    return tuple(
        GpuProcess(pid=pid, name=_program(name), memory_mib=_mib(memory)) for pid, name, memory in line.processes.value
    )


def _program(name: str | None) -> str | None:
    """Keep the program's own name; the rest may be a command line, and a command line may hold a secret."""
    first = (name or "").split()
    return first[0].rsplit("/", 1)[-1] if first else None


def _mig(line: DeviceLine) -> MigFacts | None:
    if line.mig.value is None:
        return None
    return MigFacts(enabled=bool(line.mig.value[0]), devices=tuple(_slice(part) for part in line.slices))


def _slice(part: SliceLine) -> MigDevice:
    total, free, _ = part.memory.value or (None, None, None)
    return MigDevice(
        uuid=part.uuid.value, name=part.name.value, memory_total_mib=_mib(total), memory_free_mib=_mib(free)
    )


def _error(line: DeviceLine) -> str | None:
    """Give the worst error: a lost GPU in any call, else a refusal of what a GPU must tell.

    With MIG on, the whole card's memory needs a privilege, and only its slices matter.
    """
    partitioned = line.mig.value is not None and bool(line.mig.value[0])
    needed = [line.name.error, line.uuid.error, line.compute_capability.error]
    needed += [] if partitioned else [line.memory.error]
    everything = [*needed, line.memory.error, line.processes.error, line.mig.error, line.display.error]
    fatal = [code for code in everything if code in nvml_errors.FATAL]
    refused = [code for code in needed if code is not None and code not in nvml_errors.UNKNOWN_FACT]
    worst = next(iter(fatal + refused), None)
    return None if worst is None else nvml_errors.device_error(worst)


def _unlisted(gpus: Sequence[Gpu], cards: Sequence[PciCard], driver: str | None) -> list[Gpu]:
    """Give the cards that the bus has and NVML does not list, such as a Kepler card under a driver after R470."""
    known = [gpu.pci_bus_id for gpu in gpus if gpu.pci_bus_id]
    if len(known) < len(gpus):
        return []
    missing = [card for card in cards if not any(same_slot(card.address, address) for address in known)]
    return [
        Gpu(
            index=len(gpus) + place,
            vendor="nvidia",
            pci_bus_id=card.address,
            driver=card.driver,
            error=_why_unlisted(card, driver),
        )
        for place, card in enumerate(missing)
    ]


def unanswered(cards: Sequence[PciCard]) -> tuple[Gpu, ...]:
    """The cards of the bus, of which a driver that does not answer tells nothing; they do not vanish from the list."""
    return tuple(
        Gpu(
            index=index,
            vendor="nvidia",
            pci_bus_id=card.address,
            driver=card.driver,
            error=_why_held(card) if card.driver not in {"nvidia", None} else _NO_ANSWER,
        )
        for index, card in enumerate(cards)
    )


_NO_ANSWER = "This NVIDIA card is on the PCI bus, but the driver answers for none."


def without_driver(cards: Sequence[PciCard]) -> tuple[NvidiaFacts | None, tuple[Gpu, ...]]:
    """Tell cards without a driver from a machine without a card; the cards stay in the list with their error."""
    if not cards:
        return None, ()
    where = ", ".join(f"{card.address} (kernel driver: {card.driver or 'none'})" for card in cards)
    if all(card.driver == _PASSED_ON for card in cards):
        error = f"Every NVIDIA card is held by vfio-pci for virtual machines, at {where}: {_FROM_VFIO}."
    else:
        error = f"NVIDIA card without a driver at {where}: install the NVIDIA driver, then reboot."
    gpus = tuple(
        Gpu(index=index, vendor="nvidia", pci_bus_id=card.address, driver=card.driver, error=_why_undriven(card))
        for index, card in enumerate(cards)
    )
    return NvidiaFacts(error=error), gpus


def _why_undriven(card: PciCard) -> str:
    if card.driver in {"nvidia", None}:
        return "This NVIDIA card has no driver here: install the NVIDIA driver, then reboot."
    return _why_held(card)


def _why_held(card: PciCard) -> str:
    if card.driver == _PASSED_ON:
        return f"This NVIDIA card is held by the kernel driver vfio-pci for virtual machines: {_FROM_VFIO}."
    return f"This NVIDIA card is held by the kernel driver {card.driver}: bind it to the nvidia driver to use it."


def _why_unlisted(card: PciCard, driver: str | None) -> str:
    if card.driver not in {"nvidia", None}:
        return _why_held(card)
    return (
        f"This NVIDIA card is on the PCI bus, but driver {driver or 'unknown'} does not offer it: the branch has "
        "dropped it (Kepler ends with 470; Maxwell, Pascal and Volta with 580), it was not passed to this container, "
        "or the open kernel modules are loaded, which serve Turing and newer only (`modinfo -F license nvidia` then "
        "says Dual MIT/GPL: install the proprietary ones)."
    )


def _mib(size: int | None) -> int | None:
    return None if size is None else size // _MIB
