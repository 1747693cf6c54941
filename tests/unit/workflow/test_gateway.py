"""The gateway by its name: what is kept of it, where it routes, and what the verbs make of it without Docker."""

from pathlib import Path

import msgspec
import pytest

from deployer import ledger
from deployer.errors import BadInputError, NotServingError, PreconditionError, StateError
from deployer.paths import Home
from deployer.runtime.interface import OnLine
from deployer.types import Adopted, Bundle, Plan, ServerState
from deployer.types.deployments import GatewayWish
from deployer.types.several import GatewayPlan
from deployer.workflow import (
    adopting,
    checking,
    endpoint,
    gateway,
    gateway_record,
    gateway_up,
    lifecycle,
    overview,
    several,
)
from tests.unit.plans import build_plan
from tests.unit.workflow.test_several import Quiet, file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An installation on a machine where no Docker answers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def made(home: Home, *plans: Plan, wish: GatewayWish | None = None) -> GatewayPlan:
    found = gateway.plan(wish or GatewayWish(), plans, home, 9123, Path("/srv/deployer.yaml"))
    gateway_record.write(home, "a" * 64, {"compose.yaml": "new"})
    gateway_record.keep(home, found, "a" * 64)
    return found


def released(home: Home, plan: Plan) -> None:
    release = ledger.create(home, plan, Bundle(files={}))
    ledger.make_current(home, ledger.mark(home, release, "healthy"))


def test_what_serves_is_kept_and_the_files_of_others_go(home: Home) -> None:
    gateway_record.write(home, "b" * 64, {"compose.yaml": "old"})
    found = made(home, build_plan("a"))
    assert gateway_record.known(home) == found
    assert found.file == "/srv/deployer.yaml"
    folder = gateway_record.folder_of(home, "a" * 64)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / "compose.yaml").read_text() == "new"


def test_the_routes_are_those_of_what_serves_now(home: Home) -> None:
    plans = [build_plan(name, container_port=8080) for name in ("a", "b", "c")]
    found = made(home, *plans)
    released(home, plans[0])
    released(home, build_plan("b", container_port=8000))
    released(home, build_plan("c", container_port=1, runtime="process"))
    assert [item.port for item in gateway_up._routed(found, home).routes] == [8080, 8000, 8080]
    only = gateway.only(found, {"a", "c"})
    assert (only.models, [item.model for item in only.routes]) == (("a", "c"), ["a", "c"])


def test_status_has_the_gateway_and_says_that_docker_does_not_answer(home: Home) -> None:
    assert overview.look(home).gateway is None
    released(home, build_plan("a"))
    found = made(home, build_plan("a"), build_plan("b"))
    seen = overview.look(home)
    assert [row.name for row in seen.deployments] == ["a"]
    assert seen.gateway is not None
    assert (seen.gateway.status, seen.gateway.answers, seen.gateway.down) == ("unknown", False, ("a", "b"))
    assert (seen.gateway.base_url, seen.gateway.models) == (found.base_url, ("a", "b"))
    alone = overview.look(home, "gateway")
    assert (alone.deployments, alone.gateway) == ((), seen.gateway)
    assert overview.look(home, "a").gateway is None


def test_a_damaged_record_does_not_hide_the_others(home: Home) -> None:
    released(home, build_plan("a"))
    made(home, build_plan("a"))
    (home.deployments / "gateway/gateway.json").write_text("{")
    seen = overview.look(home)
    assert [row.name for row in seen.deployments] == ["a"]
    assert seen.gateway is not None
    assert seen.gateway.status == "damaged"
    with pytest.raises(StateError, match="cannot be read"):
        endpoint.of_deployment(home, "gateway")


@pytest.mark.parametrize(
    ("address", "base_url", "loopback"),
    [
        (None, "http://127.0.0.1:9123/v1", True),
        ("0.0.0.0", "http://127.0.0.1:9123/v1", False),
        ("::", "http://[::1]:9123/v1", False),
        ("10.0.0.5", "http://10.0.0.5:9123/v1", False),
    ],
)
def test_where_it_answers(address: str | None, base_url: str, *, loopback: bool, home: Home) -> None:
    made(home, build_plan("a"), build_plan("b"), wish=GatewayWish(address=address))
    found = endpoint.of_deployment(home, "gateway")
    assert (found.base_url, found.loopback) == (base_url, loopback)
    assert (found.model, found.others) == ("a", ("b",))
    assert found.container_base_url == "http://deployer-gateway-gateway-1:8080/v1"
    assert found.key_file == str(home.secrets / "gateway/api_key")


def test_the_only_deployment_is_meant_although_there_is_a_gateway(home: Home) -> None:
    released(home, build_plan("a"))
    made(home, build_plan("a"))
    assert endpoint.meant(home, None) == "a"
    released(home, build_plan("b"))
    with pytest.raises(BadInputError, match="there are: a, b, gateway"):
        endpoint.meant(home, None)


def test_it_has_no_release_and_its_name_is_taken(home: Home) -> None:
    released(home, build_plan("a"))
    made(home, build_plan("a"))
    for act in (lifecycle.history, endpoint.current_plan):
        with pytest.raises(PreconditionError, match="no plan and no release") as caught:
            act(home, "gateway")
        assert "deployer up -f /srv/deployer.yaml" in caught.value.hint
    with pytest.raises(PreconditionError, match="is the gateway before several"):
        endpoint.refuse_other_kinds(home, "gateway")
    with pytest.raises(BadInputError, match="there is a 'gateway' already"):
        adopting.refuse_taken(home, "gateway")
    with pytest.raises(PreconditionError, match="the gateway is not running") as down:
        checking.target(home, "gateway", url=None, key_file=None, model=None)
    assert down.value.hint == "bring it up: deployer up -f /srv/deployer.yaml"


@pytest.mark.parametrize("adopted", [True, False])
def test_a_deployment_of_that_name_leaves_no_room_for_a_gateway(home: Home, *, adopted: bool) -> None:
    if adopted:
        ledger.adopt(home, Adopted(name="gateway", base_url="http://127.0.0.1:1/v1", model="m"), None)
    else:
        released(home, build_plan("gateway"))
    assert several.with_ports(file("a"), {"a": None}, home)["a"] > 0
    with pytest.raises(BadInputError, match="has the gateway's own name"):
        several.with_ports(file("a", wish=GatewayWish()), {"a": None}, home)


def test_nothing_follows_where_no_gateway_runs_or_it_is_not_behind_one(home: Home) -> None:
    report = Quiet()
    gateway_up.follow(home, [build_plan("a")], report)
    made(home, build_plan("b"))
    gateway_up.follow(home, [build_plan("a")], report)
    gateway_up.follow(home, [build_plan("b")], report)
    assert report.notes == []
    assert not gateway.is_there(home)


def test_the_way_back_is_the_plan_of_the_release(home: Home) -> None:
    released(home, build_plan("a"))
    plan = home.deployments / "a/releases/1/plan.json"
    assert endpoint.up_again(home, "a") == f"deployer up {plan}"
    assert msgspec.json.decode(plan.read_bytes(), type=Plan).name == "a"
    ledger.create(home, build_plan("new"), Bundle(files={}))
    assert endpoint.up_again(home, "new") == "deployer up m --name new"


def test_each_server_behind_it_is_asked_for_what_it_does() -> None:
    vectors = {"model": "m", "users": 1, "context": 512, "workload": "embedding"}
    ranking = msgspec.structs.replace(build_plan("r", request=vectors).model, reranker=True)
    plans = (build_plan("a"), build_plan("b", request=vectors), build_plan("c", request=vectors, model=ranking))
    assert [gateway_up.work(plan) for plan in plans] == ["chat", "embedding", "rerank"]


class Fallen:
    """A gateway whose container ended, or hangs, after it said something."""

    def __init__(self, state: ServerState, *lines: str) -> None:
        self._state, self._lines = state, lines

    def __call__(self, home: Home) -> "Fallen":
        return self

    def start_files(self, name: str, folder: Path, on_line: OnLine) -> None: ...

    def state(self, name: str) -> ServerState:
        return self._state

    def logs(self, name: str, *, on_line: OnLine, **_: object) -> None:
        for line in self._lines:
            on_line(line)


@pytest.mark.parametrize(
    ("state", "lines", "message"),
    [
        (
            {"status": "exited", "exit_code": 1},
            ("[NOTICE] begins", "[ALERT] config : parsing [haproxy.cfg:3]", ""),
            "the gateway ended at once with exit status 1; its last line: [ALERT] config : parsing [haproxy.cfg:3]",
        ),
        ({"status": "running", "restarts": 2}, (), "the gateway ended at once"),
        (
            {"status": "running"},
            ("[NOTICE] waits",),
            "the gateway did not answer within 0 s; its last line: [NOTICE] w",
        ),
    ],
)
def test_a_gateway_that_does_not_come_up_is_quoted(
    state: dict[str, object], lines: tuple[str, ...], message: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = msgspec.convert({"name": "gateway", "runtime": "compose", **state}, ServerState)
    monkeypatch.setattr(gateway_up, "ComposeRuntime", Fallen(found, *lines))
    monkeypatch.setattr(gateway_up, "READY_S", 0.0)
    change = gateway_up._Change(wanted=made(home, build_plan("a")), servers={}, before=None, home=home, report=Quiet())
    with pytest.raises(NotServingError) as caught:
        gateway_up._start(change, "a" * 64)
    assert caught.value.message.startswith(message)
