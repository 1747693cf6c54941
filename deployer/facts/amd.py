"""AMD GPUs from the kernel's own files: the PCI bus, amdgpu's memory counters and the compute topology."""

from pathlib import Path

from deployer.facts import device_files, kfd, pci
from deployer.facts.amd_reading import KFD, Answers, Card, read
from deployer.facts.pci_names import amd_name
from deployer.facts.text import read_text
from deployer.types import AmdFacts, Gpu

_COUNTERS = ("mem_info_vram_total", "mem_info_vram_used", "mem_info_gtt_total", "mem_info_gtt_used")
_DISCRETE = ("mem_info_vram_vendor", "board_info")


def probe(root: Path = Path("/")) -> tuple[AmdFacts | None, tuple[Gpu, ...]]:
    """Ask this machine; files only, so nothing can hang but the kernel."""
    return read(ask(root))


def ask(root: Path = Path("/")) -> Answers:
    """Read the files. Without an AMD card on the bus nothing more is asked."""
    found = pci.cards(pci.AMD, root)
    if not found:
        return Answers(())
    return Answers(
        tuple(_ask_card(card, root) for card in found),
        kfd.ask_nodes(root),
        device_files.ask(KFD, root),
        kfd.ask_holders(root),
        read_text(root / "sys/module/amdgpu/version").strip(),
    )


def _ask_card(card: pci.PciCard, root: Path) -> Card:
    folder = pci.bus(root) / card.address
    numbers = {name: read_text(folder / name).strip() for name in _COUNTERS}
    render = next((item.name for item in sorted(folder.glob("drm/renderD*"))), None)
    return Card(
        pci=card,
        name=amd_name(card, read_text(folder / "product_name").strip(), root),
        counters={name: int(text) for name, text in numbers.items() if text.isdigit()},
        unique_id=read_text(folder / "unique_id").strip(),
        discrete=any((folder / name).exists() for name in _DISCRETE),
        display=pci.has_display(folder),
        render=None if render is None else device_files.ask(f"/dev/dri/{render}", root),
    )
