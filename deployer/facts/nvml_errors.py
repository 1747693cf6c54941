"""NVML's error numbers as sentences with the next step.

Sources: `nvml.h` (`nvmlReturn_t`), nvidia-container-toolkit#394 (18), open-gpu-kernel-modules#774 (no GPU listed).
"""

NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
ARGUMENT_VERSION_MISMATCH = 25
DEPRECATED = 26

UNKNOWN_FACT = frozenset({NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH, DEPRECATED})
"""Errors that only say "this fact is not known here"."""

FATAL = frozenset({GPU_IS_LOST, RESET_REQUIRED})
"""Errors that make a GPU unusable, whichever call gave them."""

_DRIVER = {
    1: "NVML says it was not initialized; run the command again, and reinstall the NVIDIA driver if it stays.",
    NO_PERMISSION: "Permission denied on /dev/nvidia*: give this user read and write rights to /dev/nvidiactl and "
    "/dev/nvidia0…, or look for a device cgroup or SELinux that blocks them.",
    9: "The NVIDIA driver's libraries are installed but its kernel module is not loaded: run `sudo modprobe nvidia` "
    "and read `dmesg`; after a kernel update rebuild it with DKMS, and with Secure Boot sign it.",
    12: "The NVIDIA driver's compute library is missing: install the driver's libcuda package (in a container, ask for "
    "the `compute` and `utility` driver capabilities).",
    FUNCTION_NOT_FOUND: "The NVIDIA driver is too old to answer: install a current branch that supports this card.",
    17: "The operating system refused the NVIDIA driver: read `dmesg` for NVRM lines.",
    18: "The NVIDIA driver's libraries and its loaded kernel module have different versions: the driver was updated "
    "without a reboot. Reboot this host.",
    20: "The NVIDIA driver ran out of memory: free some host memory and try again.",
    999: "NVML could not start for an unknown reason: inside a container, recreate the container (a daemon-reload "
    "takes its devices away); else reload the driver or reboot.",
}
_DEVICE = {
    NO_PERMISSION: "Permission denied on this GPU: give this user rights to its /dev/nvidia* file, or pass it to this "
    "container.",
    8: "This GPU lacks power: connect its auxiliary power cables.",
    10: "This GPU did not answer the driver in time: read `dmesg` for Xid lines and reboot.",
    11: "This GPU has an interrupt problem: read `dmesg` for NVRM lines; check the BIOS settings for this slot.",
    14: "This GPU's configuration memory (infoROM) is corrupt: have the card serviced.",
    GPU_IS_LOST: "This GPU has fallen off the bus: read `dmesg` for Xid 79, check power, riser and cooling; reboot.",
    RESET_REQUIRED: "This GPU needs a reset: stop what uses it and run `sudo nvidia-smi --gpu-reset -i <index>`, or "
    "reboot.",
    19: "This GPU is held by another program that does not share it.",
    999: "This GPU gave an unknown error: read `dmesg` for Xid lines; a reset or a reboot usually helps.",
}


def driver_error(code: int) -> str:
    """Say why NVML as a whole does not answer."""
    return (
        f"{_DRIVER.get(code, 'The NVIDIA driver refused to answer: read `dmesg` for NVRM lines.')} (NVML error {code})"
    )


def device_error(code: int) -> str:
    """Say why one GPU cannot be used."""
    return (
        f"{_DEVICE.get(code, 'This GPU refused to answer: read `dmesg` for NVRM and Xid lines.')} (NVML error {code})"
    )
