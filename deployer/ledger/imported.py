"""Images from another machine's export: one folder each, `ledger/imported/<image>/`, with its release's files.

They are no ledger entries: an image is verified only by a server that passed every check on this host.
"""

from collections.abc import Mapping

from deployer.errors import StateError
from deployer.ledger.files import atomic_write, encode, load, make_folder, remove_tree, state_errors
from deployer.ledger.names import check_file_name, now, whoami
from deployer.paths import Home
from deployer.types import VerifiedImage
from deployer.types.inventory import ImportedImage

_RECORD = "image.json"
_ID_DIGITS = 12


def add_imported(home: Home, image_id: str, entry: VerifiedImage, files: Mapping[str, bytes]) -> ImportedImage:
    """Write the record of an image, with the files of the release that it served elsewhere; an older one of it goes.

    BadInputError for a file's name that could leave its folder, StateError when it cannot be written.
    """
    names = {check_file_name(name): data for name, data in files.items()}
    folder = home.ledger / "imported" / _folder(image_id)
    remove_tree(folder)
    make_folder(folder / "release")
    for name, data in names.items():
        atomic_write(folder / "release" / name, data, mode=0o644)
    record = ImportedImage(image_id=image_id, imported_at=now(), entry=entry, user=whoami())
    atomic_write(folder / _RECORD, encode(record), mode=0o644)
    return record


def imported(home: Home) -> tuple[ImportedImage, ...]:
    """Every imported image, the newest first; one whose record cannot be read is passed over."""
    root = home.ledger / "imported"
    with state_errors("read", root):
        folders = list(root.iterdir()) if root.is_dir() else []
    found = []
    for folder in folders:
        try:
            record = load(folder / _RECORD, ImportedImage)
        except StateError:
            continue
        found += [record] if record is not None else []
    return tuple(sorted(found, key=lambda item: (item.imported_at, item.image_id), reverse=True))


def forget_imported(home: Home, image_id: str) -> None:
    """Remove the record of an image that is gone from this host."""
    remove_tree(home.ledger / "imported" / _folder(image_id))


def _folder(image_id: str) -> str:
    return check_file_name(image_id.removeprefix("sha256:")[:_ID_DIGITS])
