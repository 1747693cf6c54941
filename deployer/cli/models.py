"""`deployer models`."""

import click
import msgspec

from deployer.cli import options, output, show
from deployer.paths import home


@click.group()
def command() -> None:
    """Models: what the catalog knows, and what was downloaded to this machine."""


@command.command()
@options.as_json
def ls(*, as_json: bool) -> None:
    """Downloaded models; with the catalog's names on stderr."""
    from deployer.workflow import library

    stored, known = library.stored(home()), library.catalog_names()
    if as_json:
        output.document({"format_version": 1, "models": stored, "catalog": known})
        return
    rows = [(item.repo, item.commit[:12], f"{item.size_bytes >> 20} MiB", item.path) for item in stored]
    output.table(("REPOSITORY", "COMMIT", "SIZE", "PATH"), rows)
    click.echo(f"the catalog knows: {', '.join(known)}", err=True)


@command.command()
@click.argument("model")
@options.as_json
def inspect(*, model: str, as_json: bool) -> None:
    """Show what MODEL is: architecture, formats, sizes; from metadata alone."""
    from deployer.workflow import library

    found = library.inspect(model, home())
    if as_json:
        output.document({"format_version": 1, **msgspec.structs.asdict(found)})
    else:
        show.model(found)


@command.command()
@click.argument("model")
@click.option("--quant", "quantization", help="Which quantization (default: what `plan` chooses here).")
@options.dry_run
@options.verbose
@options.as_json
def pull(*, model: str, quantization: str | None, dry_run: bool, verbose: bool, as_json: bool) -> None:
    """Download MODEL, check every file's hash, print the path."""
    from deployer.workflow import library

    variant = library.choose(model, quantization, home())
    if dry_run:
        click.echo(f"would fetch {variant.source} {variant.quantization}", err=True)
        if as_json:
            would = {"source": variant.source, "quantization": variant.quantization}
            output.document({"format_version": 1, "dry_run": True, **would})
        return
    path = library.pull(variant, home(), output.Progress(quiet=as_json, verbose=verbose))
    if as_json:
        output.document({"format_version": 1, "path": str(path), "quantization": variant.quantization})
    else:
        click.echo(str(path))


@command.command()
@click.argument("reference", metavar="hf:ORG/REPO[@REVISION]")
@options.assume_yes
@options.dry_run
@options.as_json
def rm(*, reference: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove downloaded files. Refused while a deployment's current release needs them."""
    from deployer.workflow import library

    del yes
    removed = library.remove(reference, home(), dry_run=dry_run)
    if as_json:
        output.document({"format_version": 1, "removed": removed, "dry_run": dry_run})
        return
    for item in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {item.path}", err=True)
