"""`up|down|status -f deployer.yaml`: one deployment after the other, and what became of each."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from deployer import decide, ledger
from deployer.errors import DeployerError, InterruptedByUserError, NotServingError, RolledBackError
from deployer.paths import Home
from deployer.types import HostFacts, Outcome, Plan, Request, Row
from deployer.types.several import GatewayPlan, GatewayState, SeveralOutcomes
from deployer.workflow import acquire, bring_up, gateway, lifecycle, running, several, sharing, staleness
from deployer.workflow.planning import Missing
from deployer.workflow.report import Reporter
from deployer.workflow.serving import Options
from deployer.workflow.several import Wish

T = TypeVar("T")
R = TypeVar("R")


class Settled(msgspec.Struct, frozen=True):
    """A plan whose model and image are here, and what could not be had."""

    plan: Plan
    missing: Missing


def up(wish: Wish, home: Home, options: Options, report: Reporter) -> SeveralOutcomes:
    """Bring all up. Everything is decided and fetched first; then each is switched, those that free memory first.

    The failure of one leaves the others as they are; the error at the end says what became of each (see `_verdict`).
    """
    ledger.ensure_writable(home)
    settled = settle(wish, home, several.seen(wish.requests, home), options, report)
    front = _front(wish, settled, home, report)
    order = sorted((settled[name] for name in wish.meant), key=lambda item: _growth(item.plan, home))

    def put(item: Settled) -> Outcome:
        if bring_up.unchanged(item.plan, home) is None:
            staleness.check(item.plan, home)
        return bring_up.put(item.plan, item.missing, home, options, report)

    outcomes = _each(order, lambda item: item.plan.name, put, report)
    if front is not None:
        workloads = {name: item.plan.request.workload for name, item in settled.items()}
        gateway.up(front, workloads, home, report, changed=any(item.changed for item in outcomes))
    return SeveralOutcomes(deployments=outcomes, gateway=front)


def settle(wish: Wish, home: Home, host: HostFacts, options: Options, report: Reporter) -> dict[str, Settled]:
    """Decide for the shared host and fetch; an image that cannot be had changes what is left for the next."""
    found: dict[str, Settled] = {}

    def decide_one(request: Request, share: HostFacts) -> Plan:
        plan, missing = acquire.settle(request, home, report, allow_build=options.allow_build, share=share)
        found[plan.name] = Settled(plan, missing)
        return plan

    arrangement, _ = several.arranged(wish, home, host, several.deciding(home))
    sharing.follow(arrangement, host, decide_one)
    return found


def _front(wish: Wish, settled: dict[str, Settled], home: Home, report: Reporter) -> GatewayPlan | None:
    """The gateway with its image here; None where none is asked for, or only some of the deployments are meant."""
    wanted = several.gateway_of(wish, [settled[name].plan for name in wish.requests], home)
    return None if wanted is None or wish.only else gateway.fetch(wanted, report)


def down(wish: Wish, home: Home, report: Reporter) -> tuple[tuple[str, bool], ...]:
    """Stop all, the last one first; name, and whether anything ran."""
    known = set(ledger.deployments(home))
    if wish.file.gateway is not None and not wish.only:
        gateway.down(home, report)

    def stop(name: str) -> tuple[str, bool]:
        if name not in known:
            report.done(f"{name} was not running", 0.0)
            return name, False
        return name, lifecycle.down(home, name, report)

    return _each(tuple(reversed(wish.meant)), str, stop, report)


def status(wish: Wish, home: Home) -> tuple[Row, ...]:
    """A row for each; one that was never brought up is `absent`."""
    known = set(ledger.deployments(home))
    return tuple(
        lifecycle.status(home, name)[0] if name in known else Row(name=name, status="absent", release=0)
        for name in wish.meant
    )


def gateway_state(wish: Wish, home: Home) -> GatewayState | None:
    """What runs of the gateway; None where the file asks for none."""
    return None if wish.file.gateway is None else gateway.state(home)


def _growth(plan: Plan, home: Home) -> int:
    """MiB that it will take more than what serves under its name now."""
    old = ledger.known_plan(home, plan.name)
    before = sum(decide.taken(old).values()) if old is not None and running.serves(home, old) else 0
    return sum(decide.taken(plan).values()) - before


def _each(items: Sequence[T], name_of: Callable[[T], str], act: Callable[[T], R], report: Reporter) -> tuple[R, ...]:
    """Act on each; a failure is kept, said, and raised when all had their turn."""
    done: list[R] = []
    failed: dict[str, DeployerError] = {}
    for item in items:
        try:
            done.append(act(item))
        except InterruptedByUserError:
            raise
        except DeployerError as error:
            failed[name_of(item)] = error
            report.note(f"{name_of(item)}: {error.message}")
    if failed:
        raise _verdict(failed, [name_of(item) for item in items])
    return tuple(done)


def _verdict(failed: dict[str, DeployerError], names: Sequence[str]) -> DeployerError:
    """Exit 8 when one of them serves nothing now, 7 when an old release serves again, else as the first failure."""
    worst = next(
        (error for kind in (NotServingError, RolledBackError) for error in failed.values() if isinstance(error, kind)),
        next(iter(failed.values())),
    )
    well = [name for name in names if name not in failed]
    said = "; ".join(f"{name}: {error.message}" for name, error in failed.items())
    others = f"; {', '.join(well)}: as planned" if well else ""
    return type(worst)(
        f"{len(failed)} of {len(names)} failed: {said}{others}",
        hint=worst.hint,
        details={
            **worst.details,
            "failed": {name: {"kind": error.kind, "message": error.message} for name, error in failed.items()},
            "done": well,
        },
    )
