"""Images that came in a file from another machine: used without pull or build, verified once they served here."""

from deployer import images, ledger
from deployer.errors import PreconditionError
from deployer.paths import Home
from deployer.types import Plan
from deployer.types.inventory import ImportedImage


def matching(plan: Plan, home: Home) -> ImportedImage | None:
    """The newest imported image that is what this plan would pull or build, and is on this machine."""
    if plan.runtime != "compose" or plan.image.source not in ("pull", "build"):
        return None
    wanted = (plan.engine, plan.image.profile, plan.image.recipe)
    records = (item for item in ledger.imported(home) if _known_as(item) == wanted)
    return next((item for item in records if images.inspect_image(item.image_id) is not None), None)


def caution(plan: Plan, home: Home) -> str | None:
    """What a reader of a plan has to know of such an image. Never raises for a Docker that does not answer."""
    try:
        found = matching(plan, home)
    except PreconditionError:
        return None
    if found is None:
        return None
    return (
        f"image {found.image_id[:19]} was imported on {found.imported_at[:10]} and will be used without pull or build; "
        "it was verified on another machine, and is not yet on this one"
    )


def _known_as(item: ImportedImage) -> tuple[str, str, str]:
    return (item.entry.engine, item.entry.profile, item.entry.recipe)
