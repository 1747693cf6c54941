"""`images export` and `images import`: a verified image, the ledger's entry and the release it served, in one file."""

import hashlib
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

import deployer
from deployer import images, ledger
from deployer.errors import BadInputError, PreconditionError, StateError, VerificationError
from deployer.images import LocalImage
from deployer.paths import Home, is_special
from deployer.types import FORMAT_VERSION, Release, VerifiedImage
from deployer.types.inventory import ImageExport, ImportedImage
from deployer.workflow import bring_up
from deployer.workflow.report import Reporter, timed

HEAD = "export.json"
RELEASE = "release/"
_MIB = 1024 * 1024


def entry_of(name: str, home: Home) -> VerifiedImage:
    """The verified image of a deployment, or the one whose id begins with `name`. BadInputError where there is none."""
    entries = ledger.entries(home)
    of_name = [entry for entry in entries if entry.deployment == name]
    current = ledger.current_plan(home, name) if name in ledger.deployments(home) else None
    serving = [e for e in (*of_name, *entries) if current is not None and e.image_id == current.image.image_id]
    by_id = [entry for entry in entries if name and entry.image_id.removeprefix("sha256:").startswith(name)]
    found = next(iter((*(_as_served(entry, name, home) for entry in serving), *of_name, *by_id)), None)
    if found is None:
        known = sorted({entry.deployment for entry in entries} | {entry.image_id[7:19] for entry in entries})
        raise BadInputError(
            f"{name!r} is neither a deployment with a verified image, nor the id of one",
            hint=f"one of: {', '.join(known) or 'none yet: an image is verified by a server that passed'}",
        )
    return found


def _as_served(entry: VerifiedImage, name: str, home: Home) -> VerifiedImage:
    """The entry as this deployment's current release proved it: an image has one entry, of whoever proved it last."""
    release = ledger.current(home, name)
    if entry.deployment == name or release is None or release.health is None:
        return entry
    return bring_up.verified(ledger.read_plan(home, release), release, release.health)


def export(name: str, path: Path, home: Home, report: Reporter) -> ImageExport:
    """Write the file; nothing is left when it fails. PreconditionError when the image is not here or has no room."""
    entry = entry_of(name, home)
    image = images.inspect_image(entry.image_id)
    if image is None:
        raise PreconditionError(
            f"{entry.image_id[:19]} is no longer on this machine", hint="deployer images verify shows which are"
        )
    _refuse_place(path, image.size_mib)
    with timed(report, f"export {entry.image_id[:19]} to {path}"):
        head = _write(path, entry, home)
    ledger.audit(home, "images export", entry.deployment, entry.release, "written", detail=str(path))
    return head


def _write(path: Path, entry: VerifiedImage, home: Home) -> ImageExport:
    release, files = _release(entry, home)
    with images.Packing(path) as packing:
        written = packing.image(images.save(entry.image_id))
        head = ImageExport(
            deployer=deployer.__version__,
            exported_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            entry=entry,
            image_bytes=written.size,
            image_sha256=written.sha256,
            release=release,
            files={file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
        )
        packing.finish({HEAD: msgspec.json.encode(head), **{f"{RELEASE}{name}": data for name, data in files.items()}})
    return head


def read(path: Path) -> tuple[ImageExport, dict[str, bytes], images.Parcel]:
    """Head, release files and place of the image; each file is what the head says. Nothing of it is trusted yet."""
    with _opened(path) as file:
        parcel = images.read_parcel(file)
    try:
        head = msgspec.json.decode(parcel.documents.get(HEAD, b""), type=ImageExport)
    except msgspec.DecodeError as error:
        raise VerificationError(f"{path}: no export of an image: {error}", hint=_HOW) from None
    if head.format_version > FORMAT_VERSION:
        raise PreconditionError(f"{path} was written by a newer deployer ({head.deployer})", hint="use that one here")
    files = {name.removeprefix(RELEASE): data for name, data in parcel.documents.items() if name != HEAD}
    if {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} != head.files:
        raise VerificationError(f"{path}: the files of the release are not those that were exported", hint=_HOW)
    if head.image_bytes != parcel.size:
        raise VerificationError(
            f"{path}: the image has {parcel.size} bytes, {head.image_bytes} were exported", hint=_HOW
        )
    return head, files, parcel


def import_(path: Path, home: Home, report: Reporter) -> ImportedImage:
    """Prove the image by its hashes, load it, and record it as imported: no server has run from it here."""
    head, files, parcel = read(path)
    with timed(report, f"check {path}"):
        facts = _examined(path, head, parcel)
    images.check_space(head.image_bytes // _MIB)
    with timed(report, f"load {head.entry.image_id[:19]}"), _opened(path) as file:
        window = images.Window(file, parcel.offset, parcel.size)
        image = images.load(iter(lambda: window.read(_MIB), b""), facts)
    _refuse_other_processor(image)
    record = ledger.add_imported(home, images.keep(image).id, head.entry, files)
    ledger.audit(home, "images import", head.entry.deployment, None, "imported", detail=image.id)
    return record


def _examined(path: Path, head: ImageExport, parcel: images.Parcel) -> images.ArchiveFacts:
    """Raise VerificationError unless the archive is the exported one, and the image in it the one of the ledger."""
    with _opened(path) as file:
        facts = images.examine(images.Window(file, parcel.offset, parcel.size), parcel.size)
    if facts.sha256 != head.image_sha256:
        raise VerificationError(
            f"{path}: the image's sha256 is {facts.sha256}, {head.image_sha256} was exported", hint=_HOW
        )
    if head.entry.image_id not in facts.ids:
        raise VerificationError(
            f"{path}: it holds {', '.join(facts.ids)}, and the ledger's entry names {head.entry.image_id}", hint=_HOW
        )
    return facts


def _refuse_other_processor(image: LocalImage) -> None:
    mine = images.engine_settings().architecture
    if mine is not None and image.architecture not in (None, mine):
        raise PreconditionError(
            f"the image is made for {image.architecture}; this machine is {mine}",
            hint=f"docker image rm {image.id[:19]}; then export one from a machine like this",
        )


def _refuse_place(path: Path, size_mib: int) -> None:
    """Raise BadInputError for a file that is there or cannot be, PreconditionError where there is no room."""
    import shutil

    if path.exists() or path.is_symlink():
        raise BadInputError(f"{path} is there already", hint="remove it, or choose another name")
    if not path.absolute().parent.is_dir():
        raise BadInputError(f"{path.parent}: no such folder", hint="make it, or choose another")
    free = shutil.disk_usage(path.absolute().parent).free // _MIB
    if free < size_mib:
        raise PreconditionError(f"{path.parent} has {free} MiB free; the image has {size_mib} MiB", hint="df -h")


def _release(entry: VerifiedImage, home: Home) -> tuple[Release | None, dict[str, bytes]]:
    """The release that verified the image, with its plan and files; none where it has been removed since."""
    try:
        release = ledger.read_release(home, entry.deployment, entry.release)
        plan, bundle = ledger.read_plan(home, release), ledger.read_bundle(home, release)
    except (BadInputError, StateError):
        return None, {}
    files = {name: text.encode() for name, text in bundle.files.items()}
    return release, {"plan.json": msgspec.json.format(msgspec.json.encode(plan), indent=2), **files}


def _opened(path: Path) -> BinaryIO:
    """The file; a folder, a pipe or a device is refused before it is opened."""
    if is_special(path) or path.is_dir():
        raise BadInputError(f"{path}: not a regular file", hint=_HOW)
    try:
        return path.open("rb")
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}", hint=_HOW) from error


_HOW = "copy the file anew, or export the image again: deployer images export NAME FILE"
