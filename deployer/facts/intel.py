"""Intel GPUs from the kernel's own files: the PCI bus and the memory that i915 or xe tells.

Sources: Linux `drivers/gpu/drm/xe/xe_vram.c` (`physical_vram_size_bytes`); `lmem_total_bytes` comes only with Intel's
own build of i915. Intel's integrated GPU is always device 2 of bus 0 (`00:02.0`).
"""

from pathlib import Path

import msgspec

from deployer.facts import device_files, pci
from deployer.facts.pci_names import intel_name
from deployer.facts.text import read_text
from deployer.types import Gpu

_MIB = 1024 * 1024
_DRIVERS = ("i915", "xe")
_INTEGRATED_SLOT = "0000:00:02.0"
_ARCHITECTURES = {
    "56a": "alchemist",
    "56b": "alchemist",
    "e20": "battlemage",
    "e21": "battlemage",
    "e22": "battlemage",
}
_MEMORY = ("tile*/physical_vram_size_bytes", "drm/card*/lmem_total_bytes")


class Card(msgspec.Struct, frozen=True):
    """One card; `memory` is what each of its tiles has, in bytes, empty where the driver does not tell."""

    pci: pci.PciCard
    name: str
    memory: tuple[int, ...]
    display: bool
    render: device_files.Answer | None


def probe(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Ask this machine."""
    return read(ask(root))


def ask(root: Path = Path("/")) -> tuple[Card, ...]:
    """Read the files of each Intel card."""
    return tuple(_ask_card(card, root) for card in pci.cards(pci.INTEL, root))


def read(cards: tuple[Card, ...]) -> tuple[Gpu, ...]:
    """Give a `Gpu` for each card, indexes from 0; what no driver tells of its memory stays unknown."""
    return tuple(_gpu(index, card) for index, card in enumerate(cards))


def _ask_card(card: pci.PciCard, root: Path) -> Card:
    folder = pci.bus(root) / card.address
    texts = [read_text(file).strip() for pattern in _MEMORY for file in sorted(folder.glob(pattern))]
    render = next((item.name for item in sorted(folder.glob("drm/renderD*"))), None)
    return Card(
        pci=card,
        name=intel_name(card, root),
        memory=tuple(int(text) for text in texts if text.isdigit()),
        display=pci.has_display(folder),
        render=None if render is None else device_files.ask(f"/dev/dri/{render}", root),
    )


def _gpu(index: int, card: Card) -> Gpu:
    node = None if card.render is None else device_files.read(card.render)
    nodes = () if node is None else (node,)
    driven = card.pci.driver in _DRIVERS
    return Gpu(
        index=index,
        vendor="intel",
        name=card.name,
        pci_bus_id=card.pci.address,
        architecture=_ARCHITECTURES.get(card.pci.device[:3]),
        memory_total_mib=sum(card.memory) // _MIB if card.memory else None,
        unified_memory=card.pci.address == _INTEGRATED_SLOT and not card.memory,
        display=card.display if driven else None,
        error=_error(card),
        driver=card.pci.driver,
        nodes=nodes,
        access=device_files.access(nodes),
    )


def _error(card: Card) -> str | None:
    driver = card.pci.driver
    if driver is None:
        return "This Intel card has no driver: Arc A needs Linux 6.2 or newer, Arc B Linux 6.12 (`sudo modprobe xe`)."
    if driver not in _DRIVERS:
        return f"This Intel card is held by the kernel driver {driver}: bind it to i915 or xe to use it."
    if card.render is None or card.render.mode is None:
        return "The render node of this Intel card is not here: pass it to this container (`--device /dev/dri`)."
    return None
