"""`up`: refuse early, fetch without a lock, then stop old, start new, gate, record; and undo it all on failure."""

import time

from deployer import ledger
from deployer.paths import Home
from deployer.render import PASSWORD_FILE, render
from deployer.types import HealthReport, Outcome, OutcomeImage, Plan, PlanImage, Release, Request, VerifiedImage
from deployer.workflow import acquire, gateway_up, measuring, preflight, recovery, running, serving
from deployer.workflow.endpoint import Endpoint, refuse_other_kinds
from deployer.workflow.planning import Missing, deployment_name
from deployer.workflow.report import Reporter, timed
from deployer.workflow.serving import Options


def up(target: Request | Plan, home: Home, options: Options, report: Reporter) -> Outcome:
    """Bring a deployment up and prove that it answers. Nothing is stopped before everything is here."""
    ledger.ensure_writable(home)
    refuse_other_kinds(home, target.name if isinstance(target, Plan) else deployment_name(target))
    plan, missing = _settle(target, home, options, report)
    outcome = put(plan, missing, home, options, report)
    gateway_up.follow(home, [plan], report, changed=outcome.changed)
    return outcome


def put(plan: Plan, missing: Missing, home: Home, options: Options, report: Reporter) -> Outcome:
    """Let a settled plan serve, unless it does already. Its model and image are here."""
    if (current := unchanged(plan, home)) is not None:
        return _outcome(plan, current, missing, changed=False)
    preflight.check(plan, home)
    release = _replace(plan, home, options, report)
    return _outcome(plan, release, missing, changed=True)


def _settle(target: Request | Plan, home: Home, options: Options, report: Reporter) -> tuple[Plan, Missing]:
    if isinstance(target, Plan):
        return acquire.settle_saved(target, home, report, allow_build=options.allow_build)
    return acquire.settle(target, home, report, allow_build=options.allow_build)


def unchanged(plan: Plan, home: Home) -> Release | None:
    """The running release, when it is what the plan asks for and it still answers."""
    current = ledger.current(home, plan.name)
    if current is None or current.status != "healthy" or current.plan_hash != plan.plan_hash:
        return None
    state = running.state(home, plan)
    if state.status != "running" or state.plan_hash != plan.plan_hash:
        return None
    return current if running.answers(home, plan, within_s=running.PATIENCE_S) else None


def _replace(plan: Plan, home: Home, options: Options, report: Reporter) -> Release:
    """Under the lock: stop old, start new, gate. On any failure, Ctrl-C included, the old one comes back."""
    with ledger.lock(home, f"up {plan.name}"):
        recovery.close(home, plan.name)
        ledger.ensure_key(home, plan.name, plan.container_user)
        if plan.key_config is not None:
            ledger.ensure_config(home, plan.name, plan.container_user)
        old = ledger.known_plan(home, plan.name)
        change = recovery.Change(
            previous=ledger.current(home, plan.name),
            release=ledger.create(home, plan, render(plan)),
            stopped=old if old is not None and running.serves(home, old) else None,
            home=home,
            options=options,
            report=report,
        )
        try:
            found = _switch(change, plan)
        except BaseException as error:
            raise recovery.undo(change, error) from error
        release = _record(plan, change.release, found, home)
        return measuring.record(plan, release, found, home, report, alone=change.stopped is None)


def _switch(change: recovery.Change, plan: Plan) -> HealthReport:
    if change.stopped is not None:
        with timed(change.report, f"stop what serves as {plan.name}"):
            running.stop(change.stopped, change.home, change.report)
    return serving.serve(plan, change.release, change.home, change.options, change.report)


def _record(plan: Plan, release: Release, found: HealthReport, home: Home) -> Release:
    healthy = ledger.mark(home, release, "healthy", health=found)
    ledger.make_current(home, healthy)
    if plan.runtime == "compose" and plan.health.metrics_path is not None:
        ledger.ensure_password(home, plan.name, PASSWORD_FILE, plan.container_user)  # of Grafana, where it watches
    if plan.image.image_id is not None:
        ledger.add_verified(home, verified(plan, healthy, found))
    ledger.audit(home, "up", plan.name, healthy.number, "healthy")
    return healthy


def verified(plan: Plan, release: Release, found: HealthReport) -> VerifiedImage:
    """The ledger's entry for an image that has just passed the gate."""
    return VerifiedImage(
        engine=plan.engine,
        engine_version=plan.engine_version,
        profile=plan.image.profile,
        recipe=plan.image.recipe,
        reference=plan.image.reference,
        image_id=plan.image.image_id or "",
        digest=plan.image.digest,
        fingerprint=plan.host_fingerprint,
        model=plan.model.ref,
        quantization=plan.model.quantization,
        deployment=plan.name,
        release=release.number,
        verified_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        evidence=found,
    )


def _outcome(plan: Plan, release: Release, missing: Missing, *, changed: bool) -> Outcome:
    return Outcome(
        name=plan.name,
        changed=changed,
        release=release.number,
        runtime=plan.runtime,
        base_url=Endpoint.of(plan).base_url,
        model=plan.name,
        key_file=plan.key_file,
        engine=plan.engine,
        image=_image(plan.image),
        unavailable=missing.reasons,
        health=release.health,
        warnings=plan.warnings,
        measured=measuring.rows(release.measured),
    )


def _image(image: PlanImage) -> OutcomeImage:
    return OutcomeImage(
        profile=image.profile,
        reference=image.reference,
        digest=image.digest,
        id=image.image_id,
        source=image.source,
    )
