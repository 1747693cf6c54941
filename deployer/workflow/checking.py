"""`check`: capabilities of a live server, ours or any other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deployer import catalog, health, ledger
from deployer.errors import BadInputError, PreconditionError, VerificationError
from deployer.health import CapabilityResult, CheckReport, Target
from deployer.paths import Home
from deployer.types import Adopted, Plan
from deployer.workflow import endpoint, gateway, gateway_record, running
from deployer.workflow.key_file import read_key

__all__ = ["CapabilityResult", "CheckReport", "Target", "broken", "check", "failure", "target"]


def target(
    home: Home,
    name: str | None,
    *,
    url: str | None,
    key_file: Path | None,
    model: str | None,
    context: int | None = None,
) -> Target:
    """Return the server to check: a deployment by name, of which the plan is known, or any URL."""
    if url is None:
        return _deployed(home, name, model, context)
    if name is not None:
        raise BadInputError("give a deployment's name or --url, not both", hint="deployer check --help")
    key = None if key_file is None else read_key(key_file)
    return Target(base_url=url, key=key, model=model, context=context, engines=catalog.load_engines())


def check(
    server: Target,
    *,
    timeout_s: float,
    on_start: Callable[[str], None] | None = None,
    on_result: Callable[[CapabilityResult], None] | None = None,
) -> CheckReport:
    """Run every check, within `timeout_s` seconds in all; the callbacks tell which begins, and how each ended.

    Raises PreconditionError where nothing answers, and BadInputError for a key that is refused, or needed and absent.
    """
    health.first_contact(server.base_url, server.key, total_s=timeout_s, retry=_with_key(server))
    return health.check(server, total_s=timeout_s, on_start=on_start, on_result=on_result)


def broken(results: Sequence[CapabilityResult]) -> tuple[CapabilityResult, ...]:
    """Those that the server claims and does not keep."""
    return tuple(item for item in results if item.status == "broken")


def failure(server: Target, results: Sequence[CapabilityResult]) -> VerificationError:
    """One error for all that is broken."""
    names = ", ".join(item.name for item in results)
    return VerificationError(f"broken: {names}", hint=_log(server))


def _log(server: Target) -> str:
    """Where the engine says more: the log of what is not ours is not here."""
    if _has_log(server):
        return f"deployer logs {server.name}"
    with_key = " --key-file FILE" if server.key else ""
    again = server.name or f"--url {server.base_url}{with_key}"
    return f"the server's own log says more; again: deployer check {again}"


def _with_key(server: Target) -> str:
    """The command that gives the right key."""
    if server.name is None:
        return f"deployer check --url {server.base_url} --key-file FILE"
    if _has_log(server):
        return f"deployer logs {server.name}"
    return f"deployer adopt {server.base_url} --name {server.name} --key-file FILE"


def _has_log(server: Target) -> bool:
    """True for what we run: a deployment, or the gateway."""
    return server.name is not None and (server.engine is not None or server.name == gateway_record.NAME)


def _deployed(home: Home, name: str | None, model: str | None, context: int | None) -> Target:
    if gateway_record.is_gateway(home, endpoint.meant(home, name)):
        return _gateway(home, model, context)
    record = ledger.adopted(home, endpoint.meant(home, name))
    if record is not None:
        return _adopted(home, record, model, context)
    plan = endpoint.current_plan(home, name)
    found = endpoint.Endpoint.of(plan)
    _refuse_stopped(home, plan)
    return Target(
        base_url=found.base_url,
        key=ledger.read_key(home, found.name),
        model=model or found.model,
        context=context or plan.settings.context,
        name=found.name,
        embedding=plan.request.workload == "embedding",
        reranker=plan.model.reranker,
        engine=catalog.load_engine(plan.engine),
    )


def _refuse_stopped(home: Home, plan: Plan) -> None:
    if not running.is_up(running.state(home, plan)):
        raise PreconditionError(
            f"{plan.name} is not running", hint=f"bring it up: {endpoint.up_again(home, plan.name)}"
        )


def _gateway(home: Home, model: str | None, context: int | None) -> Target:
    """The gateway, asked for one of its models: the given one, else the first whose server answers."""
    made = gateway_record.known(home)
    if made is None or not gateway.is_there(home):
        raise PreconditionError("the gateway is not running", hint=f"bring it up: {endpoint.up_gateway(home)}")
    plans = {name: ledger.known_plan(home, name) for name in made.models}
    up = [name for name, plan in plans.items() if plan is not None and running.serves(home, plan)]
    chosen = model or next(iter(up), made.models[0])
    plan = plans.get(chosen)
    return Target(
        base_url=endpoint.Endpoint.of_gateway(made).base_url,
        key=ledger.read_key(home, made.name),
        model=chosen,
        context=context or (None if plan is None else plan.settings.context),
        name=made.name,
        embedding=plan is not None and plan.request.workload == "embedding",
        reranker=plan is not None and plan.model.reranker,
    )


def _adopted(home: Home, record: Adopted, model: str | None, context: int | None) -> Target:
    """A server that is not ours: which engine it is now is found out again."""
    return Target(
        base_url=record.base_url,
        key=None if record.key_file is None else ledger.read_key(home, record.name),
        model=model or record.model,
        context=context,
        name=record.name,
        embedding=record.embedding,
        reranker=record.reranker,
        engines=catalog.load_engines(),
    )
