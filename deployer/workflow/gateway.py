"""One base URL for all deployments of a `deployer.yaml`, by model name: a proxy of its own beside them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from deployer import health, images, ledger
from deployer.catalog.load import load_gateway
from deployer.errors import DeployerError, NotServingError, PreconditionError, StateError
from deployer.paths import Home
from deployer.render.gateway import gateway_hash, render_gateway
from deployer.runtime import ComposeRuntime
from deployer.types import Plan
from deployer.types.address import in_url
from deployer.types.deployments import GatewayWish
from deployer.types.several import GatewayPlan, GatewayRoute, GatewayState
from deployer.workflow import preflight
from deployer.workflow.report import Reporter, timed

NAME = "gateway"
LOOPBACK = "127.0.0.1"
READY_S, ROUTE_S, PAUSE_S, STOP_S = 30.0, 15.0, 0.2, 30.0
LOG_TAIL = 20
_FOLDER, _RECORD = "files", "gateway.json"
_CHAT = "/v1/chat/completions"


def plan(wish: GatewayWish, plans: Sequence[Plan], home: Home, port: int) -> GatewayPlan:
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
        routes=tuple(_route(item) for item in plans),
    )


def _refuse_unreachable(plans: Sequence[Plan]) -> None:
    process = next((item for item in plans if item.runtime != "compose"), None)
    if process is not None:
        raise PreconditionError(
            f"gateway: {process.name} runs as a {process.runtime}, and the gateway reaches containers only",
            hint="runtime: compose for every deployment, or no gateway",
        )


def _route(server: Plan) -> GatewayRoute:
    """How a container beside it reaches a server: by the name and the network that Compose gives it."""
    project = f"deployer-{server.name}"
    return GatewayRoute(
        model=server.name, host=f"{project}-llm-1", port=server.container_port, network=f"{project}_llm"
    )


def known(home: Home) -> GatewayPlan | None:
    """The gateway that was brought up last. Raises StateError when its record cannot be read."""
    path = home.deployments / NAME / _RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=GatewayPlan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StateError(
            f"{path} cannot be read: {error}", hint=f"remove it, and bring the gateway up again: {path}"
        ) from error


def fetch(wanted: GatewayPlan, report: Reporter) -> GatewayPlan:
    """The same with its image on this machine, pinned by content. An image that is here is not asked for again."""
    here = images.inspect_image(wanted.image)
    if here is None:
        with timed(report, f"pull {wanted.image}"):
            here = images.pull(wanted.image, report.detail)
    return msgspec.structs.replace(wanted, image_id=here.id)


def up(wanted: GatewayPlan, servers: Mapping[str, str], home: Home, report: Reporter, *, changed: bool = True) -> None:
    """Start the gateway before running servers and prove that it routes; one that runs already is left alone.

    `servers` are their workloads by name; `changed`: one of them is new. Raises NotServingError when it does not route;
    the servers are not touched.
    """
    with ledger.lock(home, f"up {NAME}"):
        ledger.ensure_key(home, NAME, wanted.container_user)
        _, digest = ledger.ensure_key_list(home, NAME, wanted.models, wanted.container_user)
        bundle, runtime = render_gateway(wanted, digest), ComposeRuntime(home)
        state = runtime.state(NAME)
        if state.status == "running" and state.plan_hash == gateway_hash(bundle) and _listed(wanted, home):
            if changed:
                _prove(wanted, servers, home, report)
            return
        runtime.stop(NAME, report.detail, STOP_S)
        preflight.port_free(wanted.address, wanted.port)
        folder = _write(wanted, bundle.files, home)
        try:
            _start(wanted, servers, folder, home, report)
        except BaseException as error:
            raise _failed(error, runtime, report) from error
        ledger.audit(home, "up", NAME, None, "healthy")


def state(home: Home) -> GatewayState:
    """What runs, asked of Docker, and whether it answers."""
    made = known(home)
    if made is None:
        return GatewayState(status="absent")
    try:
        word = ComposeRuntime(home).state(NAME).status
    except PreconditionError:
        word = None
    status = {"missing": "down", None: "unknown"}.get(word, word or "unknown")
    answers = word == "running" and _listed(made, home)
    return GatewayState(status=status, answers=answers, base_url=made.base_url, models=made.models)


def down(home: Home, report: Reporter) -> bool:
    """Stop and remove the gateway; its key stays. False when there was none."""
    with ledger.lock(home, f"down {NAME}"):
        return ComposeRuntime(home).stop(NAME, report.detail, STOP_S)


def _write(wanted: GatewayPlan, files: Mapping[str, str], home: Home) -> Path:
    folder = home.deployments / NAME / _FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    except OSError as error:
        raise StateError(f"{folder} cannot be made: {error.strerror}", hint="deployer probe") from error
    for name, text in files.items():
        ledger.atomic_write(folder / name, text.encode(), mode=0o644)
    record = msgspec.json.format(msgspec.json.encode(wanted), indent=2) + b"\n"
    ledger.atomic_write(folder.parent / _RECORD, record, mode=0o644)
    return folder


def _start(wanted: GatewayPlan, servers: Mapping[str, str], folder: Path, home: Home, report: Reporter) -> None:
    with timed(report, f"start the gateway with {wanted.image}"):
        ComposeRuntime(home).start_files(NAME, folder, report.detail)
    until = time.monotonic() + READY_S
    while not _listed(wanted, home):
        if time.monotonic() > until:
            raise NotServingError(f"the gateway did not answer within {READY_S:.0f} s", hint="look at its log")
        time.sleep(PAUSE_S)
    _prove(wanted, servers, home, report)


def _prove(wanted: GatewayPlan, servers: Mapping[str, str], home: Home, report: Reporter) -> None:
    """Ask every model once; a server that was just replaced is found within seconds. Raises NotServingError."""
    with timed(report, "wait until the gateway routes to every model") as outcome:
        until = time.monotonic() + ROUTE_S
        while problem := next(_problems(wanted, servers, home), None):
            if time.monotonic() > until:
                raise NotServingError(f"the gateway {problem}", hint="deployer status")
            time.sleep(PAUSE_S)
        outcome(f"the gateway answers for {', '.join(wanted.models)}")


def _client(wanted: GatewayPlan, home: Home) -> health.Client:
    address = wanted.address if wanted.address not in ("0.0.0.0", "::") else LOOPBACK  # noqa: S104 - compared only
    return health.Client(f"http://{in_url(address)}:{wanted.port}", ledger.read_key(home, NAME), timeout_s=120)


def _listed(wanted: GatewayPlan, home: Home) -> bool:
    """Whether it answers with its key, and lists exactly its models."""
    try:
        return {listed.id for listed in _client(wanted, home).models()} == set(wanted.models)
    except health.ProtocolError:
        return False


def _problems(wanted: GatewayPlan, servers: Mapping[str, str], home: Home) -> Iterator[str]:
    """What is not as it has to be: a key that is not asked for, or a model that cannot be reached."""
    client = _client(wanted, home)
    if (status := client.status_without_key(_CHAT, {"model": wanted.models[0], "messages": []})) != 401:  # noqa: PLR2004
        yield f"answers {status} to a request without a key"
    for name, workload in servers.items():
        try:
            _ask(client, name, workload)
        except health.ProtocolError as error:
            yield f"does not reach {name}: {error}"


def _ask(client: health.Client, name: str, workload: str) -> None:
    if workload == "embedding":
        client.embed("one word", model=name)
    else:
        client.chat([{"role": "user", "content": "Say yes."}], model=name, max_tokens=1)


def _failed(error: BaseException, runtime: ComposeRuntime, report: Reporter) -> BaseException:
    """Take it down again; the error gets its last words."""
    lines: list[str] = []
    runtime.logs(NAME, tail=LOG_TAIL, follow=False, since=None, on_line=lines.append)
    runtime.stop(NAME, report.detail, STOP_S)
    if not isinstance(error, DeployerError):
        return error
    return NotServingError(
        f"{error.message}; the deployments serve on their own ports",
        hint=error.hint,
        details={**error.details, "log_tail": lines},
    )
