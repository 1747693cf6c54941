"""Where a deployment answers, ours or adopted."""

import ipaddress
import shlex
from urllib.parse import urlsplit

import msgspec

from deployer import health, ledger
from deployer.errors import BadInputError, PreconditionError, StateError, did_you_mean, nearest
from deployer.ledger.releases import PLAN_FILE
from deployer.paths import Home
from deployer.render import gateway as gateway_files
from deployer.render.compose import SERVICE
from deployer.runtime.naming import project
from deployer.types import Adopted, Plan
from deployer.types.address import local_url
from deployer.types.several import GatewayPlan
from deployer.workflow import gateway_record

HOST_GATEWAY = "host.docker.internal"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Base URL, model name and the key's file: all that an OpenAI client needs.

    `loopback`: from this machine only. `network`: the Docker network that another container joins; `container_base_url`
    is where a container finds the server then, or None where it cannot. `key_file` is None for one without a key.
    `others`: the models that answer there too. `reranker`: its model ranks texts, and does nothing else.
    """

    name: str
    base_url: str
    model: str
    key_file: str | None
    loopback: bool
    network: str | None = None
    container_base_url: str | None = None
    adopted: bool = False
    others: tuple[str, ...] = ()
    reranker: bool = False

    @classmethod
    def of(cls, plan: Plan) -> "Endpoint":
        """Endpoint of a plan, as it is reached from this machine."""
        inside = plan.runtime == "compose"
        return cls(
            name=plan.name,
            base_url=f"{health.server_url(plan)}/v1",
            model=plan.name,
            key_file=plan.key_file,
            loopback=ipaddress.ip_address(plan.address).is_loopback,
            network=f"{project(plan.name)}_{SERVICE}" if inside else None,
            container_base_url=_in_network(plan) if inside else _through_host(plan),
            reranker=plan.model.reranker,
        )

    @classmethod
    def of_adopted(cls, record: Adopted) -> "Endpoint":
        """Endpoint of a server that is not ours: a container reaches it where this machine does, but for loopback."""
        local = is_loopback(record.base_url)
        return cls(
            name=record.name,
            base_url=record.base_url,
            model=record.model,
            key_file=record.key_file,
            loopback=local,
            container_base_url=None if local else record.base_url,
            adopted=True,
            reranker=record.reranker,
        )

    @classmethod
    def of_gateway(cls, made: GatewayPlan) -> "Endpoint":
        """Endpoint of the gateway before several deployments: one base URL and one key for all its models."""
        inside = project(made.name)
        return cls(
            name=made.name,
            base_url=f"{local_url(made.address, made.port)}/v1",
            model=made.models[0],
            key_file=made.key_file,
            loopback=ipaddress.ip_address(made.address).is_loopback,
            network=f"{inside}_{gateway_files.SERVICE}",
            container_base_url=f"http://{inside}-{gateway_files.SERVICE}-1:{gateway_files.CONTAINER_PORT}/v1",
            others=made.models[1:],
        )


def of_deployment(home: Home, name: str | None) -> Endpoint:
    """Endpoint of a deployment, an adopted server or the gateway by name, or of the only deployment there is."""
    wanted = meant(home, name)
    if gateway_record.is_gateway(home, wanted) and (made := gateway_record.known(home)) is not None:
        return Endpoint.of_gateway(made)
    record = ledger.adopted(home, wanted)
    return Endpoint.of_adopted(record) if record else Endpoint.of(current_plan(home, wanted))


def meant(home: Home, name: str | None) -> str:
    """The name itself, or that of the only deployment or adopted server. BadInputError naming them otherwise."""
    names = _servers(home)
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise _unknown(home, "which deployment?")
    return name


def current_plan(home: Home, name: str | None) -> Plan:
    """Plan of the current release, or of the newest attempt. Raises BadInputError naming the deployments there are."""
    names = ledger.deployments(home)
    if name is None and len(names) == 1:
        name = names[0]
    plan = None if name is None else ledger.known_plan(home, name)
    if plan is not None:
        return plan
    name = meant(home, name)
    refuse_other_kinds(home, name)
    if name in names:
        raise StateError(
            f"no plan of {name} can be read", hint=f"stop what runs: deployer down {name}; then bring it up again"
        )
    raise _unknown(home, f"no deployment {name!r}{did_you_mean(nearest(name, _every_name(home))) or ';'}")


def _unknown(home: Home, said: str) -> BadInputError:
    if known := ", ".join(_every_name(home)):
        return BadInputError(f"{said} there are: {known}", hint="deployer status")
    return BadInputError(f"{said} there is none yet", hint="deployer up MODEL, or deployer adopt URL --name NAME")


def refuse_other_kinds(home: Home, name: str) -> None:
    """Raise PreconditionError where this name is no deployment of ours: it is adopted, or the gateway."""
    if gateway_record.is_gateway(home, name):
        raise PreconditionError(
            f"{name} is the gateway before several deployments: it has no plan and no release of its own",
            hint=f"status, check, connect, logs and down work with it; {up_gateway(home)} makes it again",
        )
    record = ledger.adopted(home, name)
    if record is not None:
        raise PreconditionError(
            f"{name} is adopted ({record.base_url}): deployer does not run it, and has no plan, release or log of it",
            hint=f"status, check and connect work with it; forget it: deployer down {name}; or choose another --name",
        )


def is_loopback(url: str) -> bool:
    """True when the host of a URL is this machine's loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def up_again(home: Home, name: str) -> str:
    """The command that brings a deployment up again as it was: by the plan of its release, else by its model."""
    release, plan = ledger.current(home, name), ledger.known_plan(home, name)
    if release is not None:
        return shlex.join(("deployer", "up", str(ledger.folder(home, release) / PLAN_FILE)))
    return shlex.join(("deployer", "up", "MODEL" if plan is None else plan.request.model, "--name", name))


def up_gateway(home: Home) -> str:
    """The command that brings the gateway up again."""
    try:
        made = gateway_record.known(home)
    except StateError:
        made = None
    return shlex.join(("deployer", "up", "-f", (made and made.file) or "deployer.yaml"))


def _servers(home: Home) -> tuple[str, ...]:
    return (*ledger.deployments(home), *(record.name for record in ledger.all_adopted(home)))


def _every_name(home: Home) -> tuple[str, ...]:
    return (*_servers(home), *([gateway_record.NAME] if gateway_record.exists(home) else []))


def _in_network(plan: Plan) -> str:
    """By the container's own name: the service's name would mean two servers to a client in two networks."""
    return f"http://{project(plan.name)}-{SERVICE}-1:{plan.container_port}/v1"


def _through_host(plan: Plan) -> str | None:
    """A process on a wildcard address is reached at the host's side of Docker's bridge; on loopback, not at all."""
    address = ipaddress.ip_address(plan.address)
    if address.is_loopback:
        return None
    return f"http://{HOST_GATEWAY}:{plan.port}/v1" if address.is_unspecified else f"{health.server_url(plan)}/v1"
