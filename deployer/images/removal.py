"""Taking images of ours off this machine, name by name: never by force, and never what something else names or runs."""

import msgspec

from deployer.execution import run
from deployer.images.acquire import KEPT
from deployer.images.causes import log_tail
from deployer.images.engine import engine
from deployer.images.inspect import RECIPE_LABEL, LocalImage, inspect_image

_TIMEOUT_S = 600
_BUILT_AS = "deployer/"


class Names(msgspec.Struct, frozen=True):
    """The names of an image: those that we gave it, by which it can be removed, and those of others."""

    ours: tuple[str, ...]
    others: tuple[str, ...]


def names_of(image: LocalImage) -> Names:
    """Whose the names are. What is pulled by digest has no tag but ours; a tag that is not ours is somebody's."""
    own = [tag for tag in image.tags if _is_ours(tag, image)]
    others = tuple(tag for tag in image.tags if tag not in own)
    repositories = {tag.rpartition(":")[0] for tag in others}
    digests = tuple(item for item in image.digests if item.partition("@")[0] not in repositories)
    return Names((*own, *digests) if own else (), others)


def in_use() -> frozenset[str]:
    """Ids of the images that a container has, running or not. PreconditionError when no Engine answers."""
    with engine() as client:
        return frozenset(str(entry["ImageID"]) for entry in client.api.containers(all=True))


def remove(image: LocalImage) -> str | None:
    """Remove an image by our names; None when it is gone, else Docker's reason for keeping it."""
    done = run(("docker", "image", "rm", *names_of(image).ours), timeout_s=_TIMEOUT_S)
    if inspect_image(image.id) is None:
        return None
    return next(iter(log_tail(done.stderr, lines=1)), "something else names it")


def _is_ours(tag: str, image: LocalImage) -> bool:
    return tag.startswith(f"{KEPT}:") or (tag.startswith(_BUILT_AS) and RECIPE_LABEL in image.labels)
