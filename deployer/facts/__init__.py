"""What is true of the host. One source each; asking and reading are apart, so that reading is tested from texts."""

from pathlib import Path

from deployer.facts.fingerprint import fingerprint
from deployer.facts.host_file import load_host_file
from deployer.types import HostFacts

__all__ = ["fingerprint", "gather", "load_host_file"]


def gather(disk_path: Path) -> HostFacts:
    """Ask this machine; `disk` is for the disk that holds `disk_path`. What cannot be had is unknown, never raised.

    The probes are imported here, so that a plan from a host file does not pay for them (20 ms).
    """
    from deployer.facts import gathering

    return gathering.gather(disk_path)
