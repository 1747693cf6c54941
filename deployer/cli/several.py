"""What the verbs do with `-f deployer.yaml`."""

from pathlib import Path
from typing import Any

import click

from deployer.cli import options, output, show, status
from deployer.cli.output import printable
from deployer.errors import NoFitError
from deployer.paths import home
from deployer.types import Outcome
from deployer.types.several import DeviceShare, GatewayPlan, SeveralOutcomes, SeveralPlans

_ALONE = ("name", "port")


def wish(ctx: click.Context, file: Path, names: tuple[str, ...], flags: dict[str, Any] | None = None) -> Any:
    """The file with what stands on the command line. A flag that can hold for one deployment only is refused."""
    from deployer.workflow import several

    alone = [option for option in options.given(ctx) if option.name in _ALONE]
    if alone:
        raise click.UsageError(f"{alone[0].opts[0]} is for one deployment; write it in {file}", ctx)
    given = options.overrides(ctx, flags or {})
    return several.read(file, home(), given, names)


def plan(asked: Any, *, file: Path, host_file: Path | None, explain: bool, as_json: bool) -> SeveralPlans:
    """`plan -f`."""
    from deployer.workflow import several

    try:
        made = several.plan(asked, home(), host_file=host_file)
    except NoFitError as error:
        show.refusals(error, explain=explain)
        raise
    output.document(made) if as_json else plans(made, following=f"deployer up -f {file}", explain=explain)
    return made


def render(asked: Any, directory: Path | None, *, host_file: Path | None) -> tuple[Path, ...]:
    """`render -f`."""
    from deployer.workflow import several

    written: tuple[Path, ...] = several.render(asked, home(), directory, host_file=host_file)
    return written


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


def state(asked: Any, *, as_json: bool) -> None:
    """`status -f`."""
    from deployer.workflow import several_up

    front = several_up.gateway_state(asked, home())
    status.rows(several_up.status(asked, home()), as_json=as_json, gateway=front)
    if front is not None and not as_json:
        click.echo(f"gateway {front.status}, answers: {'yes' if front.answers else 'no'}  {front.base_url or ''}")


def plans(made: SeveralPlans, *, following: str, explain: bool = False, err: bool = False) -> None:
    """Every plan on its page, then what they take together."""
    for item in made.deployments:
        show.plan(item, following=f"deployer up -f FILE {item.name}", explain=explain, err=err, last=False)
        click.echo("", err=err)
    indexes = {device.uuid: device.index for item in made.deployments for device in item.devices}
    click.echo("together", err=err)
    for device in made.devices:
        click.echo(f"  {printable(_device(device, indexes))}", err=err)
    if made.gateway is not None:
        click.echo(f"  {_gateway(made.gateway)}", err=err)
    for warning in made.warnings:
        click.echo(f"  ! {printable(warning)}", err=err)
    click.echo(f"\nnext: {printable(following)}", err=err)


def outcomes(found: SeveralOutcomes) -> None:
    """What `up -f` did."""
    for item in found.deployments:
        click.echo(_outcome(item))
    if found.gateway is not None:
        click.echo(f"  {_gateway(found.gateway)}")
    click.echo("next: deployer status")


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
