"""What a measuring program is told and what it answers: a plan to its words, its lines to our devices. Pure."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from deployer.execution import Completed
from deployer.render.copies import copy_plans, slots_each
from deployer.types import ExactDevice, ExactDifference, ExactTool, Plan
from deployer.types.exact import Component

Answer = dict[str, ExactDevice]
"""By the program's own names of devices, in its order."""


def passed(command: Sequence[str], tool: ExactTool) -> tuple[str, ...]:
    """Words of a planned command that the program knows too: its flags with what follows, also as `--flag=value`."""
    words: list[str] = []
    for index, word in enumerate(command):
        flag = word.partition("=")[0]
        if (count := tool.passes.get(flag)) is not None:
            words += [word] if flag != word else command[index : index + 1 + count]
    return tuple(words)


def read(tool: ExactTool, found: Completed) -> Answer:
    """The answer for each device by the program's own name for it; empty when it failed or said nothing."""
    answer = {}
    for match in re.finditer(tool.line, found.stdout, re.MULTILINE):
        weights, kv_cache, compute = (int(match[name]) for name in ("weights", "kv_cache", "compute"))
        answer[match["device"]] = ExactDevice(
            device=match["device"], weights_mib=weights, kv_cache_mib=kv_cache, compute_mib=compute
        )
    return answer if found.returncode == 0 else {}


def named(plan: Plan, tool: ExactTool, found: Answer, compute: Answer) -> tuple[ExactDevice, ...]:
    """The answers by our names: the program lists the planned devices in their order, then main memory."""
    own = [name for name in found if name != tool.host]
    uuids = [device.uuid for device in plan.devices]
    names = {name: (uuids[place] if place < len(uuids) else None) or name for place, name in enumerate(own)}
    return tuple(
        msgspec.structs.replace(
            device, device=names.get(name, "host"), compute_mib=compute.get(name, device).compute_mib
        )
        for name, device in found.items()
    )


def one_copy(plan: Plan) -> Plan:
    """The plan of its first copy: its devices and its part of the slots."""
    if plan.copies == 1:
        return plan
    settings = msgspec.structs.replace(plan.settings, slots=slots_each(plan))
    return msgspec.structs.replace(copy_plans(plan)[0], settings=settings)


def of_copies(plan: Plan, devices: Sequence[ExactDevice]) -> tuple[ExactDevice, ...]:
    """What the first copy takes, on the devices of every copy and as often in main memory."""
    if plan.copies == 1:
        return tuple(devices)
    own = {device.uuid: place for place, device in enumerate(copy_plans(plan)[0].devices)}
    gpus = [device for device in devices if device.device in own]
    found = [
        msgspec.structs.replace(device, device=one.devices[own[device.device]].uuid or device.device)
        for one in copy_plans(plan)
        for device in gpus
    ]
    parts = ("weights_mib", "kv_cache_mib", "compute_mib")
    rest = (device for device in devices if device.device not in own)
    times = (
        msgspec.structs.replace(device, **{part: getattr(device, part) * plan.copies for part in parts})
        for device in rest
    )
    return (*found, *times)


def differences(plan: Plan, devices: Sequence[ExactDevice]) -> Iterator[ExactDifference]:
    """For each part of each device that the plan estimates too, both numbers."""
    estimates = {device.device: device for device in plan.memory.devices}
    for device in devices:
        if (ours := estimates.get(device.device)) is None:
            continue
        parts: tuple[tuple[Component, int, int], ...] = (
            ("weights", ours.weights_mib, device.weights_mib),
            ("kv_cache", ours.kv_cache_mib, device.kv_cache_mib),
            ("compute", ours.compute_mib, device.compute_mib),
        )
        for part, estimated, said in parts:
            yield ExactDifference(device=device.device, component=part, estimated_mib=estimated, exact_mib=said)
