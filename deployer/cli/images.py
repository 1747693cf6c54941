"""`deployer images`."""

import click

from deployer.cli import options, output
from deployer.errors import VerificationError
from deployer.paths import home
from deployer.types import ImageAudit, VerifiedImage


@click.group()
def command() -> None:
    """Images verified on this host: a server was started from each and passed every check."""


@command.command()
@options.as_json
def ls(*, as_json: bool) -> None:
    """The ledger, newest first."""
    from deployer.workflow import inventory

    entries = inventory.ls(home())
    if as_json:
        output.document({"format_version": 1, "images": entries})
        return
    output.table(_HEADER, [_cells(entry) for entry in entries])


_HEADER = ("IMAGE", "ENGINE", "PROFILE", "REFERENCE", "MODEL", "FINGERPRINT", "VERIFIED")


def _cells(entry: VerifiedImage) -> tuple[str, ...]:
    engine, model = f"{entry.engine} {entry.engine_version}", f"{entry.model}/{entry.quantization}"
    return (
        *(entry.image_id[7:19], engine, entry.profile, entry.reference or "-"),
        *(model, entry.fingerprint, entry.verified_at),
    )


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
