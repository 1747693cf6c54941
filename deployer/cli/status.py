"""`deployer status`."""

import click

from deployer.cli import options, output
from deployer.paths import home
from deployer.types import Row


@click.command()
@click.argument("name", required=False)
@options.as_json
def command(*, name: str | None, as_json: bool) -> None:
    """What runs, and whether it answers."""
    from deployer.workflow import lifecycle

    rows = lifecycle.status(home(), name)
    if as_json:
        output.document({"format_version": 1, "deployments": rows})
        return
    if not rows:
        click.echo("nothing is deployed; start with: deployer plan MODEL", err=True)
        return
    output.table(_HEADER, [_cells(row) for row in rows])


_HEADER = ("NAME", "STATUS", "ANSWERS", "RELEASE", "ENGINE", "MODEL", "RUNTIME", "BASE URL", "RESTARTS")
_ANSWERS = {True: "yes", False: "no", None: "-"}


def _cells(row: Row) -> tuple[str, ...]:
    model = f"{row.model}/{row.quantization}" if row.model else "-"
    return (
        *(row.name, row.status, _ANSWERS[row.answers], str(row.release)),
        *(row.engine or "-", model, row.runtime or "-", row.base_url or "-", str(row.restarts)),
    )
