"""NVIDIA cards on the PCI bus, by sysfs: they are there with or without a driver."""

from pathlib import Path

import msgspec

from deployer.facts.text import read_text

_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"


class PciCard(msgspec.Struct, frozen=True):
    """A graphics card: its address (`0000:03:00.0`), and the kernel driver that holds it, None for none."""

    address: str
    driver: str | None


def nvidia_cards(root: Path = Path("/")) -> tuple[PciCard, ...]:
    """List devices of vendor 0x10de and class 03xx, in the order of the bus."""
    folder = root / "sys/bus/pci/devices"
    try:
        devices = sorted(folder.iterdir())
    except OSError:
        return ()
    return tuple(PciCard(device.name, _driver(device)) for device in devices if _is_nvidia_card(device))


def same_slot(one: str, other: str) -> bool:
    """Compare two PCI addresses; NVML writes the domain with eight digits, sysfs with four."""
    return _slot(one) == _slot(other)


def _slot(address: str) -> tuple[str, str]:
    domain, _, rest = address.lower().partition(":")
    return (domain.lstrip("0"), rest)


def _is_nvidia_card(device: Path) -> bool:
    return read_text(device / "vendor").strip() == _NVIDIA and read_text(device / "class").startswith(_DISPLAY_CLASS)


def _driver(device: Path) -> str | None:
    try:
        return (device / "driver").readlink().name
    except OSError:
        return None
