"""`down`, `status`, `logs`, `history`, `rollback` of a deployment; `down` and `logs` of the gateway too."""

from collections.abc import Callable

import msgspec

from deployer import ledger
from deployer.errors import BadInputError, PreconditionError, StateError
from deployer.paths import Home
from deployer.types import Adopted, Outcome, Plan, Release, Row, ServerState
from deployer.workflow import adopting, bring_up, gateway, live, measuring, running
from deployer.workflow.endpoint import Endpoint, current_plan, meant, up_again
from deployer.workflow.gateway_record import is_gateway
from deployer.workflow.report import Reporter, timed
from deployer.workflow.serving import Options


def down(home: Home, name: str, report: Reporter) -> bool:
    """Stop and remove the server of a deployment; its releases, key and images stay. False when nothing ran.

    An adopted server is forgotten, and goes on as it was. The gateway is stopped, and those behind it serve on.
    """
    if is_gateway(home, name):
        return down_gateway(home, report)
    if is_adopted(home, name):
        adopting.forget(home, name)
        report.note(f"{name} is forgotten; the server itself was not touched")
        return True
    plan = ledger.known_plan(home, name)
    with ledger.lock(home, f"down {name}"):
        with timed(report, f"stop {name}") as outcome:
            stopped = running.stop(plan, home, report) if plan else running.stop_by_name(name, home, report)
            outcome(f"{name} stopped" if stopped else f"{name} was not running")
        ledger.audit(home, "down", name, None, "stopped" if stopped else "was not running")
    gateway.tell_of_down(home, name, report)
    return stopped


def down_gateway(home: Home, report: Reporter) -> bool:
    """Stop and remove the gateway; False when there was none."""
    with timed(report, "stop the gateway") as outcome:
        stopped = gateway.down(home, report)
        outcome("the gateway stopped" if stopped else "the gateway was not running")
    return stopped


def chosen(home: Home, name: str | None) -> str:
    """The deployment that is meant: by name, or the only one there is, readable or not, whatever its kind."""
    wanted = meant(home, name)
    known = wanted in ledger.deployments(home) or is_adopted(home, wanted) or is_gateway(home, wanted)
    return wanted if known else current_plan(home, wanted).name


def is_adopted(home: Home, name: str) -> bool:
    """True for a server that is not ours."""
    return ledger.adopted(home, name) is not None


def status(home: Home, name: str | None, *, metrics: bool = False) -> tuple[Row, ...]:
    """Every deployment (or one), asked of its runtime and of the server itself; with `metrics` also what it does."""
    wanted = chosen(home, name) if name else None
    ours = tuple(_row(home, item, metrics=metrics) for item in ledger.deployments(home) if wanted in (None, item))
    others = tuple(
        _adopted_row(home, item, metrics=metrics) for item in ledger.all_adopted(home) if wanted in (None, item.name)
    )
    return (*ours, *others)


def _adopted_row(home: Home, record: Adopted, *, metrics: bool) -> Row:
    """What a server that is not ours shows of itself: whether it answers."""
    where = Endpoint.of_adopted(record)
    return Row(
        name=record.name,
        status="adopted",
        answers=running.answers_at(home, where),
        release=0,
        engine=record.engine,
        model=record.model,
        base_url=record.base_url,
        live=live.asked(where, record.engine, home) if metrics else None,
    )


def _row(home: Home, name: str, *, metrics: bool) -> Row:
    plan, release = ledger.known_plan(home, name), ledger.current(home, name)
    if plan is None:
        return Row(name=name, status="damaged", release=release.number if release else 0)
    status, state = _state(home, plan)
    up = status in ("running", "degraded")
    plan, release, doubt = _running(home, plan, release, state) if up else (plan, release, None)
    details = (state.detail if status in ("degraded", "unknown") else None, doubt)
    return msgspec.structs.replace(
        _planned(plan, release),
        status=status,
        answers=running.answers(home, plan) if up else None,
        started_at=state.started_at,
        restarts=state.restarts,
        live=live.look(plan, home, state) if metrics and up else None,
        detail="; ".join(detail for detail in details if detail) or None,
    )


def _running(
    home: Home, plan: Plan, release: Release | None, state: ServerState
) -> tuple[Plan, Release | None, str | None]:
    """The release whose server this is, by the plan it was started with, and what speaks against it.

    It is not the current one while an `up` goes on, and after one that was killed.
    """
    if state.plan_hash is None or (release is not None and release.plan_hash == state.plan_hash):
        return plan, release, None
    found = next((other for other in ledger.history(home, plan.name) if other.plan_hash == state.plan_hash), None)
    if found is None:
        return plan, release, None
    doubt = None if found.status in ("healthy", "superseded") else "not verified, its `up` goes on or was cut off"
    try:
        return ledger.read_plan(home, found), found, doubt
    except StateError:
        return plan, found, doubt


def _planned(plan: Plan, release: Release | None) -> Row:
    """What its plan says of a deployment, and what was measured of its release."""
    return Row(
        name=plan.name,
        status="down",
        release=release.number if release else 0,
        engine=plan.engine,
        model=plan.request.model,
        quantization=plan.model.quantization,
        image=plan.image.image_id or plan.image.reference,
        runtime=plan.runtime,
        base_url=Endpoint.of(plan).base_url,
        measured=measuring.rows(release.measured if release else None),
        devices=tuple(device.name or f"GPU {device.index}" for device in plan.devices),
    )


def _state(home: Home, plan: Plan) -> tuple[str, ServerState]:
    """Its state in a word: `down` when there is no server, `unknown` when the runtime does not answer."""
    try:
        state = running.state(home, plan)
    except PreconditionError as error:
        return "unknown", ServerState(name=plan.name, runtime=plan.runtime, status="missing", detail=error.message)
    return ("down" if state.status == "missing" else state.status), state


def logs(home: Home, name: str | None, *, tail: int, follow: bool, on_line: Callable[[str], None]) -> None:
    """The engine's own log, or the gateway's, control characters escaped."""
    if name is not None and is_gateway(home, name):
        gateway.logs(home, tail=tail, follow=follow, on_line=on_line)
        return
    plan = current_plan(home, name)
    if running.state(home, plan).status == "missing":
        raise PreconditionError(
            f"{plan.name} is down, and its log went with it",
            hint=f"why: deployer history {plan.name}; bring it up: {up_again(home, plan.name)}",
        )
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
    """The release that a rollback would serve again. Raises BadInputError naming those that could.

    Without a number, the newest one before the current with another plan, where there is one.
    """
    name = current_plan(home, name).name
    releases = ledger.history(home, name)
    current = ledger.current(home, name)
    good = [
        release
        for release in releases
        if release.status in ("healthy", "superseded") and (current is None or release.number != current.number)
    ]
    chosen = _newest(good, current) if number is None else next((one for one in good if one.number == number), None)
    if chosen is None:
        known = ", ".join(str(release.number) for release in good) or "none"
        wanted = "earlier healthy release" if number is None else f"healthy release {number}"
        message = f"{name} has no {wanted}; others that were healthy: {known}"
        raise BadInputError(message, hint=f"deployer history {name}")
    return chosen


def _newest(good: list[Release], current: Release | None) -> Release | None:
    """The newest one with another plan, else the newest one: the same plan again changes nothing that still runs."""
    others = (release for release in good if current is None or release.plan_hash != current.plan_hash)
    return next(others, good[0] if good else None)
