"""In which ways a container engine can hand NVIDIA GPUs to containers.

Source: moby `daemon/devices_nvidia_linux.go`: `--gpus` and Compose's `driver: nvidia` need a program on the PATH of
dockerd, `nvidia-container-runtime-hook`, or since Docker 29.2 `nvidia-cdi-hook` with a CDI device; the entry `nvidia`
among the runtimes only serves `runtime: nvidia`.
"""

import os
import re
import shutil
from collections.abc import Sequence

RUNTIME_HOOK = "nvidia-container-runtime-hook"
CDI_HOOK = "nvidia-cdi-hook"
_DAEMON_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_CDI_SINCE = (29, 2)
_DEVICE = "nvidia.com/gpu="


def ask() -> tuple[str, ...]:
    """Find the hooks where dockerd would: on this PATH, and on that of a system service."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_DAEMON_PATH))
    return tuple(name for name in (RUNTIME_HOOK, CDI_HOOK) if shutil.which(name, path=path))


def docker_ways(
    version: str | None, *, hooks: Sequence[str], runtime: bool, devices: Sequence[str] | None
) -> tuple[str, ...]:
    """Name the ways that work with Docker, of `gpus`, `runtime` and `cdi`, in that order."""
    cdi = any(device.startswith(_DEVICE) for device in devices or ())
    by_cdi = CDI_HOOK in hooks and cdi and _number(version) >= _CDI_SINCE
    ways = {"gpus": RUNTIME_HOOK in hooks or by_cdi, "runtime": runtime, "cdi": cdi}
    return tuple(way for way, works in ways.items() if works)


def podman_ways(devices: Sequence[str] | None) -> tuple[str, ...]:
    """Podman knows CDI only."""
    return ("cdi",) if any(device.startswith(_DEVICE) for device in devices or ()) else ()


def _number(version: str | None) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)
