"""`deployer plan`."""

from pathlib import Path
from typing import Any

import click

from deployer.cli import options, output, show
from deployer.errors import NoFitError
from deployer.paths import home


@click.command()
@click.argument("model")
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
    model: str,
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
    from deployer.workflow import planning, review

    request = options.make_request(model, **flags)
    try:
        made = planning.plan(request, home(), host_file=host_file)
    except NoFitError as error:
        show.refusals(error, explain=explain)
        raise
    made = review.with_registry_news(made, ask=host_file is None)
    if out is not None:
        review.save(made, out)
    if as_json:
        output.document(made)
    else:
        again = f"deployer up {out}" if out else f"deployer up {options.retold(ctx, model)}"
        show.plan(made, explain=explain, following=f"on that host: {again}" if host_file else again)
    if detailed_exitcode and review.would_change(made, home()):
        ctx.exit(2)
