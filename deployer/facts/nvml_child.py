"""Ask NVML everything, in a process of its own: a call into a sick driver can hang for ever and cannot be interrupted.

Run by path, it imports nothing of `deployer`, so it starts as fast as Python and `pynvml` do. It writes one JSON
document a line, first the driver, then each GPU, so that what was answered before a hang is not lost. An answer is
`{"value": ...}` or `{"error": <nvmlReturn_t>}`; `nvidia.py` gives both their meaning.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pynvml

_UNKNOWN = 999


def ask(call: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Make one call; its value, or the number of its error."""
    try:
        return {"value": call(*args)}
    except pynvml.NVMLError as error:
        return {"error": error.value}
    except UnicodeDecodeError:
        return {"error": _UNKNOWN}


def say(document: dict[str, Any]) -> None:
    """Write one line, at once."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def first_answer(*calls: Callable[[], Any]) -> dict[str, Any]:
    """Try the newest function first; an old driver lacks it (13) or refuses its structure's version (25)."""
    found: dict[str, Any] = {"error": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    for call in calls:
        found = ask(call)
        if found.get("error") not in {
            pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            pynvml.NVML_ERROR_DEPRECATED,
        }:
            return found
    return found


def memory(handle: Any) -> dict[str, Any]:
    """Total, free and reserved bytes: version 2, else version 1, which does not know `reserved`."""

    def newest() -> list[int | None]:
        found = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        return [found.total, found.free, found.reserved]

    def oldest() -> list[int | None]:
        found = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return [found.total, found.free, None]

    return first_answer(newest, oldest)


def processes(handle: Any) -> dict[str, Any]:
    """Process id, name and bytes of each compute process; bytes are null where the driver does not tell (WSL)."""

    def rows(call: Callable[[Any], Any]) -> list[list[Any]]:
        return [
            [row.pid, ask(pynvml.nvmlSystemGetProcessName, row.pid).get("value"), row.usedGpuMemory]
            for row in call(handle)
        ]

    return first_answer(
        lambda: rows(pynvml.nvmlDeviceGetComputeRunningProcesses_v3),
        lambda: rows(pynvml.nvmlDeviceGetComputeRunningProcesses_v2),
    )


def pci_bus_id(handle: Any) -> str:
    """Domain, bus and device: `00000000:03:00.0`."""
    return str(pynvml.nvmlDeviceGetPciInfo(handle).busId)


def slices(handle: Any) -> list[dict[str, Any]]:
    """UUID, name and memory of each MIG slice; a gap in the numbering is normal."""
    found = []
    for number in range(ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle).get("value") or 0):
        part = ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number).get("value")
        if part is not None:
            uuid, name = ask(pynvml.nvmlDeviceGetUUID, part), ask(pynvml.nvmlDeviceGetName, part)
            found.append({"uuid": uuid, "name": name, "memory": memory(part)})
    return found


def device(index: int) -> dict[str, Any]:
    """Everything about one GPU; only its number and the error when it gives no handle."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return {"index": index, "handle_error": error.value}
    mig = ask(pynvml.nvmlDeviceGetMigMode, handle)
    return {
        "index": index,
        "name": ask(pynvml.nvmlDeviceGetName, handle),
        "uuid": ask(pynvml.nvmlDeviceGetUUID, handle),
        "pci_bus_id": ask(pci_bus_id, handle),
        "compute_capability": ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle),
        "memory": memory(handle),
        "processes": processes(handle),
        "mig": mig,
        "slices": slices(handle) if mig.get("value", [0])[0] else [],
        "display": ask(pynvml.nvmlDeviceGetDisplayActive, handle),
    }


def main() -> None:
    """Write the driver's line, then a line for each GPU."""
    started = ask(pynvml.nvmlInit)
    if "error" in started:
        say({"init_error": started["error"]})
        return
    count = ask(pynvml.nvmlDeviceGetCount)
    cuda = first_answer(pynvml.nvmlSystemGetCudaDriverVersion_v2, pynvml.nvmlSystemGetCudaDriverVersion)
    say({"driver": ask(pynvml.nvmlSystemGetDriverVersion), "cuda": cuda, "count": count})
    for index in range(count.get("value") or 0):
        say(device(index))


if __name__ == "__main__":
    main()
