"""`down`, `status`, `logs`, `history`, `rollback`."""

from collections.abc import Callable

from deployer import ledger
from deployer.errors import BadInputError
from deployer.paths import Home
from deployer.types import Outcome, Plan, Release, Row, ServerState
from deployer.workflow import bring_up, running
from deployer.workflow.endpoint import Endpoint, current_plan
from deployer.workflow.report import Reporter, timed
from deployer.workflow.serving import Options


def down(home: Home, name: str | None, report: Reporter) -> bool:
    """Stop and remove the server of a deployment; its releases, key and images stay. False when nothing ran."""
    plan = current_plan(home, name)
    with ledger.lock(home, f"down {plan.name}"):
        with timed(report, f"stop {plan.name}") as outcome:
            stopped = running.stop(plan, home, report)
            outcome(f"{plan.name} stopped" if stopped else f"{plan.name} was not running")
        ledger.audit(home, "down", plan.name, None, "stopped" if stopped else "was not running")
    return stopped


def status(home: Home, name: str | None) -> tuple[Row, ...]:
    """Every deployment (or one), asked of its runtime and of the server itself."""
    plans = (current_plan(home, name),) if name else _plans(home)
    return tuple(_row(home, plan) for plan in plans)


def _plans(home: Home) -> tuple[Plan, ...]:
    found = (ledger.current_plan(home, name) for name in ledger.deployments(home))
    return tuple(plan for plan in found if plan is not None)


def _row(home: Home, plan: Plan) -> Row:
    state = running.state(home, plan)
    release = ledger.current(home, plan.name)
    return Row(
        name=plan.name,
        status=state.status,
        answers=_answers(home, plan, state),
        release=release.number if release else 0,
        engine=plan.engine,
        model=plan.model.name,
        quantization=plan.model.quantization,
        image=plan.image.image_id or plan.image.reference,
        runtime=plan.runtime,
        base_url=Endpoint.of(plan).base_url,
        started_at=state.started_at,
        restarts=state.restarts,
    )


def _answers(home: Home, plan: Plan, state: ServerState) -> bool | None:
    if state.status != "running":
        return None
    return running.answers(home, plan)


def logs(home: Home, name: str | None, *, tail: int, follow: bool, on_line: Callable[[str], None]) -> None:
    """The engine's own log, control characters escaped."""
    plan = current_plan(home, name)
    running.logs(plan, home, tail=tail, follow=follow, on_line=on_line)


def history(home: Home, name: str | None) -> tuple[Release, ...]:
    """Releases, newest first."""
    return ledger.history(home, current_plan(home, name).name)


def rollback(home: Home, name: str | None, number: int | None, options: Options, report: Reporter) -> Outcome:
    """A new release with the plan of an old healthy one. Refused before anything is stopped if its image is gone."""
    old = rollback_target(home, name, number)
    plan = ledger.read_plan(home, old)
    report.note(f"rolling {old.name} back to release {old.number}")
    return bring_up.up(plan, home, options, report)


def rollback_target(home: Home, name: str | None, number: int | None) -> Release:
    """The release that a rollback would serve again. Raises BadInputError naming those that could."""
    name = current_plan(home, name).name
    releases = ledger.history(home, name)
    current = ledger.current(home, name)
    good = [
        release
        for release in releases
        if release.status in ("healthy", "superseded") and (current is None or release.number != current.number)
    ]
    chosen = next((release for release in good if number in (None, release.number)), None)
    if chosen is None:
        known = ", ".join(str(release.number) for release in good) or "none"
        wanted = "an earlier healthy release" if number is None else f"healthy release {number}"
        raise BadInputError(f"{name} has no {wanted}; there are: {known}", hint=f"deployer history {name}")
    return chosen
