"""Graphics cards on the PCI bus, by sysfs: they are there with or without a driver."""

from pathlib import Path

import msgspec

from deployer.facts.text import read_text

NVIDIA, AMD, INTEL = "10de", "1002", "8086"
_DISPLAY_CLASS = "0x03"
_ACCELERATOR_CLASS = "0x12"


class PciCard(msgspec.Struct, frozen=True):
    """A graphics card: its address (`0000:03:00.0`), the kernel driver that holds it (None for none), and its numbers.

    `device` and `revision` are hexadecimal without prefix, as in `pci.ids` (`744c`, `c8`).
    """

    address: str
    driver: str | None
    device: str = ""
    revision: str = ""


def cards(vendor: str, root: Path = Path("/")) -> tuple[PciCard, ...]:
    """List the vendor's display controllers (class 03), and AMD's accelerators (class 12), in the order of the bus."""
    try:
        devices = sorted(bus(root).iterdir())
    except OSError:
        return ()
    return tuple(_card(device) for device in devices if _is_card(device, vendor))


def bus(root: Path) -> Path:
    """Give the folder with one folder for each device on the bus."""
    return root / "sys/bus/pci/devices"


def has_display(folder: Path) -> bool:
    """Tell whether a screen shows a picture from the card in this folder (DRM's `enabled` of each connector)."""
    return any(read_text(file).strip() == "enabled" for file in folder.glob("drm/card*/card*-*/enabled"))


def same_slot(one: str, other: str) -> bool:
    """Compare two PCI addresses; NVML writes the domain with eight digits, sysfs with four."""
    return _slot(one) == _slot(other)


def _slot(address: str) -> tuple[str, str]:
    domain, _, rest = address.lower().partition(":")
    return (domain.lstrip("0"), rest)


def _is_card(device: Path, vendor: str) -> bool:
    """Tell a card of this vendor; MI300X calls itself a processing accelerator, not a display."""
    kind = read_text(device / "class")
    if not kind.startswith((_DISPLAY_CLASS, _ACCELERATOR_CLASS)) or _number(device / "vendor") != vendor:
        return False
    return kind.startswith(_DISPLAY_CLASS) or vendor == AMD


def _card(device: Path) -> PciCard:
    try:
        driver = (device / "driver").readlink().name
    except OSError:
        driver = None
    return PciCard(device.name, driver, _number(device / "device"), _number(device / "revision"))


def _number(path: Path) -> str:
    return read_text(path).strip().lower().removeprefix("0x")
