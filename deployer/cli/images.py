"""`deployer images`."""

from pathlib import Path

import click

from deployer.cli import options, output
from deployer.errors import VerificationError
from deployer.paths import home
from deployer.types import ImageAudit, VerifiedImage
from deployer.types.inventory import ImageExport, ImportedImage, Pruned


@click.group()
def command() -> None:
    """Images verified on this host: a server was started from each and passed every check. And those on their way."""


@command.command()
@options.as_json
def ls(*, as_json: bool) -> None:
    """The ledger, newest first; then what was imported, and has not served here yet."""
    from deployer.workflow import inventory

    entries, imported = inventory.ls(home()), inventory.waiting(home())
    if as_json:
        output.document({"format_version": 1, "images": entries, "imported": imported})
        return
    output.table(_HEADER, [*(_cells(entry) for entry in entries), *(_imported_cells(item) for item in imported)])


_HEADER = ("IMAGE", "ENGINE", "PROFILE", "REFERENCE", "MODEL", "FINGERPRINT", "VERIFIED")


def _cells(entry: VerifiedImage) -> tuple[str, ...]:
    engine, model = f"{entry.engine} {entry.engine_version}", f"{entry.model}/{entry.quantization}"
    return (
        *(entry.image_id[7:19], engine, entry.profile, entry.reference or "-"),
        *(model, entry.fingerprint, entry.verified_at),
    )


def _imported_cells(item: ImportedImage) -> tuple[str, ...]:
    return (item.image_id[7:19], *_cells(item.entry)[1:-2], "-", f"no (imported {item.imported_at})")


@command.command()
@options.as_json
def verify(*, as_json: bool) -> None:
    """Look at each again: is it still here by content address, and does its tag still name it?"""
    from deployer.workflow import inventory

    audits = inventory.verify(home())
    if as_json:
        output.document({"format_version": 1, "images": audits})
    else:
        output.table(("IMAGE", "PRESENCE", "THIS HOST", "DETAIL"), [_audit_cells(item) for item in audits])
    missing = sum(item.presence == "missing" for item in audits)
    if missing:
        hint = "deployer up builds or pulls again; it cannot fall back on them"
        raise VerificationError(f"{missing} verified image(s) are not on this machine any more", hint=hint)


def _audit_cells(item: ImageAudit) -> tuple[str, ...]:
    return (item.image.image_id[7:19], item.presence, "yes" if item.this_host else "no", item.detail)


_FILE = click.Path(path_type=Path, dir_okay=False)


@command.command()
@click.argument("name")
@click.argument("file", type=_FILE)
@options.dry_run
@options.as_json
def export(*, name: str, file: Path, dry_run: bool, as_json: bool) -> None:
    """Write a verified image, its ledger entry and the release that it served into one FILE, for another machine.

    NAME is a deployment, or the beginning of an image's id. The file holds no key.
    """
    from deployer.workflow import carrying

    if dry_run:
        _would(f"would write {carrying.entry_of(name, home()).image_id[:19]} to {file}", as_json=as_json)
        return
    head = carrying.export(name, file, home(), output.Progress(quiet=as_json))
    if as_json:
        output.document({"format_version": 1, "file": str(file), "export": head})
    else:
        click.echo(f"{file}: {_what(head)}, {head.image_bytes >> 20} MiB\nnext: deployer images import {file}, there")


@command.command("import")
@click.argument("file", type=_FILE)
@options.assume_yes
@options.dry_run
@options.as_json
def import_(*, file: Path, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Load the image of an exported FILE: its hashes are checked, and `up` uses it without pull or build.

    It counts as verified once a server from it has passed every check on this machine.
    """
    from deployer.workflow import carrying

    head = carrying.read(file)[0]
    if dry_run:
        _would(f"would load {_what(head)}", as_json=as_json)
        return
    if not yes:
        click.echo(
            output.printable(f"would load {_what(head)}; an image is a program: load it from who you trust"), err=True
        )
        output.confirm("Load it?")
    record = carrying.import_(file, home(), output.Progress(quiet=as_json))
    if as_json:
        output.document({"format_version": 1, "imported": record})
    else:
        click.echo(f"imported {_what(head)}\nnext: deployer up {head.entry.model} --engine {head.entry.engine}")


@command.command()
@options.assume_yes
@options.dry_run
@options.as_json
def prune(*, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove images that were pulled, built or imported here and that no release, gateway or container may need."""
    from deployer.workflow import pruning

    seen = pruning.look(home())
    asked = any(item.status == "removed" for item in seen.images) and not dry_run
    if asked and not yes:
        _show_pruned(seen, err=True)
        output.confirm("Remove them?")
    done = pruning.prune(home(), output.Progress(quiet=as_json)) if asked else seen
    if as_json:
        output.document(done if asked or dry_run else _nothing(done))
    else:
        _show_pruned(done)


def _nothing(seen: Pruned) -> Pruned:
    import msgspec

    return msgspec.structs.replace(seen, dry_run=False, freed_mib=0)


def _show_pruned(found: Pruned, *, err: bool = False) -> None:
    word = {"removed": "would go" if found.dry_run else "removed", "kept": "stays"}
    for item in found.images:
        line = f"{item.image_id[7:19]}  {word[item.status]}  {item.size_mib} MiB  {item.why}  {' '.join(item.names)}"
        click.echo(output.printable(line), err=err)
    gone = [item for item in found.images if item.status == "removed"]
    most = f"{len(gone)} image(s), up to {sum(item.size_mib for item in gone)} MiB"
    freed = "" if found.freed_mib is None else f"; {found.freed_mib} MiB are free that were not"
    click.echo(f"{'would remove' if found.dry_run else 'removed'} {most}{freed}", err=err)


def _what(head: ImageExport) -> str:
    entry = head.entry
    served = f"verified with {entry.model} {entry.quantization} on {entry.verified_at}"
    return f"{entry.engine} {entry.engine_version} ({entry.profile}) {entry.image_id[:19]}, {served}"


def _would(text: str, *, as_json: bool) -> None:
    click.echo(output.printable(text), err=True)
    if as_json:
        output.document({"format_version": 1, "dry_run": True, "changed": False})
