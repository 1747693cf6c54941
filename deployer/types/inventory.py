"""What `deployer images export|import|prune` write, read and tell."""

from typing import Literal

from deployer.types._value import FORMAT_VERSION, Value
from deployer.types.record import Release, VerifiedImage


class ImageExport(Value, frozen=True, kw_only=True):
    """The head of an export: the ledger's entry, the release that served, and what the file holds beside it.

    `image_bytes` and `image_sha256` are of the image's own archive, `files` the sha256 of each file of the release.
    """

    format_version: int = FORMAT_VERSION
    deployer: str
    exported_at: str
    entry: VerifiedImage
    image_bytes: int
    image_sha256: str
    release: Release | None = None
    files: dict[str, str] = {}


class ImportedImage(Value, frozen=True, kw_only=True):
    """An image that came from another machine's export. Verified there, by `entry`; not yet on this host.

    `image_id` is what Docker calls it here.
    """

    format_version: int = FORMAT_VERSION
    image_id: str
    imported_at: str
    entry: VerifiedImage
    user: str | None = None


class PrunedImage(Value, frozen=True, kw_only=True):
    """One image of ours: removed (with `dry_run`: it would be), or kept, and why."""

    image_id: str
    names: tuple[str, ...]
    size_mib: int
    status: Literal["removed", "kept"]
    why: str


class Pruned(Value, frozen=True, kw_only=True):
    """The document of `images prune --json`. `freed_mib`: by how much the free space of Docker's disk grew.

    None where that disk cannot be seen, and with `dry_run`.
    """

    format_version: int = FORMAT_VERSION
    dry_run: bool
    images: tuple[PrunedImage, ...]
    freed_mib: int | None = None
