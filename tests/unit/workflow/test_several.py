"""Ports, the gateway's plan, and what is said when some of several fail. Files are real."""

import socket
from pathlib import Path

import msgspec
import pytest

from deployer import ledger
from deployer.errors import (
    BadInputError,
    DeployerError,
    InterruptedByUserError,
    LockedError,
    NotServingError,
    PreconditionError,
    RolledBackError,
    StateError,
)
from deployer.paths import Home
from deployer.types import Bundle, Plan
from deployer.types.deployments import Declared, DeploymentsFile, GatewayWish
from deployer.workflow import gateway, planning, several, several_up
from tests.unit.plans import build_plan


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


class Quiet:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, text: str) -> None: ...

    def done(self, text: str, seconds: float) -> None: ...

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def file(*names: str, wish: GatewayWish | None = None) -> DeploymentsFile:
    declared = {name: Declared(model="m") for name in names}
    lines = {name: number for number, name in enumerate(names, start=2)}
    return DeploymentsFile(label="d.yaml", deployments=declared, gateway=wish, lines=lines)


def released(home: Home, name: str, port: int) -> None:
    made = build_plan(name, port)
    release = ledger.create(home, made, Bundle(files={}))
    ledger.make_current(home, ledger.mark(home, release, "healthy"))


def test_ports_are_distinct_in_the_file_s_order(home: Home) -> None:
    asked = {"a": None, "b": 8000, "c": None}
    assert several.with_ports(file(*asked), asked, home) == {"a": 8001, "b": 8000, "c": 8002}


def test_a_new_one_leaves_alone_what_somebody_uses_where_it_would_listen(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(planning, "FIRST_PORT", port)
        path.write_text("deployments: {a: {model: m}}\ngateway: true\n")
        found = several.read(path, home, {}, look=True)
        ports = [found.requests["a"].port, found.gateway_port]
        assert port not in ports
        assert len(set(ports)) == 2
        assert several.read(path, home, {}).requests["a"].port == port


@pytest.mark.parametrize(
    ("text", "line", "steps"), [("{model: m, port: %d}", 2, "a/port"), ("\n    model: m\n    port: %d", 4, "a/port")]
)
def test_a_port_of_the_file_that_is_taken_is_refused_before_anything_is_fetched(
    text: str, line: int, steps: str, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "d.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        path.write_text(f"deployments:\n  a: {text % port}\n  b: {{model: m}}\n")
        plans = (build_plan("a", port),)
        with pytest.raises(PreconditionError, match=f"port {port} on 127.0.0.1 is taken by another program") as caught:
            several_up.refuse_taken_ports(several.read(path, home, {}), plans, home)
        assert caught.value.message.startswith(f"{path}:{line}: deployments/{steps}: ")
        assert "--port" not in caught.value.hint
        several_up.refuse_taken_ports(several.read(path, home, {}, ["b"]), plans, home)


def test_a_port_from_before_stays_and_those_of_others_are_left_alone(home: Home) -> None:
    released(home, "b", 8000)
    released(home, "elsewhere", 8001)
    asked = {"a": None, "b": None, "c": None}
    assert several.with_ports(file(*asked), asked, home) == {"a": 8002, "b": 8000, "c": 8003}
    assert several.with_ports(file("a", "b"), {"a": 8000, "b": None}, home) == {"a": 8000, "b": 8002}


def test_the_gateway_has_a_port_too_and_keeps_it(home: Home) -> None:
    asked = {"a": None}
    assert several.with_ports(file("a", wish=GatewayWish()), asked, home)["gateway"] == 8001
    made = gateway.plan(GatewayWish(), [build_plan("a")], home, 9123)
    record = home.deployments / "gateway/gateway.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(msgspec.json.encode(made))
    assert several.with_ports(file("a", wish=GatewayWish()), asked, home)["gateway"] == 9123
    assert several.with_ports(file("a", wish=GatewayWish(port=9000)), asked, home)["gateway"] == 9000
    record.write_text("{")
    with pytest.raises(StateError, match=r"gateway\.json cannot be read"):
        several.with_ports(file("a", wish=GatewayWish()), asked, home)


def test_one_port_for_two_and_the_gateway_s_name_are_refused(home: Home) -> None:
    with pytest.raises(BadInputError, match=r"d\.yaml:1: gateway and a both ask for port 9000"):
        several.with_ports(file("a", wish=GatewayWish(port=9000)), {"a": 9000}, home)
    with pytest.raises(BadInputError, match=r"d\.yaml:2: 'gateway' is the gateway's own name"):
        several.with_ports(file("gateway", wish=GatewayWish()), {"gateway": None}, home)
    assert several.with_ports(file("gateway"), {"gateway": None}, home) == {"gateway": 8000}


def test_a_gateway_names_files_and_containers_but_no_key(home: Home) -> None:
    made = gateway.plan(GatewayWish(image="haproxy:mine"), [build_plan("a"), build_plan("b")], home, 8005)
    assert made.models == ("a", "b")
    assert made.base_url == "http://127.0.0.1:8005/v1"
    assert made.image == "haproxy:mine"
    assert [(item.host, item.network) for item in made.routes] == [
        ("deployer-a-llm-1", "deployer-a_llm"),
        ("deployer-b-llm-1", "deployer-b_llm"),
    ]
    assert made.key_file == str(home.secrets / "gateway/api_key")
    assert gateway.plan(GatewayWish(), [build_plan("a")], home, 1).image.startswith("docker.io/library/haproxy:")


def test_a_gateway_reaches_containers_only(home: Home) -> None:
    with pytest.raises(PreconditionError, match="b runs as a process"):
        gateway.plan(GatewayWish(), [build_plan("a"), build_plan("b", runtime="process")], home, 8005)


def act(failures: dict[str, DeployerError], names: tuple[str, ...], report: Quiet) -> DeployerError:
    def one(name: str) -> str:
        if name in failures:
            raise failures[name]
        return name

    with pytest.raises(DeployerError) as caught:
        several_up._each(names, str, one, report)
    return caught.value


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ({"a": RolledBackError("x")}, 7),
        ({"a": RolledBackError("x"), "b": NotServingError("y")}, 8),
        ({"a": PreconditionError("x"), "b": RolledBackError("y")}, 7),
        ({"b": LockedError("x")}, 5),
        ({"a": PreconditionError("x")}, 3),
    ],
)
def test_the_worst_that_happened_is_the_exit_code(failures: dict[str, DeployerError], code: int) -> None:
    report = Quiet()
    error = act(failures, ("a", "b", "c"), report)
    assert error.exit_code == code
    assert error.details["failed"] == {
        name: {"kind": item.kind, "message": item.message} for name, item in failures.items()
    }
    assert "c" in str(error.details["done"])
    assert error.message.startswith(f"{len(failures)} of 3 failed: ")
    assert len(report.notes) == len(failures)


def test_ctrl_c_stops_at_once() -> None:
    error = act({"a": InterruptedByUserError("interrupted")}, ("a", "b"), Quiet())
    assert error.exit_code == 130


def test_a_server_that_does_not_run_yet_takes_all_that_it_needs(home: Home) -> None:
    def sized(name: str, mib: int) -> Plan:
        memory = {"device": "host", "weights_mib": mib, "kv_cache_mib": 0, "compute_mib": 0, "overhead_mib": 0}
        device = {**memory, "total_mib": mib, "margin_mib": 0, "available_mib": None}
        return build_plan(name, memory={"devices": [device]})

    assert several_up._growth(sized("a", 500), home) == 500
