"""AMD's compute driver as the kernel describes it: one node for each processor that ROCm may use.

Sources: Linux `drivers/gpu/drm/amd/amdkfd/kfd_topology.c` (`properties`), `kfd_process.c` (`proc/<pid>/vram_<gpu_id>`).
"""

from pathlib import Path

import msgspec

from deployer.facts.text import read_text

AMD_VENDOR = 0x1002
_FOLDER = "sys/class/kfd/kfd"
_DIGITS = "0123456789abcdef"


class Node(msgspec.Struct, frozen=True):
    """A GPU in the topology: `gfx_target_version`, `location_id` and `unique_id` are the kernel's numbers."""

    gpu_id: str
    gfx_target_version: int
    domain: int
    location_id: int
    drm_render_minor: int
    unique_id: int


class Holder(msgspec.Struct, frozen=True):
    """A process and the bytes it holds of one GPU."""

    pid: int
    gpu_id: str
    bytes: int
    name: str | None


def ask_nodes(root: Path = Path("/")) -> tuple[Node, ...]:
    """Read the AMD GPUs in the order of their nodes, which is the order in which ROCm counts them.

    A node that belongs to a card outside this container is refused by the kernel, and so is left out.
    """
    folders = _numbered(root / _FOLDER / "topology/nodes")
    found = (read_node(read_text(folder / "gpu_id"), read_text(folder / "properties")) for folder in folders)
    return tuple(node for node in found if node is not None)


def read_node(gpu_id: str, properties: str) -> Node | None:
    """Read one node's `key value` lines; None for a CPU, or for another vendor."""
    values = {}
    for line in properties.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            values[key] = int(value)
    if values.get("vendor_id") != AMD_VENDOR or not values.get("gfx_target_version"):
        return None
    names = ("gfx_target_version", "domain", "location_id", "drm_render_minor", "unique_id")
    return Node(gpu_id.strip(), **{name: values.get(name, 0) for name in names})


def ask_holders(root: Path = Path("/")) -> tuple[Holder, ...]:
    """List the processes that hold memory of a GPU, with the name the kernel keeps of each."""
    found = []
    for folder in _numbered(root / _FOLDER / "proc"):
        name = read_text(root / "proc" / folder.name / "comm").strip() or None
        for file in sorted(folder.glob("vram_*")):
            size = read_text(file).strip()
            if size.isdigit():
                found.append(Holder(int(folder.name), file.name.removeprefix("vram_"), int(size), name))
    return tuple(found)


def gfx_name(version: int) -> str | None:
    """Name a target: 90010 is gfx90a (major x 10000 + minor x 100 + step; minor and step are hexadecimal digits)."""
    major, minor, step = version // 10000, version // 100 % 100, version % 100
    known = version and max(minor, step) < len(_DIGITS)
    return f"gfx{major}{_DIGITS[minor]}{_DIGITS[step]}" if known else None


def address(node: Node) -> str:
    """Give the PCI address; `location_id` is bus x 256 + device x 8 + function."""
    bus, device, function = node.location_id >> 8, node.location_id >> 3 & 31, node.location_id & 7
    return f"{node.domain:04x}:{bus:02x}:{device:02x}.{function}"


def _numbered(folder: Path) -> list[Path]:
    try:
        return sorted((item for item in folder.iterdir() if item.name.isdigit()), key=lambda item: int(item.name))
    except OSError:
        return []
