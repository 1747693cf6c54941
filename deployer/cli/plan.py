"""`deployer plan`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from deployer.cli import completing, options, output, show
from deployer.errors import NoFitError
from deployer.paths import home
from deployer.types import Plan


@click.command()
@click.argument("words", metavar="MODEL", nargs=-1, shell_complete=completing.model)
@options.declared
@options.request_options
@options.host_file
@click.option("--explain", is_flag=True, help="Also every runner-up and every refusal, with its reason.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan for `up PLAN`.")
@click.option("--detailed-exitcode", is_flag=True, help="0: nothing would change; 2: something would.")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    words: tuple[str, ...],
    file: Path | None,
    host_file: Path | None,
    explain: bool,
    out: Path | None,
    detailed_exitcode: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Decide how MODEL would run here, and show why. Touches nothing.

    MODEL is a catalog name, hf:org/repo[@revision][:file], a path to a .gguf file or a model folder, or
    package:module/file.
    """
    shown = _Shown(explain=explain, out=out, as_json=as_json)
    if file is not None:
        from deployer.cli import several

        again = f"deployer up {options.retold_file(ctx, file, words)}"
        made = _several(ctx, several.wish(ctx, file, words, flags, look=host_file is None), again, host_file, shown)
    else:
        made = (_one(ctx, options.one(ctx, words, "MODEL"), flags, host_file, shown),)
    if detailed_exitcode:
        from deployer.workflow import review

        if any(review.would_change(item, home()) for item in made):
            ctx.exit(2)


class _Shown(msgspec.Struct, frozen=True):
    """How a plan is shown and kept."""

    explain: bool
    out: Path | None
    as_json: bool


def _one(ctx: click.Context, model: str, flags: dict[str, Any], host_file: Path | None, shown: _Shown) -> Plan:
    from deployer.workflow import planning, review

    request = options.make_request(model, **flags)
    try:
        made = planning.plan(request, home(), host_file=host_file)
    except NoFitError as error:
        show.refusals(error, explain=shown.explain)
        raise
    made = review.with_registry_news(made, ask=host_file is None)
    if shown.out is not None:
        review.save(made, shown.out)
    if shown.as_json:
        output.document(made)
        return made
    again = f"deployer up {shown.out}" if shown.out else f"deployer up {options.retold(ctx, model)}"
    show.plan(made, explain=shown.explain, following=f"on that host: {again}" if host_file else again)
    return made


def _several(ctx: click.Context, asked: Any, again: str, host_file: Path | None, shown: _Shown) -> tuple[Plan, ...]:
    from deployer.cli import several

    if shown.out is not None:
        raise click.UsageError("--out keeps the plan of one model; what -f declares is planned again by `up -f`", ctx)
    following = f"on that host: {again}" if host_file else again
    made = several.plan(asked, following=following, host_file=host_file, explain=shown.explain, as_json=shown.as_json)
    return made.deployments
