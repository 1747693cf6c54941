"""Where a deployment answers."""

import ipaddress

import msgspec

from deployer import health, ledger
from deployer.errors import BadInputError, StateError
from deployer.paths import Home
from deployer.types import Plan


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Base URL, model name and the key's file: all that an OpenAI client needs."""

    name: str
    base_url: str
    model: str
    key_file: str
    loopback: bool

    @classmethod
    def of(cls, plan: Plan) -> "Endpoint":
        """Endpoint of a plan, as it is reached from this machine; `loopback`: from this machine only."""
        return cls(
            name=plan.name,
            base_url=f"{health.server_url(plan)}/v1",
            model=plan.name,
            key_file=plan.key_file,
            loopback=ipaddress.ip_address(plan.address).is_loopback,
        )


def of_deployment(home: Home, name: str | None) -> Endpoint:
    """Endpoint of a deployment by name, or of the only one there is."""
    return Endpoint.of(current_plan(home, name))


def current_plan(home: Home, name: str | None) -> Plan:
    """Plan of the current release, or of the newest attempt. Raises BadInputError naming the deployments there are."""
    names = ledger.deployments(home)
    if name is None and len(names) == 1:
        name = names[0]
    plan = None if name is None else ledger.known_plan(home, name)
    if plan is not None:
        return plan
    known = ", ".join(names) or "none"
    if name is None:
        raise BadInputError(f"which deployment? there are: {known}", hint="deployer status")
    if name in names:
        raise StateError(
            f"no plan of {name} can be read", hint=f"stop what runs: deployer down {name}; then bring it up again"
        )
    raise BadInputError(f"no deployment {name!r}; there are: {known}", hint="deployer status")
