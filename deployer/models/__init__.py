"""Models: what the user named, what is known of it from its header alone, and how its files come to this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.models.progress import Progress
from deployer.models.reference import (
    CatalogReference,
    HubReference,
    PackageReference,
    PathReference,
    Reference,
    parse_reference,
)
from deployer.models.resolve import resolve, without_absent
from deployer.models.selection import beside, repository_name
from deployer.models.stored import StoredModel, commit_of, matching, remove, stored
from deployer.types import ModelVariant

if TYPE_CHECKING:
    from deployer.models.skeleton import Skeleton

__all__ = [
    "CatalogReference",
    "HubReference",
    "PackageReference",
    "PathReference",
    "Progress",
    "Reference",
    "StoredModel",
    "beside",
    "commit_of",
    "fetch",
    "matching",
    "missing_bytes",
    "parse_reference",
    "remove",
    "repository_name",
    "resolve",
    "stored",
    "without_absent",
    "write_header",
]


def fetch(variant: ModelVariant, store: Path, on_progress: Callable[[Progress], None]) -> Path:
    """Bring a variant to this machine and return its path; see `deployer.models.fetching.fetch`."""
    from deployer.models.fetching import fetch as bring

    return bring(variant, store, on_progress)


def missing_bytes(variant: ModelVariant, size_bytes: int, store: Path) -> int:
    """What of a variant has still to be downloaded; see `deployer.models.fetching.missing_bytes`."""
    from deployer.models.fetching import missing_bytes as missing

    return missing(variant, size_bytes, store)


def write_header(variant: ModelVariant, store: Path, folder: Path) -> "Skeleton":
    """The header of a GGUF variant as sparse files in `folder`; see `deployer.models.skeleton.write_header`."""
    from deployer.models.skeleton import write_header as write

    return write(variant, store, folder)
