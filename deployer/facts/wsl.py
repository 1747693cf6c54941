"""WSL: Windows passes one paravirtual device for all its graphics cards, and only NVIDIA's comes with a library.

Sources: Microsoft "GPU accelerated ML training in WSL" (`/dev/dxg`, `/usr/lib/wsl/lib`); AMD's and Intel's cards have
neither `/sys/class/kfd` nor a render node there.
"""

from pathlib import Path

import msgspec

from deployer.types import Gpu

LIBRARIES = "usr/lib/wsl/lib"
_NVML = "libnvidia-ml.so.1"


class Answers(msgspec.Struct, frozen=True):
    """Whether Windows passes graphics cards, and whether NVIDIA's library came with them."""

    device: bool
    nvidia: bool


def probe(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Ask this machine."""
    return read(ask(root))


def ask(root: Path = Path("/")) -> Answers:
    """Look at two files."""
    return Answers((root / "dev/dxg").exists(), (root / LIBRARIES / _NVML).exists())


def read(answers: Answers) -> tuple[Gpu, ...]:
    """Give one GPU of unknown make with its error, where Windows passes a card that nothing here can use."""
    if not answers.device or answers.nvidia:
        return ()
    sentence = (
        "Windows passes a graphics card to WSL, but not NVIDIA's library: an AMD or Intel card cannot compute for a "
        "container here. Use it from native Linux, or serve on the processor; for an NVIDIA card install its driver "
        "on Windows and run `wsl --shutdown`."
    )
    return (Gpu(index=0, error=sentence),)
