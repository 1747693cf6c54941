"""Does a server compute where the plan says? A GPU that is not used is a failure, and a thing not known is not.

llama.cpp and Ollama go on with the CPU when a GPU fails, and say so only in their log (llama.cpp b11434
ggml/src/ggml-cuda/ggml-cuda.cu, Ollama 0.33.0-rc2 discover/cuda_compat.go): their health paths answer all the same.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from deployer.health.copies import by_copy
from deployer.types import DeviceMemory, Gpu, Loaded, Offloaded, Plan

SHARE = 0.5
"""Part of the planned weights that has to be there. Context and buffers come on top, so a used GPU has more."""

LONGEST_LINE = 2000
_MIB = 1024 * 1024


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a server: its GPUs before it was started and now, its processes, its log, and what to look for.

    `before` and `now` are by the plan's names of devices (`GPU-…`); a device that could not be read is absent.
    """

    before: Mapping[str, Gpu] = {}
    now: Mapping[str, Gpu] = {}
    pids: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    offloaded: Offloaded | None = None
    loaded: Loaded | None = None
    cpu_fallback: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One look at GPU use: `used` is None when it could not be measured; `detail` is the evidence in a sentence."""

    name: str
    used: bool | None
    detail: str


def verdicts(plan: Plan, seen: Evidence, ask: Callable[[str], Mapping[str, Any]]) -> tuple[Verdict, ...]:
    """Every look that this engine and plan allow; none for a plan without a GPU.

    `ask` returns the JSON object at a path of the server, and raises LookupError with the reason when there is none.
    """
    if not plan.devices:
        return ()
    found = [memory_moved(plan, seen)]
    if seen.cpu_fallback and seen.lines:
        found.append(no_fallback(seen))
    if seen.offloaded is not None and plan.settings.gpu_layers > 0:
        found.append(layers_offloaded(plan, seen, seen.offloaded))
    if seen.loaded is not None:
        found.append(loaded_on_gpu(plan, seen.loaded, ask))
    return tuple(found)


def memory_moved(plan: Plan, seen: Evidence) -> Verdict:
    """On each planned GPU: the server's processes hold half of the weights planned there, or so much more is used."""
    planned = [device for device in plan.memory.devices if device.device != "host" and device.weights_mib > 0]
    looks = [_moved(device, seen) for device in planned]
    worst = next((look for look in looks if look[0] is False), None) or next(
        (look for look in looks if look[0] is None), None
    )
    if worst is not None:
        return Verdict(name="gpu memory", used=worst[0], detail=worst[1])
    said = "; ".join(text for _, text in looks) or "the plan puts no weights on a GPU"
    return Verdict(name="gpu memory", used=True if looks else None, detail=said)


def no_fallback(seen: Evidence) -> Verdict:
    """The engine's log has no line that says that it goes on with the CPU."""
    for pattern in map(re.compile, seen.cpu_fallback):
        line = next((line for line in seen.lines if pattern.search(line[:LONGEST_LINE])), None)
        if line is not None:
            return Verdict(name="log", used=False, detail=f"the log says: {line.strip()[:200]}")
    return Verdict(
        name="log", used=True, detail=f"{len(seen.lines)} lines, and none tells of a GPU that cannot be used"
    )


def layers_offloaded(plan: Plan, seen: Evidence, offloaded: Offloaded) -> Verdict:
    """The engine's own count of the layers on GPUs, against the planned one."""
    pattern, name = re.compile(offloaded.pattern), "layers"
    logs = by_copy(seen.lines, plan.copies)
    told = [[match for line in log if (match := pattern.search(line[:LONGEST_LINE]))] for log in logs]
    matches = [found[-1] for found in told if found]
    if len(matches) < plan.copies:
        return Verdict(name=name, used=None, detail="the engine's log does not tell how many layers are on GPUs")
    layers, total = min((int(match["layers"]), int(match["total"])) for match in matches)
    wanted = min(plan.settings.gpu_layers, total)
    said = f"the log says that {layers} of {total} layers are on GPUs"
    if layers < wanted:
        return Verdict(name=name, used=False, detail=f"{said}; {wanted} were planned")
    return Verdict(name=name, used=True, detail=said)


def loaded_on_gpu(plan: Plan, loaded: Loaded, ask: Callable[[str], Mapping[str, Any]]) -> Verdict:
    """What the running engine says of its model in GPU memory, against half of the planned weights."""
    name = "gpu model"
    try:
        value = _at(ask(loaded.path), loaded.on_gpu)
    except LookupError as error:
        return Verdict(name=name, used=None, detail=f"{loaded.path} does not tell it: {error}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Verdict(name=name, used=None, detail=f"{loaded.path} has no number at {loaded.on_gpu}")
    weights = sum(device.weights_mib for device in plan.memory.devices if device.device != "host")
    size = int(value) // _MIB
    said = f"{loaded.path} says that {size} MiB of the model are in GPU memory"
    return Verdict(name=name, used=size > 0 and size >= SHARE * weights, detail=f"{said}; {weights} MiB were planned")


def _moved(planned: DeviceMemory, seen: Evidence) -> tuple[bool | None, str]:
    name, need = planned.device, max(SHARE * planned.weights_mib, 1)
    now, before = seen.now.get(name), seen.before.get(name)
    if now is None:
        return None, f"nothing tells how much memory of {name} is used"
    held = sum(process.memory_mib or 0 for process in now.processes or () if process.pid in seen.pids)
    if held >= need:
        return True, f"the server's processes hold {held} MiB of {name}"
    if before is None or before.memory_free_mib is None or now.memory_free_mib is None or now.unified_memory:
        return None, f"nothing tells how much memory of {name} was used before the start"
    more, freed = before.memory_free_mib - now.memory_free_mib, _freed_by_others(before, now, seen.pids)
    if freed is None and more < 0:
        return None, f"others gave back memory of {name} meanwhile, and nothing tells how much"
    more = max(more + (freed or 0), 0)
    if more >= need:
        return True, f"{more} MiB more of {name} are used than before the start"
    return False, f"only {more} MiB more of {name} are used than before the start; {planned.weights_mib} were planned"


def _freed_by_others(before: Gpu, now: Gpu, ours: tuple[int, ...]) -> int | None:
    """MiB that processes which are not ours gave back since; None where the driver names no processes or sizes."""
    if before.processes is None or now.processes is None:
        return None
    after = {process.pid: process.memory_mib for process in now.processes}
    freed = 0
    for process in before.processes:
        if process.pid in ours:
            continue
        left = after.get(process.pid, 0)
        if process.memory_mib is None or left is None:
            return None
        freed += max(process.memory_mib - left, 0)
    return freed


def _at(document: object, path: str) -> object:
    """The value at a dotted path; raises LookupError naming the part that is not there."""
    for part in path.split("."):
        if isinstance(document, Mapping) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            raise LookupError(f"there is no {part!r}")
    return document
