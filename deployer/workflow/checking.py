"""`check`: capabilities of a live server, ours or any other."""

from collections.abc import Sequence
from pathlib import Path

from deployer import health, ledger
from deployer.errors import BadInputError, PreconditionError, VerificationError
from deployer.health import CapabilityResult
from deployer.paths import Home
from deployer.workflow import endpoint, running


def check(
    home: Home, name: str | None, *, url: str | None, key_file: Path | None, model: str | None
) -> tuple[CapabilityResult, ...]:
    """Run every check against a deployment by name, or against any URL."""
    if url is None:
        plan = endpoint.current_plan(home, name)
        found = endpoint.Endpoint.of(plan)
        if not running.is_up(running.state(home, plan)):
            raise PreconditionError(
                f"{found.name} is not running", hint=f"bring it up: deployer up {plan.request.model}"
            )
        return health.check(found.base_url, ledger.read_key(home, found.name), model or found.model)
    if name is not None:
        raise BadInputError("give a deployment's name or --url, not both", hint="deployer check --help")
    return health.check(url.rstrip("/"), _key(key_file), model)


def _key(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path}: no key can be read: {error}", hint="--key-file FILE holds the key alone"
        ) from error


def broken(results: Sequence[CapabilityResult]) -> tuple[CapabilityResult, ...]:
    """Those that the server claims and does not keep."""
    return tuple(item for item in results if item.status == "broken")


def failure(results: Sequence[CapabilityResult]) -> VerificationError:
    """One error for all that is broken."""
    names = ", ".join(item.name for item in results)
    return VerificationError(f"broken: {names}", hint="deployer logs shows what the engine says")
