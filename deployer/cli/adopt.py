"""`deployer adopt`."""

from pathlib import Path

import click

from deployer.cli import options, output
from deployer.paths import home
from deployer.types import Adopted


@click.command()
@click.argument("url")
@click.option("--name", required=True, help="Name to know it by here.")
@click.option(
    "--key-file", type=click.Path(path_type=Path, dir_okay=False), help="File with its API key; it is copied."
)
@click.option("--model", help="Which of its models (needed where it lists several).")
@options.assume_yes
@options.dry_run
@options.as_json
def command(
    *, url: str, name: str, key_file: Path | None, model: str | None, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Take a running server into status, check and connect. It is looked at first, and never started or stopped.

    URL is the address of anything OpenAI-compatible (Ollama, LM Studio, vLLM...), with or without /v1.
    """
    from deployer.workflow import adopting

    found = adopting.adopt(
        home(),
        url,
        name,
        key_file=key_file,
        model=model,
        report=output.Progress(quiet=as_json),
        dry_run=dry_run,
        agree=None if yes else _agree,
    )
    if as_json:
        output.document(document(found, changed=not dry_run))
    else:
        _say(found, dry_run=dry_run)


def document(found: Adopted, *, changed: bool) -> dict[str, object]:
    """The document of `adopt --json`."""
    return {
        "format_version": 1,
        "name": found.name,
        "changed": changed,
        "base_url": found.base_url,
        "model": found.model,
        "models": found.models,
        "engine": found.engine,
        "embedding": found.embedding,
        "reranker": found.reranker,
        "key_file": found.key_file,
    }


def _agree(found: Adopted) -> None:
    click.echo(output.printable(f"would adopt {_what(found)}"), err=True)
    output.confirm("Adopt it?")


def _what(found: Adopted) -> str:
    return f"{found.name}: {found.base_url}, model {found.model}, {found.engine or 'engine unknown'}"


def _say(found: Adopted, *, dry_run: bool) -> None:
    what = _what(found)
    click.echo(output.printable(f"would adopt {what}" if dry_run else f"adopted {what}"), err=dry_run)
    if not dry_run:
        click.echo(f"next: deployer check {found.name}; deployer connect {found.name}")
