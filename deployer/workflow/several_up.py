"""`up|down|status -f deployer.yaml`: one deployment after the other, and what became of each."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from deployer import decide, ledger
from deployer.catalog.deployments import place
from deployer.errors import (
    DeployerError,
    InterruptedByUserError,
    NotServingError,
    PreconditionError,
    RolledBackError,
)
from deployer.paths import Home
from deployer.runtime import ComposeRuntime
from deployer.types import HostFacts, Outcome, Plan, Request, Row
from deployer.types.several import GatewayPlan, GatewayState, Overview, SeveralOutcomes
from deployer.workflow import (
    acquire,
    bring_up,
    gateway,
    gateway_up,
    lifecycle,
    overview,
    preflight,
    running,
    several,
    sharing,
    staleness,
)
from deployer.workflow.gateway_record import NAME as GATEWAY
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
    The gateway comes last, before those that serve.
    """
    ledger.ensure_writable(home)
    settled = settle(wish, home, several.seen(wish.requests, home), options, report)
    front = _front(wish, settled, home, report)
    order = sorted((settled[name] for name in wish.meant), key=lambda item: _growth(item.plan, home))

    def put(item: Settled) -> Outcome:
        if bring_up.unchanged(item.plan, home) is None:
            staleness.check(item.plan, home)
        return bring_up.put(item.plan, item.missing, home, options, report)

    outcomes, failed = _attempts(order, lambda item: item.plan.name, put, report)
    at_gateway = _Gateway(front, [settled[item.name].plan for item in outcomes], whole=not failed)
    changed = any(item.changed for item in outcomes)
    _, refused = _attempts([at_gateway], str, lambda item: item.up(home, report, changed=changed), report)
    if failed or refused:
        names = [*(item.plan.name for item in order), *refused]
        raise _verdict({**failed, **refused}, names)
    return SeveralOutcomes(deployments=outcomes, gateway=front)


def refuse_taken_ports(wish: Wish, plans: Sequence[Plan], home: Home) -> None:
    """Before anything is fetched: a port that another program holds, another's gateway. PreconditionError."""
    for plan in plans:
        if plan.name in wish.meant:
            _refuse_taken(wish, plan, home)
    if wish.file.gateway is None or wish.only:
        return
    ComposeRuntime(home).refuse_foreign(GATEWAY)
    if not gateway.is_there(home):
        preflight.port_free(several.gateway_address(wish.file), wish.gateway_port)


def _refuse_taken(wish: Wish, plan: Plan, home: Home) -> None:
    try:
        preflight.port(plan.name, plan.address, plan.port, home)
    except PreconditionError as error:
        named = wish.file.deployments[plan.name].port is not None
        where = place(wish.file, "deployments", plan.name, *(["port"] if named else []))
        hint = f"see who: ss -ltnp 'sport = :{plan.port}'; or give it another port in the file"
        raise PreconditionError(f"{where}: {error.message}", hint=hint) from error


class _Gateway(msgspec.Struct, frozen=True):
    """What is to become of the gateway: the wanted one (None: none, or one that is not meant), and who serves.

    `whole`: all that were meant serve as planned; else one that runs goes on for those that do.
    """

    wanted: GatewayPlan | None
    serving: list[Plan]
    whole: bool

    def __str__(self) -> str:
        return GATEWAY

    def up(self, home: Home, report: Reporter, *, changed: bool) -> None:
        workloads = {plan.name: gateway_up.work(plan) for plan in self.serving}
        if self.wanted is not None and self.whole:
            gateway_up.up(self.wanted, workloads, home, report, changed=changed)
        elif self.wanted is not None and self.serving and not gateway.is_there(home):
            gateway_up.up(gateway.only(self.wanted, workloads), workloads, home, report)
        else:
            gateway_up.follow(home, self.serving, report, changed=changed)


def settle(wish: Wish, home: Home, host: HostFacts, options: Options, report: Reporter) -> dict[str, Settled]:
    """Decide for the shared host and fetch; an image that cannot be had changes what is left for the next.

    Raises PreconditionError for a port that is taken, before anything is fetched.
    """
    found: dict[str, Settled] = {}

    def decide_one(request: Request, share: HostFacts) -> Plan:
        plan, missing = acquire.settle(request, home, report, allow_build=options.allow_build, share=share)
        found[plan.name] = Settled(plan, missing)
        return plan

    arrangement, plans = several.arranged(wish, home, host, several.deciding(home))
    refuse_taken_ports(wish, plans, home)
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
        lifecycle.down_gateway(home, report)

    def stop(name: str) -> tuple[str, bool]:
        if name not in known:
            report.done(f"{name} was not running", 0.0)
            return name, False
        return name, lifecycle.down(home, name, report)

    return _each(tuple(reversed(wish.meant)), str, stop, report)


def status(wish: Wish, home: Home) -> Overview:
    """A row for each, and the gateway that the file asks for; what was never brought up is `absent`."""
    known = set(ledger.deployments(home))
    rows = tuple(
        lifecycle.status(home, name)[0] if name in known else Row(name=name, status="absent", release=0)
        for name in wish.meant
    )
    return Overview(deployments=rows, gateway=_gateway_state(wish, home, rows))


def _gateway_state(wish: Wish, home: Home, rows: tuple[Row, ...]) -> GatewayState | None:
    if wish.file.gateway is None:
        return None
    path = None if wish.path is None else str(wish.path.absolute())
    return overview.gateway_state(home, rows) or GatewayState(status="absent", models=tuple(wish.requests), file=path)


def _growth(plan: Plan, home: Home) -> int:
    """MiB that it will take more than what serves under its name now."""
    old = ledger.known_plan(home, plan.name)
    before = sum(decide.taken(old).values()) if old is not None and running.serves(home, old) else 0
    return sum(decide.taken(plan).values()) - before


def _each(items: Sequence[T], name_of: Callable[[T], str], act: Callable[[T], R], report: Reporter) -> tuple[R, ...]:
    """Act on each; what failed is raised when all had their turn."""
    done, failed = _attempts(items, name_of, act, report)
    if failed:
        raise _verdict(failed, [name_of(item) for item in items])
    return done


def _attempts(
    items: Sequence[T], name_of: Callable[[T], str], act: Callable[[T], R], report: Reporter
) -> tuple[tuple[R, ...], dict[str, DeployerError]]:
    """Act on each; a failure is said and kept by name."""
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
    return tuple(done), failed


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
