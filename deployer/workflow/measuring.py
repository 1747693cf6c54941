"""After the gate: what the server really holds, beside the estimate. Nothing here can make an `up` fail."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from deployer import __version__, catalog, facts, health, ledger
from deployer.errors import DeployerError
from deployer.paths import Home
from deployer.render.copies import copy_plans
from deployer.runtime import Resident, resident
from deployer.types import (
    DeviceMemory,
    Gpu,
    HealthReport,
    MeasuredMemory,
    MeasuredRow,
    Observation,
    Plan,
    PlanDevice,
    Release,
)
from deployer.workflow import running
from deployer.workflow.report import Reporter

LOG_LINES = 4000
"""The buffers are told while the model is loaded, and the gate's few questions add little."""

NVML_TIMEOUT_S = 10.0
_OF_THE_SERVER = (*("when", "deployment", "release", "engine", "engine_version", "image", "model", "quantization"),)
ANSWERS = "the gate's own questions, asked one at a time"


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was read: main memory, GPUs by UUID, and the log's buffers by device of the plan.

    `alone`: nothing was stopped for this server, so that what a GPU has less than before is its own.
    """

    main: Resident
    gpus: Mapping[str, Gpu] = {}
    parts: Mapping[str, Mapping[str, int]] = {}
    alone: bool = False


def record(plan: Plan, release: Release, found: HealthReport, home: Home, report: Reporter, *, alone: bool) -> Release:
    """Measure, and keep it in the release and for the next estimate. On any failure the release is as it was."""
    try:
        seen = observation(plan, release, found, read(plan, home, alone=alone))
        return ledger.mark(home, release, release.status, measured=ledger.add_observation(home, seen))
    except (DeployerError, OSError, ValueError) as error:
        report.note(f"what it takes could not be recorded: {error}")
        return release


def read(plan: Plan, home: Home, *, alone: bool) -> Readings:
    """Read main memory, GPUs and the log now. Raises PreconditionError where the runtime does not answer."""
    main = resident(running.state(home, plan))
    ours = any(device.vendor == "nvidia" for device in plan.devices)
    gpus = {gpu.uuid or "": gpu for gpu in facts.nvidia_gpus(NVML_TIMEOUT_S)} if ours else {}
    lines: list[str] = []
    running.logs(plan, home, tail=LOG_LINES, follow=False, on_line=lines.append)
    return Readings(main=main, gpus=gpus, parts=_parts(plan, lines), alone=alone)


def _parts(plan: Plan, lines: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """The log's buffers by device of the plan; each copy of a model counts its own GPUs from 0."""
    measures, found = catalog.load_engine(plan.engine).measures, dict[str, dict[str, int]]()
    for one, log in zip(copy_plans(plan), health.by_copy(lines, plan.copies), strict=True):
        told = health.by_device(health.read_parts(log, measures), [_name(device) for device in one.devices])
        for device, parts in told.items():
            held = found.setdefault(device, {})
            held.update({part: held.get(part, 0) + size for part, size in parts.items()})
    return found


def observation(plan: Plan, release: Release, found: HealthReport, readings: Readings) -> Observation:
    """The estimate and what was read, side by side."""
    return Observation(
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        deployment=plan.name,
        release=release.number,
        fingerprint=plan.host_fingerprint,
        formulas=__version__,
        image=plan.image.profile,
        accelerator=plan.image.accelerator,
        model=plan.model.ref,
        predicted=plan.memory.devices,
        measured=tuple(_measured(plan, device, readings) for device in plan.memory.devices),
        decode_tokens_per_s=found.tokens_per_s,
        prompt_tokens_per_s=found.prompt_tokens_per_s,
        speed_how=ANSWERS if found.tokens_per_s or found.prompt_tokens_per_s else None,
        **{word: getattr(plan, word) for word in ("engine", "engine_version", "settings", "speed")},
        **{word: getattr(plan.model, word) for word in ("architecture", "parameters", "quantization")},
    )


def rows(seen: Observation | None) -> tuple[MeasuredRow, ...]:
    """A row for each device of an observation."""
    if seen is None:
        return ()
    measured = {device.device: device for device in seen.measured}
    nothing = MeasuredMemory(device="", why="not measured")
    return tuple(_row(seen, device, measured.get(device.device, nothing)) for device in seen.predicted)


def history(home: Home, name: str | None = None) -> tuple[MeasuredRow, ...]:
    """Every measurement that is kept on this machine, or those of one deployment or model, newest first."""
    known = ledger.all_observations(home)
    return tuple(row for seen in known if name in (None, seen.deployment, seen.model) for row in rows(seen))


def _measured(plan: Plan, predicted: DeviceMemory, readings: Readings) -> MeasuredMemory:
    name, parts = predicted.device, dict(readings.parts.get(predicted.device, {}))
    if name == "host":
        main = readings.main
        return MeasuredMemory(
            device=name,
            used_mib=main.used_mib,
            how=None if main.used_mib is None else "resident",
            why=main.why,
            parts=parts,
            anonymous_mib=main.anonymous_mib,
            file_mib=main.file_mib,
            cgroup_mib=main.cgroup_mib,
        )
    return msgspec.structs.replace(_gpu(plan, predicted, readings), parts=parts)


def _gpu(plan: Plan, predicted: DeviceMemory, readings: Readings) -> MeasuredMemory:
    """By process where the driver tells, else by what is free now and was free before, where that can be compared."""
    name, gpu = predicted.device, readings.gpus.get(predicted.device)
    if gpu is None:
        return MeasuredMemory(device=name, why="its driver does not tell what a process holds")
    held = [process.memory_mib for process in gpu.processes or () if process.pid in readings.main.pids]
    if held and None not in held:
        return MeasuredMemory(device=name, used_mib=sum(size or 0 for size in held), how="nvml-process")
    before, now = predicted.available_mib, gpu.memory_free_mib
    comparable = readings.alone and plan.settings.gpu_memory_fraction is None
    if not comparable or before is None or now is None or before <= now:
        return MeasuredMemory(
            device=name, why="NVML names no process of this server, and what was free cannot be compared"
        )
    return MeasuredMemory(device=name, used_mib=before - now, how="delta")


def _name(device: PlanDevice) -> str:
    """As the plan's memory names it."""
    return device.uuid or f"gpu{device.index}"


def _row(seen: Observation, predicted: DeviceMemory, measured: MeasuredMemory) -> MeasuredRow:
    used, formula = measured.used_mib, predicted.formula
    return MeasuredRow(
        **{word: getattr(seen, word) for word in _OF_THE_SERVER},
        device=predicted.device,
        predicted_mib=predicted.total_mib,
        margin_mib=predicted.margin_mib,
        formula_mib=predicted.total_mib if formula is None else formula.total_mib,
        measured_mib=used,
        error_percent=round(100 * (used - predicted.total_mib) / used, 1) if used else None,
        how=measured.how,
        why=measured.why,
        parts=measured.parts,
        predicted_tokens_per_s=seen.speed.decode_tokens_per_s,
        measured_tokens_per_s=seen.decode_tokens_per_s,
    )
