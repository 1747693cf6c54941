"""What is true of the host. One source each; asking and reading are apart, so that reading is tested from texts."""

from pathlib import Path

from deployer.facts.fingerprint import fingerprint
from deployer.facts.host_file import load_host_file
from deployer.types import Gpu, HostFacts

__all__ = ["amd_gpus", "fingerprint", "gather", "load_host_file", "nvidia_gpus"]


def gather(disk_path: Path) -> HostFacts:
    """Ask this machine; `disk` is for the disk that holds `disk_path`. What cannot be had is unknown, never raised.

    The probes are imported here, so that a plan from a host file does not pay for them (20 ms).
    """
    from deployer.facts import gathering

    return gathering.gather(disk_path)


def nvidia_gpus(timeout_s: float) -> tuple[Gpu, ...]:
    """NVIDIA's GPUs now, with the processes that hold memory of them; none after `timeout_s`. Never raises."""
    from deployer.facts import nvidia

    try:
        return nvidia.probe(timeout_s)[1]
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return ()


def amd_gpus() -> tuple[Gpu, ...]:
    """AMD's GPUs now, by the kernel's own files. Never raises."""
    from deployer.facts import amd

    try:
        return amd.probe()[1]
    except (OSError, ValueError, LookupError, TypeError):
        return ()
