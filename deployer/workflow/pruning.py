"""`images prune`: what this installation pulled, built or imported, and nothing here may need any more."""

from collections.abc import Iterable, Iterator

import msgspec

from deployer import catalog, images, ledger
from deployer.errors import StateError
from deployer.images import LocalImage
from deployer.paths import Home
from deployer.types import Plan, Release
from deployer.types.inventory import Pruned, PrunedImage
from deployer.workflow import gateway_record
from deployer.workflow.report import Reporter, timed

_MAY_SERVE = ("pending", "healthy", "superseded", "stopped")


def look(home: Home) -> Pruned:
    """What a prune would do now: every image of this installation that is here, and why it stays if it does."""
    needed, used = dict(_needed(home)), images.in_use()
    here = (images.inspect_image(image_id) for image_id in dict.fromkeys(_known(home)))
    found = {image.id: image for image in here if image is not None}
    return Pruned(dry_run=True, images=tuple(_judged(image, needed, used) for image in found.values()))


def prune(home: Home, report: Reporter) -> Pruned:
    """Remove them. Nothing is forced: what Docker keeps stays, with its reason."""
    with ledger.lock(home, "images prune"):
        seen, settings = look(home), images.engine_settings()
        before = images.free_mib(settings)
        done = tuple(_remove(item, home, report) if item.status == "removed" else item for item in seen.images)
        after = images.free_mib(settings)
    freed = None if before is None or after is None else max(after - before, 0)
    return Pruned(dry_run=False, images=done, freed_mib=freed)


def _remove(item: PrunedImage, home: Home, report: Reporter) -> PrunedImage:
    image = images.inspect_image(item.image_id)
    if image is not None:
        with timed(report, f"remove {item.image_id[:19]}"):
            reason = images.remove(image)
        if reason is not None:
            return msgspec.structs.replace(item, status="kept", why=f"Docker keeps it: {reason}")
    ledger.forget_verified(home, item.image_id)
    ledger.forget_imported(home, item.image_id)
    ledger.audit(home, "images prune", None, None, "removed", detail=item.image_id)
    return item


def _judged(image: LocalImage, needed: dict[str, str], used: frozenset[str]) -> PrunedImage:
    names = images.names_of(image)
    why = needed.get(image.id)
    if why is None and image.id in used:
        why = "a container has it"
    if why is None and names.others:
        why = f"it has a name that is not ours: {names.others[0]}"
    if why is None and not names.ours:
        why = "it has no name of ours"
    return PrunedImage(
        image_id=image.id,
        names=(*names.ours, *names.others),
        size_mib=image.size_mib,
        status="removed" if why is None else "kept",
        why=why or "no release that could serve again needs it, and a newer one is verified or it served nothing",
    )


def _known(home: Home) -> Iterator[str]:
    """Ids of all images that this installation has a record of."""
    yield from (entry.image_id for entry in ledger.entries(home))
    yield from (item.image_id for item in ledger.imported(home))
    for _, plan in _plans(home):
        yield from _images_of(plan)


def _needed(home: Home) -> Iterator[tuple[str, str]]:
    """Images that must stay, with the reason; the same image may come several times."""
    yield from _newest(
        ((entry.fingerprint, entry.engine, entry.profile), entry.image_id, "the newest one verified for its profile")
        for entry in ledger.entries(home)
    )
    yield from _newest(
        (("imported", item.entry.engine, item.entry.profile), item.image_id, "imported, and the newest for its profile")
        for item in ledger.imported(home)
    )
    yield from _of_gateways(home)
    for release, plan in _plans(home):
        if release.status in _MAY_SERVE:
            said = f"release {release.number} of {release.name} can serve again"
            yield from ((image_id, said) for image_id in _images_of(plan))


def _newest(items: Iterable[tuple[tuple[str, ...], str, str]]) -> Iterator[tuple[str, str]]:
    """The first image of each kind."""
    seen = set[tuple[str, ...]]()
    for kind, image_id, why in items:
        if kind not in seen:
            seen.add(kind)
            yield image_id, why


def _of_gateways(home: Home) -> Iterator[tuple[str, str]]:
    """The proxy that stands before servers: of the gateway that was brought up last, and the one that is known."""
    made = gateway_record.known(home)
    if made is not None and made.image_id is not None:
        yield made.image_id, "the gateway has it"
    image = images.inspect_image(catalog.load_knowledge().gateway_image)
    if image is not None:
        yield image.id, "every gateway is made of it"


def _plans(home: Home) -> Iterator[tuple[Release, Plan]]:
    for name in ledger.deployments(home):
        for release in ledger.history(home, name):
            try:
                yield release, ledger.read_plan(home, release)
            except StateError:
                continue


def _images_of(plan: Plan) -> Iterator[str]:
    if plan.image.image_id is not None:
        yield plan.image.image_id
    if plan.gateway is not None and plan.gateway.image_id is not None:
        yield plan.gateway.image_id
