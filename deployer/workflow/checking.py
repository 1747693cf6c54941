"""`check`: capabilities of a live server, ours or any other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deployer import catalog, health, ledger
from deployer.errors import BadInputError, PreconditionError, VerificationError
from deployer.health import CapabilityResult, CheckReport, Target
from deployer.paths import Home
from deployer.types import Adopted
from deployer.workflow import endpoint, running

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
    return Target(base_url=url, key=_key(key_file), model=model, context=context, engines=catalog.load_engines())


def check(
    server: Target,
    *,
    timeout_s: float,
    on_start: Callable[[str], None] | None = None,
    on_result: Callable[[CapabilityResult], None] | None = None,
) -> CheckReport:
    """Run every check, within `timeout_s` seconds in all; the callbacks tell which begins, and how each ended."""
    return health.check(server, total_s=timeout_s, on_start=on_start, on_result=on_result)


def broken(results: Sequence[CapabilityResult]) -> tuple[CapabilityResult, ...]:
    """Those that the server claims and does not keep."""
    return tuple(item for item in results if item.status == "broken")


def failure(results: Sequence[CapabilityResult]) -> VerificationError:
    """One error for all that is broken."""
    names = ", ".join(item.name for item in results)
    return VerificationError(f"broken: {names}", hint="deployer logs shows what the engine says")


def _deployed(home: Home, name: str | None, model: str | None, context: int | None) -> Target:
    record = ledger.adopted(home, endpoint.meant(home, name))
    if record is not None:
        return _adopted(home, record, model, context)
    plan = endpoint.current_plan(home, name)
    found = endpoint.Endpoint.of(plan)
    if not running.is_up(running.state(home, plan)):
        raise PreconditionError(f"{found.name} is not running", hint=f"bring it up: deployer up {plan.request.model}")
    return Target(
        base_url=found.base_url,
        key=ledger.read_key(home, found.name),
        model=model or found.model,
        context=context or plan.settings.context,
        embedding=plan.request.workload == "embedding",
        engine=catalog.load_engine(plan.engine),
    )


def _adopted(home: Home, record: Adopted, model: str | None, context: int | None) -> Target:
    """A server that is not ours: which engine it is now is found out again."""
    return Target(
        base_url=record.base_url,
        key=None if record.key_file is None else ledger.read_key(home, record.name),
        model=model or record.model,
        context=context,
        embedding=record.embedding,
        engines=catalog.load_engines(),
    )


def _key(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path}: no key can be read: {error}", hint="--key-file FILE holds the key alone"
        ) from error
