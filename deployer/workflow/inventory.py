"""`images ls` and `images verify`: what has worked on this host, and whether it is still there."""

from deployer import facts, images, ledger
from deployer.paths import Home
from deployer.types import ImageAudit, Presence, VerifiedImage
from deployer.types.inventory import ImportedImage


def ls(home: Home) -> tuple[VerifiedImage, ...]:
    """Every verified image, newest first."""
    return ledger.entries(home)


def waiting(home: Home) -> tuple[ImportedImage, ...]:
    """Imported images from which no server has passed the checks here yet, newest first."""
    verified = {entry.image_id for entry in ledger.entries(home)}
    return tuple(item for item in ledger.imported(home) if item.image_id not in verified)


def verify(home: Home) -> tuple[ImageAudit, ...]:
    """Look at each image again: is it here by content address, and does its tag still name it?"""
    fingerprint = facts.gather(home.state).fingerprint
    return tuple(_audit(entry, fingerprint) for entry in ledger.entries(home))


def _audit(entry: VerifiedImage, fingerprint: str | None) -> ImageAudit:
    presence, detail = _look(entry)
    return ImageAudit(image=entry, presence=presence, this_host=entry.fingerprint == fingerprint, detail=detail)


def _look(entry: VerifiedImage) -> tuple[Presence, str]:
    if images.inspect_image(entry.image_id) is None:
        return "missing", f"{entry.image_id[:19]} is not on this machine"
    moved = tag_moved(entry.reference, entry.digest)
    return ("moved", moved) if moved else ("present", f"{entry.image_id[:19]} is here")


def tag_moved(reference: str | None, digest: str | None) -> str | None:
    """A sentence when the tag names another image in the registry now; None when not, or when nobody can tell."""
    if digest is None or reference is None:
        return None
    answer = images.registry_digest(reference.partition("@")[0], timeout_s=2)
    if answer.digest is None or answer.digest == digest:
        return None
    return (
        f"the tag {reference} now names {answer.digest[:19]} in its registry; "
        f"{digest[:19]} was verified here and is what runs"
    )
