"""`deployer history`."""

import click

from deployer.cli import completing, options, output
from deployer.paths import home
from deployer.types import Release


@click.command()
@click.argument("name", required=False, shell_complete=completing.deployment)
@options.as_json
def command(*, name: str | None, as_json: bool) -> None:
    """Releases of a deployment, newest first."""
    from deployer.workflow import lifecycle

    releases = lifecycle.history(home(), name)
    if as_json:
        output.document({"format_version": 1, "releases": releases})
        return
    output.table(_HEADER, [_cells(release) for release in releases])


_HEADER = ("RELEASE", "STATUS", "CREATED", "ENGINE", "MODEL", "IMAGE", "USER", "MESSAGE")
_IMAGE = 26


def _cells(release: Release) -> tuple[str, ...]:
    image = release.image or "-"
    image = image if len(image) <= _IMAGE else f"{image[: _IMAGE - 1]}…"
    message = output.printable((release.message or "-").splitlines()[0])
    who = release.user or "-"
    return (
        *(str(release.number), release.status, release.created_at),
        *(release.engine or "-", release.model or "-", image, who, message),
    )
