"""One base URL for all deployments of a `deployer.yaml`, by model name: which gateway is meant, and what of it runs.

It is started and replaced by `gateway_up`.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from deployer import health, images, ledger
from deployer.catalog.load import load_gateway
from deployer.errors import PreconditionError, StateError
from deployer.paths import Home
from deployer.runtime import ComposeRuntime
from deployer.types import Plan, ServerState
from deployer.types.address import in_url
from deployer.types.deployments import GatewayWish
from deployer.types.several import GatewayPlan, GatewayRoute, GatewayState
from deployer.workflow.endpoint import Endpoint, up_gateway
from deployer.workflow.gateway_record import NAME, known
from deployer.workflow.report import Reporter, timed

LOOPBACK = "127.0.0.1"
STOP_S = 30.0
_ANSWER_S = 120.0
_LOOK_S = 5.0


def plan(wish: GatewayWish, plans: Sequence[Plan], home: Home, port: int, file: Path | None = None) -> GatewayPlan:
    """The gateway of these plans. Raises PreconditionError for a server that no container can reach."""
    _refuse_unreachable(plans)
    address = wish.address or LOOPBACK
    key = ledger.key_path(home, NAME)
    return GatewayPlan(
        name=NAME,
        base_url=f"http://{in_url(address)}:{port}/v1",
        address=address,
        port=port,
        models=tuple(item.name for item in plans),
        key_file=str(key),
        backend_keys=str(key.with_name("backend_keys")),
        container_user=plans[0].container_user,
        image=wish.image or load_gateway().image,
        routes=tuple(route(item) for item in plans),
        file=None if file is None else str(file.absolute()),
    )


def _refuse_unreachable(plans: Sequence[Plan]) -> None:
    process = next((item for item in plans if item.runtime != "compose"), None)
    if process is not None:
        raise PreconditionError(
            f"gateway: {process.name} runs as a {process.runtime}, and the gateway reaches containers only",
            hint="runtime: compose for every deployment, or no gateway",
        )


def route(server: Plan) -> GatewayRoute:
    """How a container beside it reaches a server: by the name and the network that Compose gives it."""
    project = f"deployer-{server.name}"
    return GatewayRoute(
        model=server.name, host=f"{project}-llm-1", port=server.container_port, network=f"{project}_llm"
    )


def only(wanted: GatewayPlan, names: Collection[str]) -> GatewayPlan:
    """The same for some of its models alone: the network of one that never ran is not there to be joined."""
    routes = tuple(item for item in wanted.routes if item.model in names)
    return msgspec.structs.replace(wanted, routes=routes, models=tuple(item.model for item in routes))


def fetch(wanted: GatewayPlan, report: Reporter) -> GatewayPlan:
    """The same with its image on this machine, pinned by content. An image that is here is not asked for again."""
    here = images.inspect_image(wanted.image)
    if here is None:
        with timed(report, f"pull {wanted.image}"):
            here = images.pull(wanted.image, report.detail)
    return msgspec.structs.replace(wanted, image_id=here.id)


def running(home: Home) -> ServerState:
    """What Docker says of its container. Raises PreconditionError where Docker does not answer."""
    return ComposeRuntime(home).state(NAME)


def is_there(home: Home) -> bool:
    """Whether there is a container of it; False too where Docker does not answer."""
    return _word(home) not in ("down", "unknown")


def state(home: Home, answering: Callable[[str], bool]) -> GatewayState | None:
    """What runs, asked of Docker, whether it answers, and which servers behind it do not; None where there is none."""
    try:
        made = known(home)
    except StateError:
        return GatewayState(status="damaged")
    if made is None:
        return None
    word = _word(home)
    return GatewayState(
        status=word,
        answers=word == "running" and listed(made, home),
        base_url=made.base_url,
        models=made.models,
        down=tuple(name for name in made.models if not answering(name)),
        key_file=made.key_file,
        file=made.file,
    )


def _word(home: Home) -> str:
    try:
        found = running(home).status
    except PreconditionError:
        return "unknown"
    return "down" if found == "missing" else found


def client(wanted: GatewayPlan, home: Home, timeout_s: float = _ANSWER_S) -> health.Client:
    """A client of it from this machine, with its key."""
    return health.Client(Endpoint.of_gateway(wanted).base_url, ledger.read_key(home, NAME), timeout_s=timeout_s)


def listed(wanted: GatewayPlan, home: Home) -> bool:
    """Whether it answers with its key, and lists exactly its models."""
    try:
        return {item.id for item in client(wanted, home, _LOOK_S).models()} == set(wanted.models)
    except (health.ProtocolError, PreconditionError):
        return False


def logs(home: Home, *, tail: int, follow: bool, on_line: Callable[[str], None]) -> None:
    """HAProxy's own log. Raises PreconditionError when it does not run."""
    if running(home).status == "missing":
        raise PreconditionError("the gateway is down, and its log went with it", hint=up_gateway(home))
    ComposeRuntime(home).logs(NAME, tail=tail, follow=follow, since=None, on_line=on_line)


def down(home: Home, report: Reporter) -> bool:
    """Stop and remove the gateway; its key stays, and its deployments serve on. False when there was none."""
    with ledger.lock(home, f"down {NAME}"):
        runtime = ComposeRuntime(home)
        stopped = runtime.stop(NAME, report.detail, STOP_S)
        for name in _models(home):
            if runtime.state(name).status == "missing":
                runtime.stop(name, report.detail, STOP_S)  # its network, in which the gateway was the last
        ledger.audit(home, "down", NAME, None, "stopped" if stopped else "was not running")
    return stopped


def _models(home: Home) -> tuple[str, ...]:
    try:
        made = known(home)
    except StateError:
        return ()
    return () if made is None else made.models


def tell_of_down(home: Home, name: str, report: Reporter) -> None:
    """Say what a client of the gateway gets for the model of a server that is down now."""
    made = known(home)
    if made is not None and name in made.models and is_there(home):
        report.note(f"the gateway at {made.base_url} answers 503 for {name} until it is up again")
