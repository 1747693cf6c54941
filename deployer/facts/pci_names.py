"""Names of AMD and Intel cards from their PCI numbers; the drivers of both give none for most cards.

Sources: libdrm `data/amdgpu.ids` (device, revision, name), hwdata `pci.ids`. AMD's names are as in `amdgpu.ids` without
the word Graphics. What is not listed here is looked up in the host's own copies of those two files.
"""

from pathlib import Path

from deployer.facts.pci import AMD, INTEL, PciCard
from deployer.facts.text import read_text

_AMD = {
    ("1586", "c1"): "Radeon 8060S",
    ("1586", "d1"): "Radeon 8060S",
    ("66a1", "02"): "Instinct MI60 / MI50",
    ("66a1", "06"): "Radeon Pro VII",
    ("66af", "c1"): "Radeon VII",
    ("738c", "01"): "Instinct MI100",
    ("73a3", "00"): "Radeon Pro W6800",
    ("73a5", "c0"): "Radeon RX 6950 XT",
    ("73af", "c0"): "Radeon RX 6900 XT",
    ("73bf", "c0"): "Radeon RX 6900 XT",
    ("73bf", "c1"): "Radeon RX 6800 XT",
    ("73bf", "c3"): "Radeon RX 6800",
    ("73df", "c0"): "Radeon RX 6750 XT",
    ("73df", "c1"): "Radeon RX 6700 XT",
    ("73df", "c5"): "Radeon RX 6700 XT",
    ("73ff", "c1"): "Radeon RX 6600 XT",
    ("73ff", "c7"): "Radeon RX 6600",
    ("740c", "01"): "Instinct MI250X / MI250",
    ("740f", "02"): "Instinct MI210",
    ("7448", "00"): "Radeon Pro W7900",
    ("744c", "c8"): "Radeon RX 7900 XTX",
    ("744c", "cc"): "Radeon RX 7900 XT",
    ("744c", "ce"): "Radeon RX 7900 GRE",
    ("745e", "cc"): "Radeon Pro W7800",
    ("747e", "c8"): "Radeon RX 7800 XT",
    ("747e", "ff"): "Radeon RX 7700 XT",
    ("7480", "c0"): "Radeon RX 7600 XT",
    ("7480", "cf"): "Radeon RX 7600",
    ("74a0", "00"): "Instinct MI300A",
    ("74a1", "00"): "Instinct MI300X",
    ("74a5", "00"): "Instinct MI325X",
    ("7550", "c0"): "Radeon RX 9070 XT",
    ("7550", "c3"): "Radeon RX 9070",
    ("7551", "c0"): "Radeon AI PRO R9700",
    ("7590", "c0"): "Radeon RX 9060 XT",
    ("75a0", "00"): "Instinct MI350X",
    ("75a3", "00"): "Instinct MI355X",
}
_INTEL = {
    "56a0": "Arc A770",
    "7d55": "Arc Graphics",
    "a780": "UHD Graphics 770",
    "e20b": "Arc B580",
    "e211": "Arc Pro B60",
    "e222": "Arc Pro B65",
    "e223": "Arc Pro B70",
}
_AMDGPU_IDS = "usr/share/libdrm/amdgpu.ids"
_PCI_IDS = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids")


def amd_name(card: PciCard, product: str = "", root: Path = Path("/")) -> str:
    """Name an AMD card; `product` is what its own memory says, on boards that have one.

    One that no list has is named by its numbers, as `lspci` does.
    """
    known = _AMD.get((card.device, card.revision)) or product.removeprefix("AMD ") or _in_amdgpu_ids(card, root)
    known = known or _in_pci_ids(AMD, card.device, root)
    return f"AMD {known}" if known else f"AMD GPU {AMD}:{card.device}"


def intel_name(card: PciCard, root: Path = Path("/")) -> str:
    """Name an Intel card; one that no list has is named by its numbers."""
    known = _INTEL.get(card.device) or _in_pci_ids(INTEL, card.device, root)
    return f"Intel {known}" if known else f"Intel GPU {INTEL}:{card.device}"


def _in_amdgpu_ids(card: PciCard, root: Path) -> str | None:
    """Find `744C,	C8,	AMD Radeon RX 7900 XTX`."""
    for line in read_text(root / _AMDGPU_IDS).splitlines():
        device, _, rest = line.partition(",")
        revision, _, name = rest.partition(",")
        if (device.strip().lower(), revision.strip().lower()) == (card.device, card.revision):
            return name.strip().removeprefix("AMD ").removesuffix(" Graphics") or None
    return None


def _in_pci_ids(vendor: str, device: str, root: Path) -> str | None:
    """Find the vendor's device in the first `pci.ids`; of `DG2 [Arc A750]` the part in brackets is the card's name."""
    text = next((found for found in (read_text(root / path) for path in _PCI_IDS) if found), "")
    _, found, section = f"\n{text}".partition(f"\n{vendor}  ")
    for line in section.splitlines()[1:] if found and device else ():
        if line[:1] not in {"\t", "#", ""}:
            break
        if line.startswith(f"\t{device}  "):
            name = line[len(device) + 3 :].strip()
            inside = name.partition("[")[2].rpartition("]")[0] or name
            return inside.removeprefix("Intel ").removeprefix("AMD ") or None
    return None
