"""`deployer fit`."""

from pathlib import Path
from typing import Any

import click

from deployer.cli import completing, fit_table, options, output
from deployer.errors import BadInputError
from deployer.paths import home


@click.command()
@click.argument("model", required=False, shell_complete=completing.model)
@options.size_options
@options.host_file
@click.option("--exact", is_flag=True, help="Also ask the engine's own image, where it is here; downloads no weights.")
@click.option("--history", is_flag=True, help="What servers here were predicted to take, and what they took.")
@options.as_json
def command(
    *, model: str | None, host_file: Path | None, exact: bool, history: bool, as_json: bool, **flags: Any
) -> None:
    """What fits: every quantization of MODEL, at growing contexts, on the best set of each kind, and by how much.

    MODEL is as for `deployer plan`. Only metadata is read; nothing is downloaded or started.
    """
    from deployer.workflow import fit

    if history:
        _history(model, as_json=as_json)
        return
    if model is None:
        raise BadInputError("which model?", hint="deployer fit MODEL, or deployer fit --history")
    if exact and host_file is not None:
        raise BadInputError("--exact asks the images of this host; --host is another", hint="leave out one of them")
    request = options.make_request(model, **flags)
    found = fit.table(request, home(), host_file=host_file)
    if exact and found.fits:
        found = fit.with_exact(found, request, home(), output.Progress(quiet=as_json))
    if as_json and found.fits:
        output.document(found)
    if not as_json:
        fit_table.show(found, extra=tuple(fit.differences(found)), asked=request.kv_type)
    if not found.fits:
        raise fit.nothing_fits(found)


def _history(model: str | None, *, as_json: bool) -> None:
    from deployer.cli import show_history
    from deployer.workflow import measuring

    rows = measuring.history(home(), model)
    if as_json:
        output.document({"format_version": 1, "measurements": rows})
    else:
        show_history.table(rows)
