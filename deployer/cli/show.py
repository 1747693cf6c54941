"""Plans, hosts and outcomes for a person's eyes."""

from collections.abc import Sequence

import click
import msgspec

from deployer.cli import output, show_history
from deployer.cli.output import printable
from deployer.errors import NoFitError
from deployer.types import (
    DeviceMemory,
    EngineVerdict,
    Gpu,
    HostFacts,
    ModelSpec,
    Outcome,
    OutcomeImage,
    Plan,
    Rejection,
    ScorePart,
)
from deployer.types.address import in_url

BAR_WIDTH = 30


def plan(made: Plan, *, following: str, explain: bool = False, err: bool = False, last: bool = True) -> None:
    """The decision on one page; with `explain` also what else could run and every refusal.

    `last`: nothing follows but what to do next.
    """
    lines = [_title(made), *_facts(made), "", "memory", *_bars(made)]
    lines += _section("why", [f"- {reason}" for reason in made.reasons])
    lines += _section("given up", [f"- {what}" for what in made.given_up])
    lines += _section("warnings", [f"! {warning}" for warning in made.warnings])
    lines += _explained(made) if explain else _not_explained(made)
    lines += ["", f"next: {following}"] if last else []
    output.lines(lines, err=err)


def _title(made: Plan) -> str:
    return f"{made.name}: {made.engine} {made.engine_version} on {_devices(made)}"


def _devices(made: Plan) -> str:
    if not made.devices:
        return "the CPU"
    return ", ".join(f"GPU {device.index} {device.name or ''}".rstrip() for device in made.devices)


def _facts(made: Plan) -> list[str]:
    settings = made.settings
    rows = (
        ("image", f"{made.image.reference or made.image.profile}  ({made.image.source}, {made.image.accelerator})"),
        ("model", f"{made.model.ref}  {made.model.quantization}, {made.model.size_mib} MiB"),
        ("settings", f"{settings.slots} x {settings.context} tokens, KV {settings.kv_cache_type}, {_placement(made)}"),
        ("speed", _speed(made)),
        ("endpoint", f"{_published(made)}/v1  key in {made.key_file}"),
        ("runs as", f"{made.runtime}, user {made.container_user}" if made.runtime == "compose" else made.runtime),
    )
    return [f"  {label:<9} {value}" for label, value in rows]


def _published(made: Plan) -> str:
    """As it is published: a wildcard address is shown as one."""
    return f"http://{in_url(made.address)}:{made.port}"


def _placement(made: Plan) -> str:
    threads = f"{made.settings.threads} threads"
    if made.settings.prompt_cache_mib:
        threads += f", up to {made.settings.prompt_cache_mib} MiB of main memory more for cached prompts"
    return f"{made.settings.gpu_layers} layers on GPU, {threads}" if made.devices else threads


def _speed(made: Plan) -> str:
    """`about 40 to 60 tokens/s for one, …`: what is likely, because one number would promise too much."""
    speed = made.speed
    if speed.decode_tokens_per_s is None or speed.total_tokens_per_s is None:
        return f"unknown ({speed.basis})"
    one = _range(speed.decode_low, speed.decode_tokens_per_s, speed.decode_high)
    total = _range(speed.total_low, speed.total_tokens_per_s, speed.total_high)
    prompt = _range(speed.prompt_low, speed.prompt_tokens_per_s, speed.prompt_high)
    users = f", {total} for {made.settings.slots} together" if made.settings.slots > 1 else ""
    why = "; ".join(part for part in (speed.basis, speed.evidence) if part)
    said = f"{one} tokens/s for one{users}, {prompt}" if made.request.workload != "embedding" else f"{prompt} tokens/s"
    return f"about {said} of a prompt ({why})"


def _range(low: float | None, middle: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "an unknown number" if middle is None else _two_digits(middle)
    return f"{_two_digits(low)} to {_two_digits(high)}"


def _two_digits(number: float) -> str:
    """`1500`, `45`, `4.5`, `0.45`."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:.0f}" if rounded.is_integer() else f"{rounded:g}"


def _bars(made: Plan) -> list[str]:
    """A line a device: a GPU by its index and name, all of one width."""
    known = {device.uuid: f"GPU {device.index} {device.name or ''}".rstrip() for device in made.devices}
    labels = [known.get(device.device, device.device) for device in made.memory.devices]
    width = max(map(len, labels), default=0)
    rows = zip(labels, made.memory.devices, strict=True)
    return [_bar(device, printable(label).ljust(width)) for label, device in rows]


def _bar(device: DeviceMemory, label: str) -> str:
    parts = (
        f"weights {device.weights_mib}, KV cache {device.kv_cache_mib}, compute {device.compute_mib}, "
        f"overhead {device.overhead_mib}, margin {device.margin_mib}"
    )
    if device.formula is not None:
        parts += f"; corrected by {device.formula.measurements} measured here, {device.formula.total_mib} by formula"
    if device.available_mib is None:
        return f"  {label} {device.total_mib} MiB, available unknown ({parts})"
    need = device.total_mib + device.margin_mib
    filled = min(BAR_WIDTH, round(BAR_WIDTH * need / max(device.available_mib, 1)))
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    return f"  {label} [{bar}] {need} of {device.available_mib} MiB ({parts})"


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def refusals(error: NoFitError, *, explain: bool) -> None:
    """Every reason of a refusal, on stderr."""
    found = msgspec.convert(error.details.get("rejected", []), list[Rejection])
    if explain:
        output.lines(_section("refused", _grouped(found)), err=True)


def _grouped(found: Sequence[Rejection]) -> list[str]:
    """One line a reason, with all that it refuses."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in found:
        groups.setdefault((item.rule, item.reason), []).append(_who(item.engine, item.image, item.quantization))
    return [f"- {rule}: {reason}  [{', '.join(dict.fromkeys(who))}]" for (rule, reason), who in groups.items()]


def _explained(made: Plan) -> list[str]:
    runners = [
        f"- {item.engine} {item.image} {item.quantization} on {item.devices}: {item.total:.1f}  ({_score(item.score)})"
        for item in made.runner_up
    ]
    total = sum(part.value for part in made.score)
    return [
        *_section(
            "score", [f"{total:.1f} = {_score(made.score)}", *(f"- {part.part}: {part.why}" for part in made.score)]
        ),
        *_section("would also run", runners),
        *_section("refused", _grouped(made.rejected)),
    ]


def _who(engine: str, image: str, quantization: str | None) -> str:
    return " ".join(part for part in (engine, image, quantization) if part)


def _score(parts: tuple[ScorePart, ...]) -> str:
    return " ".join(f"{part.part} {part.value:+.1f}" for part in parts)


def _not_explained(made: Plan) -> list[str]:
    if not made.rejected and not made.runner_up:
        return []
    return ["", f"{len(made.rejected)} choices refused, {len(made.runner_up)} runners-up: add --explain"]


_MARKS = {"yes": ("✓", "green"), "warning": ("!", "yellow"), "no": ("✗", "red")}


def verdicts(found: Sequence[EngineVerdict]) -> None:
    """One line an image, and below it why not and what would change it."""
    for engine in dict.fromkeys(verdict.engine for verdict in found):
        click.echo(click.style(engine, bold=True))
        for verdict in (item for item in found if item.engine == engine):
            mark, colour = _MARKS[verdict.status]
            where = f" on {verdict.devices}" if verdict.status != "no" else ""
            click.echo(f"  {click.style(mark, fg=colour)} {verdict.image:<14} {verdict.version:<16}{printable(where)}")
            why = "; ".join(text for text in (verdict.reason, verdict.way_out) if text)
            if why:
                output.lines([f"      {why}"])


def host(facts: HostFacts) -> None:
    """Host facts, a line each."""
    cpu, memory, disk = facts.cpu, facts.memory, facts.disk
    rows = [
        ("host", f"{facts.hostname}  {facts.os.distribution or facts.os.system}, kernel {facts.os.kernel}"),
        ("fingerprint", facts.fingerprint or "unknown"),
        ("cpu", f"{cpu.model}, {cpu.cores} cores, {cpu.available_cores} usable here, {cpu.architecture}"),
        ("memory", f"{memory.available_mib} of {memory.total_mib} MiB available"),
        ("disk", f"{disk.free_mib} of {disk.total_mib} MiB free at {disk.path}"),
        ("nvidia", _nvidia(facts)),
        ("container", _container(facts)),
        *((f"GPU {gpu.index}", gpu.error or _gpu_line(gpu)) for gpu in facts.gpus),
    ]
    output.lines(f"{label:<12} {value}" for label, value in rows)


def _gpu_line(gpu: Gpu) -> str:
    code = gpu.compute_capability or gpu.gfx or "unknown capability"
    return f"{gpu.name}, {code}, {gpu.memory_free_mib} of {gpu.memory_total_mib} MiB free, {gpu.uuid}"


def _nvidia(facts: HostFacts) -> str:
    if facts.nvidia is None:
        return "no driver"
    return facts.nvidia.error or f"driver {facts.nvidia.driver}, CUDA up to {facts.nvidia.cuda}"


def _container(facts: HostFacts) -> str:
    found = facts.container
    if found is None:
        return "unknown"
    if found.error:
        return found.error
    gpu = "NVIDIA runtime" if found.nvidia_runtime else f"{len(found.cdi or ())} CDI devices"
    return f"{found.engine} {found.version}, Compose {found.compose or 'absent'}, {gpu}"


def model(found: ModelSpec) -> None:
    """A model: its architecture's numbers and the forms it can be had in."""
    numbers = found.architecture
    size = f"{found.parameters / 1e9:.2f} B parameters"
    click.echo(f"{found.name}: {found.title}, {size}, {found.license or 'licence unknown'}")
    click.echo(
        f"  {numbers.name}: {numbers.layers} layers, {numbers.embedding} wide, {numbers.heads} heads, "
        f"{numbers.kv_heads} KV heads of {numbers.head_dim}, {numbers.vocabulary} tokens, context {numbers.context_max}"
    )
    for variant in found.variants:
        size = "" if variant.size_bytes is None else f"  {variant.size_bytes >> 20} MiB"
        here = "  here" if variant.present else ""
        click.echo(printable(f"  {variant.format} {variant.quantization:<8} {variant.source}{size}{here}"))


def outcome(found: Outcome) -> None:
    """What `up` did, and what to do next."""
    for profile, reason in found.unavailable.items():
        click.echo(f"{click.style('!', fg='yellow')} {profile}: {printable(reason)}")
    verb = "serves" if found.changed else "serves already, nothing changed"
    click.echo(f"{click.style('✓', fg='green')} {found.name} {verb} (release {found.release}, {_image(found.image)})")
    click.echo(f"  base URL  {found.base_url}\n  model     {found.model}\n  key       in {found.key_file}")
    for row in found.measured:
        click.echo(f"  {show_history.line(row)}")
    click.echo(
        f"next: deployer connect {found.name} --for openai | deployer check {found.name} | deployer logs {found.name}"
    )


def _image(image: OutcomeImage) -> str:
    name = image.reference or image.profile
    if image.source == "verified":
        return f"{name}, the image verified here before"
    return f"{name}, now verified here" if image.id else name
