"""`deployer connect`."""

import click

from deployer.cli import completing, options, output
from deployer.paths import home


@click.command()
@click.argument("name", required=False, shell_complete=completing.deployment)
@click.option(
    "--for",
    "client",
    type=options.OneOf(["openai", "curl", "n8n", "openwebui", "langchain", "ssh"]),
    default="openai",
    show_default=True,
    help="Which client.",
)
@options.as_json
def command(*, name: str | None, client: str, as_json: bool) -> None:
    """Paste-ready settings for a client. The key itself is never printed: it stays in its file."""
    from deployer.workflow import connecting, endpoint

    found = endpoint.of_deployment(home(), name)
    if as_json:
        output.document(connecting.document(found))
    else:
        click.echo(connecting.snippet(found, client))
