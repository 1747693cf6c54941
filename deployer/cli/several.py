"""What the verbs do with `-f deployer.yaml`."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from deployer.cli import options, output, show
from deployer.errors import NoFitError
from deployer.paths import home
from deployer.types import Outcome
from deployer.types.several import DeviceShare, GatewayPlan, Overview, SeveralOutcomes, SeveralPlans

_ALONE = ("name", "port")


def wish(
    ctx: click.Context, file: Path, names: tuple[str, ...], flags: dict[str, Any] | None = None, *, look: bool = False
) -> Any:
    """The file with what stands on the command line. A flag that can hold for one deployment only is refused.

    `look`: new deployments get ports that nobody uses on this machine.
    """
    from deployer.workflow import several

    alone = [option for option in options.given(ctx) if option.name in _ALONE]
    if alone:
        raise click.UsageError(f"{alone[0].opts[0]} is for one deployment; write it in {file}", ctx)
    for word in _ALONE:
        if ctx.get_parameter_source(word) is ParameterSource.DEFAULT_MAP:
            variable = f"DEPLOYER_{word.upper()}"
            raise click.UsageError(f"{variable} is for one deployment; unset it, and write it in {file}", ctx)
    given = options.overrides(ctx, flags or {})
    return several.read(file, home(), given, names, look=look)


def plan(asked: Any, *, following: str, host_file: Path | None, explain: bool, as_json: bool) -> SeveralPlans:
    """`plan -f`; `following`: what to do next."""
    from deployer.workflow import several

    try:
        made = several.plan(asked, home(), host_file=host_file)
    except NoFitError as error:
        show.refusals(error, explain=explain)
        raise
    output.document(made) if as_json else plans(made, following=following, explain=explain)
    return made


def render(asked: Any, directory: Path | None, *, host_file: Path | None, agree: Any) -> Any:
    """`render -f`: what was written."""
    from deployer.workflow import several

    return several.render(asked, home(), directory, host_file=host_file, agree=agree)


def up(asked: Any, wishes: Any, *, as_json: bool, verbose: bool) -> None:
    """`up -f`, once it is allowed."""
    from deployer.workflow import several_up

    found: SeveralOutcomes = several_up.up(asked, home(), wishes, output.Progress(quiet=as_json, verbose=verbose))
    output.document(found) if as_json else outcomes(found)


def down(asked: Any, *, dry_run: bool, as_json: bool) -> None:
    """`down -f`."""
    from deployer.workflow import several_up

    if dry_run:
        names = tuple(reversed(asked.meant))
        click.echo(f"would stop {', '.join(names)}", err=True)
        if as_json:
            would = [{"name": name, "changed": False, "would": "stop"} for name in names]
            output.document({"format_version": 1, "dry_run": True, "deployments": would})
        return
    stopped = several_up.down(asked, home(), output.Progress(quiet=as_json))
    if as_json:
        rows = [{"name": name, "changed": changed} for name, changed in stopped]
        output.document({"format_version": 1, "deployments": rows})


def state(asked: Any) -> Overview:
    """`status -f`."""
    from deployer.workflow import several_up

    found: Overview = several_up.status(asked, home())
    return found


def plans(made: SeveralPlans, *, following: str, explain: bool = False, err: bool = False) -> None:
    """Every plan on its page, then what they take together."""
    for item in made.deployments:
        show.plan(item, following=f"deployer up -f FILE {item.name}", explain=explain, err=err, last=False)
        click.echo("", err=err)
    indexes = {device.uuid: device.index for item in made.deployments for device in item.devices}
    page = ["together", *(f"  {_device(device, indexes)}" for device in made.devices)]
    page += [] if made.gateway is None else [f"  {_gateway(made.gateway)}"]
    page += [*(f"  ! {warning}" for warning in made.warnings), "", f"next: {following}"]
    output.lines(page, err=err)


def outcomes(found: SeveralOutcomes) -> None:
    """What `up -f` did."""
    for item in found.deployments:
        click.echo(_outcome(item))
    if found.gateway is not None:
        click.echo(f"  {_gateway(found.gateway)}")
    click.echo("next: deployer status" + (" | deployer connect gateway" if found.gateway else ""))


def _device(device: DeviceShare, indexes: dict[str | None, int]) -> str:
    by = ", ".join(f"{name} {mib}" for name, mib in device.by.items())
    short = f"GPU {indexes[device.device]} {device.name or ''}".rstrip() if device.device in indexes else device.device
    what = "main memory" if device.device == "host" else short
    free = "unknown" if device.available_mib is None else str(device.available_mib)
    return f"{what}: {device.taken_mib} of {free} MiB ({by})"


def _outcome(item: Outcome) -> str:
    verb = "serves" if item.changed else "serves already, nothing changed"
    return f"{click.style('✓', fg='green')} {item.name} {verb}: {item.base_url}  key in {item.key_file}"


def _gateway(gateway: GatewayPlan) -> str:
    return f"gateway: {gateway.base_url} for {', '.join(gateway.models)}  key in {gateway.key_file}"
