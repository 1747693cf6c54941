"""What the kernel's files say of AMD cards: facts, and errors as sentences. Pure.

Sources: Linux `Documentation/gpu/amdgpu/driver-misc.rst` (`mem_info_*`, `unique_id`, `product_name`), ollama
`discover/amd.go` (which card is integrated), LLVM `AMDGPUUsage.rst` (targets).
"""

import msgspec

from deployer.facts import device_files, kfd, pci
from deployer.types import AmdFacts, DeviceNode, Gpu, GpuProcess

KFD = "/dev/kfd"
_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_DRIVER = "amdgpu"
_CDNA = {"gfx908": "cdna", "gfx90a": "cdna2", "gfx942": "cdna3", "gfx950": "cdna4"}
_FAMILIES = {"gfx90": "gcn5", "gfx101": "rdna", "gfx103": "rdna2", "gfx110": "rdna3", "gfx115": "rdna3.5"}
_FAMILIES |= {"gfx120": "rdna4"}


class Card(msgspec.Struct, frozen=True):
    """One card: its files in sysfs, and its render node. `discrete`: it has a file that only a board of its own has."""

    pci: pci.PciCard
    name: str
    counters: dict[str, int]
    unique_id: str
    discrete: bool
    display: bool
    render: device_files.Answer | None


class Answers(msgspec.Struct, frozen=True):
    """All cards of the bus, the compute topology, `/dev/kfd`, who holds memory, and amdgpu's own version."""

    cards: tuple[Card, ...]
    nodes: tuple[kfd.Node, ...] = ()
    compute: device_files.Answer = device_files.Answer(KFD)
    holders: tuple[kfd.Holder, ...] = ()
    version: str = ""


def read(answers: Answers) -> tuple[AmdFacts | None, tuple[Gpu, ...]]:
    """Give the driver's facts (None without a card that it holds) and a `Gpu` for each card, in ROCm's order.

    Indexes start at 0. A card that another driver or none holds, or whose device file is missing, keeps its error.
    """
    nodes = {kfd.address(node): node for node in answers.nodes}
    order = list(nodes)
    cards = sorted(answers.cards, key=lambda card: order.index(_at(card)) if _at(card) in nodes else len(order))
    gpus = tuple(_gpu(place, card, nodes.get(_at(card)), answers) for place, card in enumerate(cards))
    if not any(gpu.driver == _DRIVER for gpu in gpus):
        return None, gpus
    return AmdFacts(driver=answers.version or None, error=_rocm_error(answers, gpus)), gpus


def architecture(gfx: str | None) -> str | None:
    """Name the architecture of a target ("gfx1100": rdna3); None for one that is not known here."""
    if gfx is None:
        return None
    return _CDNA.get(gfx) or _FAMILIES.get(gfx[:-1])


def is_integrated(card: Card) -> bool:
    """Tell a GPU in the processor: no file of a board, a small carve-out, and far more of the host's memory.

    Ollama's rule: up to 4 GiB of its own, at least 8 GiB and four times as much shared (GTT). With a larger carve-out
    the carve-out is what counts, and it is no longer the host's memory.
    """
    own, shared = card.counters.get("mem_info_vram_total", 0), card.counters.get("mem_info_gtt_total", 0)
    return not card.discrete and 0 < own <= 4 * _GIB and shared >= max(8 * _GIB, 4 * own)


def _at(card: Card) -> str:
    return card.pci.address


def _gpu(index: int, card: Card, node: kfd.Node | None, answers: Answers) -> Gpu:
    gfx = None if node is None else kfd.gfx_name(node.gfx_target_version)
    integrated = is_integrated(card)
    files = [answers.compute if node is not None else None, card.render]
    nodes = tuple(found for found in map(_node, files) if found is not None)
    total, free = _memory(card, "gtt" if integrated else "vram")
    return Gpu(
        index=index,
        vendor="amd",
        name=card.name,
        uuid=_uuid(card, node),
        pci_bus_id=_at(card),
        architecture=architecture(gfx),
        gfx=gfx,
        memory_total_mib=total,
        memory_free_mib=free,
        unified_memory=integrated if card.counters else None,
        display=card.display if card.pci.driver == _DRIVER else None,
        processes=_processes(node, answers),
        error=_error(card),
        driver=card.pci.driver,
        nodes=nodes,
        access=device_files.access(nodes),
    )


def _node(answer: device_files.Answer | None) -> DeviceNode | None:
    return None if answer is None else device_files.read(answer)


def _memory(card: Card, kind: str) -> tuple[int | None, int | None]:
    """Give (total, free) in MiB of the card's own memory (`vram`) or of its share of the host's (`gtt`)."""
    total, used = card.counters.get(f"mem_info_{kind}_total"), card.counters.get(f"mem_info_{kind}_used")
    if total is None:
        return None, None
    return total // _MIB, None if used is None else max(0, total - used) // _MIB


def _uuid(card: Card, node: kfd.Node | None) -> str | None:
    """Give ROCm's name for the card, as ROCR_VISIBLE_DEVICES takes it: `GPU-` and the sixteen digits of unique_id."""
    number = card.unique_id.lower().removeprefix("0x") or (f"{node.unique_id:x}" if node is not None else "")
    return f"GPU-{number.rjust(16, '0')}" if number.strip("0") else None


def _processes(node: kfd.Node | None, answers: Answers) -> tuple[GpuProcess, ...] | None:
    """List who computes on the card; a program that only draws is not known to the compute driver."""
    if node is None:
        return None
    return tuple(
        GpuProcess(pid=holder.pid, name=holder.name, memory_mib=holder.bytes // _MIB)
        for holder in answers.holders
        if holder.gpu_id == node.gpu_id
    )


def _error(card: Card) -> str | None:
    """Say why a card cannot be used at all."""
    match card.pci.driver:
        case "amdgpu":
            if card.render is None:
                return "The amdgpu driver has no render node for this AMD card: read `dmesg` for amdgpu lines."
            if card.render.mode is None:
                return (
                    f"{card.render.path} of this AMD card is not here: pass it to this container "
                    "(`--device /dev/dri --device /dev/kfd`)."
                )
            return None
        case None:
            return "This AMD card has no driver: load it with `sudo modprobe amdgpu` and read `dmesg` for amdgpu lines."
        case "vfio-pci":
            return (
                "This AMD card is held by vfio-pci, for virtual machines: run deployer in the machine that has it, or "
                "bind it to amdgpu."
            )
        case other:
            return f"This AMD card is held by the kernel driver {other}: bind it to amdgpu to use it."


def _rocm_error(answers: Answers, gpus: tuple[Gpu, ...]) -> str | None:
    """Say why ROCm cannot work although amdgpu does."""
    usable = [gpu for gpu in gpus if gpu.driver == _DRIVER and gpu.error is None]
    if answers.compute.mode is None:
        return (
            "/dev/kfd is not here, which ROCm needs: pass it to this container (`--device /dev/kfd`), or use a kernel "
            "with CONFIG_HSA_AMD. Vulkan works without it."
        )
    unlisted = [gpu.pci_bus_id or "" for gpu in usable if gpu.gfx is None]
    if unlisted:
        return (
            f"The compute driver does not offer the AMD card at {', '.join(unlisted)}: it is too old for ROCm, or its "
            "slot lacks PCIe atomics (`dmesg` has lines of kfd). Vulkan works without it."
        )
    return None
