"""From a decision to a plan whose model and image are on this machine, and back to what was verified when not."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from deployer import decide, images, ledger, models
from deployer.errors import HubError, ImageUnavailableError, NoFitError
from deployer.paths import Home
from deployer.render import render
from deployer.render.front import front_image
from deployer.types import HostFacts, Plan, Request, VerifiedImage
from deployer.workflow import imported, planning, preflight, room, staleness
from deployer.workflow.planning import Missing
from deployer.workflow.report import Reporter, timed

BUILD_TIMEOUT_S = 4 * 3600
PULL_TIMEOUT_S = 4 * 3600


def settle(
    request: Request, home: Home, report: Reporter, *, allow_build: bool, share: HostFacts | None = None
) -> tuple[Plan, Missing]:
    """Decide, then fetch; what cannot be had is left out with its reason and the decision is made again.

    Returns the plan with everything present and pinned, and what could not be had. The last resorts are a variant of
    the model that is on this machine, and the newest image verified here. Raises HubError or ImageUnavailableError
    when those do not exist either.
    """
    missing = planning.NOTHING_MISSING
    while True:
        plan = _plan_without(request, home, missing, share)
        preflight.startable(plan)
        if share is None:  # of several, only those that are meant need their ports
            preflight.port(plan.name, plan.address, plan.port, home)
        request = msgspec.structs.replace(request, engine=plan.engine)
        try:
            return obtain(plan, home, report, allow_build=allow_build), missing
        except HubError as error:
            missing = _without_hub(request, home, missing, error)
            report.note(f"going on without the hub: {error.message}")
        except ImageUnavailableError as error:
            if plan.image.profile in missing.images:
                raise
            images_missing = {**missing.images, plan.image.profile: error.message}
            missing = msgspec.structs.replace(missing, images=images_missing)
            report.note(f"going on without image {plan.image.profile}: {error.message}")


def _plan_without(request: Request, home: Home, missing: Missing, share: HostFacts | None) -> Plan:
    """The plan for what can be had. A missing image is never answered with another engine, only with another image."""
    try:
        plan = planning.plan(request, home, missing=missing, keep=True, share=share)
    except NoFitError as error:
        if missing.images:
            raise _nothing_to_run(missing.images) from error
        raise
    if plan.image.profile in missing.images and plan.image.source != "verified":
        raise _nothing_to_run(missing.images)
    return plan


def _without_hub(request: Request, home: Home, missing: Missing, error: HubError) -> Missing:
    """The hub left out; raises the hub's own error when no variant of the model is on this machine."""
    if not any(variant.present for variant in planning.resolve_model(request.model, home).variants):
        raise error
    return msgspec.structs.replace(missing, hub=error.message)


def settle_saved(plan: Plan, home: Home, report: Reporter, *, allow_build: bool) -> tuple[Plan, Missing]:
    """The same for a reviewed plan: only its own image, or the newest one verified here for the same profile."""
    preflight.startable(plan)
    staleness.check(plan, home)
    preflight.port(plan.name, plan.address, plan.port, home)
    try:
        return obtain(plan, home, report, allow_build=allow_build), planning.NOTHING_MISSING
    except ImageUnavailableError as error:
        entry = _newest_verified(plan, home)
        if entry is None:
            raise
        report.note(f"going on without image {plan.image.profile}: {error.message}")
        missing = Missing(images={plan.image.profile: error.message})
        return _with_image(plan, entry.image_id, entry.digest, source="verified"), missing


def obtain(plan: Plan, home: Home, report: Reporter, *, allow_build: bool) -> Plan:
    """Model and image of this plan on this machine; returns the plan pinned to where and what they really are."""
    room.check(plan, home, report)
    plan = _with_gateway(_with_model(plan, home, report), report)
    if plan.image.source == "none":
        return plan
    if plan.image.image_id is not None and images.inspect_image(plan.image.image_id) is not None:
        report.done(f"image {short(plan.image.image_id)} is here: not pulled, not built", 0.0)
        return plan
    if (brought := imported.matching(plan, home)) is not None:
        report.done(f"image {short(brought.image_id)} was imported: not pulled, not built", 0.0)
        return _with_image(plan, brought.image_id, None, source=plan.image.source)
    images.check_space(plan.image.size_mib or 0)
    match plan.image.source:
        case "verified":
            return _pull_again(plan, report)
        case "build":
            return _build(plan, report, allow_build=allow_build)
        case _:
            return _pull(plan, report)


def _with_gateway(plan: Plan, report: Reporter) -> Plan:
    """The image of the gateway before it on this machine; one that is here is not asked for again."""
    if plan.gateway is None:
        return plan
    here = images.inspect_image(front_image(plan.gateway))
    if here is None:
        asked = plan.gateway.image if plan.gateway.digest is None else front_image(plan.gateway)
        with timed(report, f"pull {asked} for the gateway"):
            here = images.pull(asked, report.detail, timeout_s=PULL_TIMEOUT_S)
    digest = next((digest.partition("@")[2] for digest in here.digests), None)
    gateway = msgspec.structs.replace(plan.gateway, image_id=here.id, digest=digest)
    return _hashed(msgspec.structs.replace(plan, gateway=gateway))


def _with_model(plan: Plan, home: Home, report: Reporter) -> Plan:
    """Fetch the model; a download is known by its commit only afterwards, so its path enters the plan here."""
    variant = room.variant_of(plan, home)
    with timed(report, f"model {plan.model.name} {plan.model.quantization}") as outcome:
        path = models.fetch(variant, home.models, lambda progress: report.detail(progress.line))
        outcome(f"model {path}")
    seeing = _projector_of(plan, path, home)
    moved = {plan.model.path: str(path), plan.model.projector: seeing}
    model = msgspec.structs.replace(
        plan.model, path=str(path), projector=seeing, revision=models.commit_of(path, home.models)
    )
    command = tuple(moved.get(word) or word for word in plan.command)  # a server without a container is told the paths
    return _hashed(msgspec.structs.replace(plan, model=model, command=command))


def _projector_of(plan: Plan, path: Path, home: Home) -> str | None:
    """Where the projector is, once the model of the same commit is at `path`."""
    name = None if plan.model.projector is None else models.repository_name(plan.model.projector, home.models)
    return plan.model.projector if name is None else str(models.beside(path, name, home.models))


def _hashed(plan: Plan) -> Plan:
    return msgspec.structs.replace(plan, plan_hash=decide.plan_hash(plan))


def _pull_again(plan: Plan, report: Reporter) -> Plan:
    """A verified image that was removed here comes back by its digest; one that was built here cannot."""
    if plan.image.digest is None or plan.image.reference is None:
        raise ImageUnavailableError(
            f"the verified image {plan.image.image_id} is no longer on this machine", hint="deployer images verify"
        )
    return _pull(plan, report)


def _pull(plan: Plan, report: Reporter) -> Plan:
    reference = _pinned_reference(plan)
    here = images.inspect_image(reference) if plan.image.digest is None else None
    if here is not None and (own := _own(here, reference)) is not None:
        why, digest = own
        report.done(f"image {short(here.id)} is {reference} on this machine; {why}", 0.0)
        return _with_image(plan, here.id, digest, source="pull")
    with timed(report, f"pull {reference}") as outcome:
        local = images.pull(reference, report.detail, timeout_s=PULL_TIMEOUT_S)
        outcome(f"image {short(local.id)} from {reference}")
    digest = next((digest.partition("@")[2] for digest in local.digests), None)
    return _with_image(plan, local.id, digest, source="pull")


def _own(here: images.LocalImage, reference: str) -> tuple[str, str | None] | None:
    """Why an image that is here by this name needs no pull, and its digest there; None: pull it.

    Where the Engine cannot tell whence it came, the registry is asked; one that does not have it leaves what is here.
    """
    origin = here.origin(reference)
    if origin == "here":
        return "it came from no registry", None
    if origin == "registry":
        return None
    answer = images.registry_digest(reference)
    if answer.digest is None:
        return f"Docker's image store does not say whence it came, and the registry gives none: {answer.error}", None
    if answer.digest == here.digest_of(reference):
        return "the registry has the same", answer.digest
    return None


def _pinned_reference(plan: Plan) -> str:
    reference = plan.image.reference or ""
    return reference if plan.image.digest is None or "@" in reference else f"{reference}@{plan.image.digest}"


def _build(plan: Plan, report: Reporter, *, allow_build: bool) -> Plan:
    if not allow_build:
        raise ImageUnavailableError("it has to be built and --no-build was given", hint="run without --no-build")
    tag = f"deployer/{plan.engine}:{plan.image.profile}"
    with timed(report, f"build {tag}") as outcome:
        local = images.build(
            render(plan).files["Dockerfile"],
            tag,
            plan.image.build_args,
            report.detail,
            timeout_s=BUILD_TIMEOUT_S,
            recipe=plan.image.recipe,
        )
        outcome(f"image {short(local.id)} built as {tag}")
    return _with_image(plan, local.id, None, source="build")


def _with_image(plan: Plan, image_id: str, digest: str | None, *, source: str) -> Plan:
    image = msgspec.structs.replace(plan.image, image_id=image_id, digest=digest, source=source)
    return _hashed(msgspec.structs.replace(plan, image=image))


def _newest_verified(plan: Plan, home: Home) -> VerifiedImage | None:
    return next(
        (
            entry
            for entry in ledger.for_fingerprint(home, plan.host_fingerprint)
            if (entry.engine, entry.profile) == (plan.engine, plan.image.profile)
            and images.inspect_image(entry.image_id) is not None
        ),
        None,
    )


def _nothing_to_run(unavailable: Mapping[str, str]) -> ImageUnavailableError:
    reasons = "; ".join(f"{profile}: {reason}" for profile, reason in unavailable.items())
    return ImageUnavailableError(
        f"no image could be had, and none was verified on this host: {reasons}",
        hint="look at the first reason; an image from another machine comes in with `deployer images import FILE`",
        details={"unavailable": dict(unavailable)},
    )


def short(image_id: str) -> str:
    """`sha256:` and twelve hex digits, as Docker shows them."""
    return image_id[:19]
