"""`deployer check`."""

from pathlib import Path

import click

from deployer.cli import options, output
from deployer.paths import home


@click.command()
@click.argument("name", required=False)
@click.option("--url", help="Base URL of any OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1.")
@click.option("--key-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the API key.")
@click.option("--model", help="Model name to ask for (default: the server's first).")
@options.as_json
def command(*, name: str | None, url: str | None, key_file: Path | None, model: str | None, as_json: bool) -> None:
    """Ask a live server to show each capability; exit 6 when one that it claims is broken."""
    from deployer.workflow import checking

    results = checking.check(home(), name, url=url, key_file=key_file, model=model)
    if as_json:
        output.document({"format_version": 1, "checks": results})
    else:
        output.table(
            ("CAPABILITY", "STATUS", "SECONDS", "EVIDENCE"),
            [(item.name, item.status, f"{item.seconds:.2f}", output.printable(item.detail)) for item in results],
        )
    broken = checking.broken(results)
    if broken:
        raise checking.failure(broken)
