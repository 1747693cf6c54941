"""Start the gateway before running servers and prove that it routes; where it does not, the one before comes back."""

import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deployer import health, ledger
from deployer.errors import DeployerError, InterruptedByUserError, NotServingError, RolledBackError
from deployer.paths import Home
from deployer.render.gateway import gateway_hash, render_gateway
from deployer.runtime import ComposeRuntime
from deployer.types import Bundle, Plan
from deployer.types.several import GatewayPlan
from deployer.workflow import gateway, gateway_record, preflight
from deployer.workflow.gateway_record import NAME
from deployer.workflow.report import Reporter, timed

READY_S, ROUTE_S, PAUSE_S = 60.0, 60.0, 0.2
"""Usually 1 s and 3 s. One whose container has ended is known at once; patience costs only where it hangs."""
LOG_TAIL = 20
_CHAT = "/v1/chat/completions"
RERANK = "rerank"


class _Before(msgspec.Struct, frozen=True):
    """The gateway that runs until now, and the digest of its files."""

    plan: GatewayPlan
    digest: str


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change under way: what is wanted, which servers (workload by name) are asked through it, what was before."""

    wanted: GatewayPlan
    servers: Mapping[str, str]
    before: _Before | None
    home: Home
    report: Reporter

    @property
    def runtime(self) -> ComposeRuntime:
        return ComposeRuntime(self.home)


def up(wanted: GatewayPlan, servers: Mapping[str, str], home: Home, report: Reporter, *, changed: bool = True) -> None:
    """Start the gateway before running servers and prove that it routes; one that runs already is left alone.

    `servers` are their workloads by name; `changed`: one of them is new. When it does not start or route, the one from
    before is brought back: RolledBackError, or NotServingError where there is none. The servers are not touched.
    """
    with ledger.lock(home, f"up {NAME}"):
        ledger.ensure_key(home, NAME, wanted.container_user)
        wanted = _routed(wanted, home)
        change = _Change(wanted=wanted, servers=servers, before=_before(home), home=home, report=report)
        bundle = _rendered(wanted, home)
        if change.before is not None and change.before.digest == gateway_hash(bundle) and gateway.listed(wanted, home):
            if changed:
                _prove(change)
            if change.before.plan != wanted:
                gateway_record.keep(home, wanted, change.before.digest)
            return
        _refuse_taken_port(change)
        _replace(change, bundle)


def follow(home: Home, plans: Sequence[Plan], report: Reporter, *, changed: bool = True) -> None:
    """Let the gateway route to what serves under these names now, where it runs and they are behind it.

    Another engine answers on another port, so that the routes may change with a release. Errors as those of `up`.
    """
    made = gateway_record.known(home)
    behind = [plan for plan in plans if made is not None and plan.name in made.models]
    if made is None or not behind or not gateway.is_there(home):
        return
    for plan in behind:
        if plan.runtime != "compose":
            report.note(f"the gateway reaches containers only, and {plan.name} runs as a {plan.runtime} now: 503 there")
    servers = {plan.name: work(plan) for plan in behind if plan.runtime == "compose"}
    if servers:
        up(made, servers, home, report, changed=changed)


def work(plan: Plan) -> str:
    """What the server is asked for: its workload, or to rank."""
    return RERANK if plan.model.reranker else plan.request.workload


def _routed(wanted: GatewayPlan, home: Home) -> GatewayPlan:
    """The same with the routes to what serves under each name now; where that is no container, as it was."""
    plans = [ledger.known_plan(home, route.model) for route in wanted.routes]
    pairs = zip(wanted.routes, plans, strict=True)
    routes = (gateway.route(plan) if plan is not None and plan.runtime == "compose" else old for old, plan in pairs)
    return msgspec.structs.replace(wanted, routes=tuple(routes))


def _rendered(wanted: GatewayPlan, home: Home) -> Bundle:
    """Its files; the list of the servers' keys is written, since their digest is part of them."""
    _, digest = ledger.ensure_key_list(home, NAME, wanted.models, wanted.container_user)
    return render_gateway(wanted, digest)


def _before(home: Home) -> _Before | None:
    """The gateway that runs, as its record and its container's label say; None where none runs."""
    state = gateway.running(home)
    made = gateway_record.known(home)
    if made is None or state.status != "running" or state.plan_hash is None:
        return None
    return _Before(made, state.plan_hash)


def _refuse_taken_port(change: _Change) -> None:
    """Before anything that serves is stopped; a port of its own is free when it has been."""
    wanted, before = change.wanted, change.before
    if before is None:
        change.runtime.stop(NAME, change.report.detail, gateway.STOP_S)
    if before is None or (before.plan.address, before.plan.port) != (wanted.address, wanted.port):
        preflight.port_free(wanted.address, wanted.port)


def _replace(change: _Change, bundle: Bundle) -> None:
    """Stop the one from before, start the new one and prove it; on any failure, Ctrl-C included, undo it."""
    digest = gateway_hash(bundle)
    gateway_record.write(change.home, digest, bundle.files)
    try:
        change.runtime.stop(NAME, change.report.detail, gateway.STOP_S)
        _start(change, digest)
        _prove(change)
    except BaseException as error:
        raise _undo(change, error) from error
    gateway_record.keep(change.home, change.wanted, digest)
    ledger.audit(change.home, "up", NAME, None, "healthy")


def _start(change: _Change, digest: str) -> None:
    """Returns when it lists its models. Raises NotServingError, at once where its container has ended."""
    with timed(change.report, f"start the gateway with {change.wanted.image}"):
        folder = gateway_record.folder_of(change.home, digest)
        change.runtime.start_files(NAME, folder, change.report.detail)
    until = time.monotonic() + READY_S
    while not gateway.listed(change.wanted, change.home):
        state = change.runtime.state(NAME)
        if state.status not in ("running", "starting") or state.restarts:
            code = "" if state.exit_code is None else f" with exit status {state.exit_code}"
            raise NotServingError(f"the gateway ended at once{code}{_last_line(change)}", hint=_HINT)
        if time.monotonic() > until:
            raise NotServingError(f"the gateway did not answer within {READY_S:.0f} s{_last_line(change)}", hint=_HINT)
        time.sleep(PAUSE_S)


_HINT = "the last lines of its log are above; correct deployer.yaml"


def _last_line(change: _Change) -> str:
    """The end of a sentence: its log's last line, or nothing where it wrote none."""
    lines: list[str] = []
    change.runtime.logs(NAME, tail=LOG_TAIL, follow=False, since=None, on_line=lines.append)
    said = [line for line in lines if line.strip()]
    return f"; its last line: {said[-1]}" if said else ""


def _prove(change: _Change) -> None:
    """Ask every model once; a server that was just replaced is found within seconds. Raises NotServingError."""
    with timed(change.report, "wait until the gateway routes to every model") as outcome:
        until = time.monotonic() + ROUTE_S
        while problem := next(_problems(change), None):
            if time.monotonic() > until:
                raise NotServingError(f"the gateway {problem}", hint="deployer status")
            time.sleep(PAUSE_S)
        outcome(f"the gateway answers for {', '.join(change.servers)}")


def _problems(change: _Change) -> Iterator[str]:
    """What is not as it has to be: a key that is not asked for, or a model that cannot be reached."""
    client = gateway.client(change.wanted, change.home)
    asked = {"model": change.wanted.models[0], "messages": []}
    if (status := client.status_without_key(_CHAT, asked)) != 401:  # noqa: PLR2004 - Unauthorized
        yield f"answers {status} to a request without a key"
    for name, workload in change.servers.items():
        try:
            _ask(client, name, workload)
        except health.ProtocolError as error:
            yield f"does not reach {name}: {error}"


def _ask(client: health.Client, name: str, workload: str) -> None:
    if workload == RERANK:
        client.rerank("one word", ["one word"], model=name)
    elif workload == "embedding":
        client.embed("one word", model=name)
    else:
        client.chat([{"role": "user", "content": "Say yes."}], model=name, max_tokens=1)


def _undo(change: _Change, error: BaseException) -> BaseException:
    """Take it down, bring the one from before back, and return the error that says which of the two happened."""
    lines: list[str] = []
    change.runtime.logs(NAME, tail=LOG_TAIL, follow=False, since=None, on_line=lines.append)
    change.runtime.stop(NAME, change.report.detail, gateway.STOP_S)
    restored = _restore(change)
    now = "the gateway from before serves again" if restored else "no gateway serves"
    ledger.audit(change.home, "up", NAME, None, "failed", detail=now)
    if isinstance(error, (KeyboardInterrupt, InterruptedByUserError)):
        return _interruption(error, now)
    if not isinstance(error, DeployerError):
        return error
    kind = RolledBackError if restored else NotServingError
    said = f"{error.message}; {now}, and each deployment on its own port"
    return kind(said, hint=error.hint, details={**error.details, "log_tail": lines, "serving": restored})


def _restore(change: _Change) -> bool:
    before = change.before
    if before is None:
        return False
    change.report.note("bringing the gateway from before back")
    again = msgspec.structs.replace(change, wanted=before.plan, servers={})
    try:
        ledger.ensure_key_list(change.home, NAME, before.plan.models, before.plan.container_user)
        _start(again, before.digest)
    except DeployerError as error:
        change.report.note(f"it did not come back either: {error.message}")
        change.runtime.stop(NAME, change.report.detail, gateway.STOP_S)
        return False
    return True


def _interruption(error: BaseException, now: str) -> InterruptedByUserError:
    said = InterruptedByUserError(f"interrupted; {now}", hint="deployer status")
    said.exit_code = error.exit_code if isinstance(error, InterruptedByUserError) else said.exit_code
    return said
