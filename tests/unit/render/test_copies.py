"""Several copies of a model in one Compose file: each on its own cards, and all of them behind the gateway."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from deployer import catalog, execution
from deployer.decide import plan_hash
from deployer.errors import BadInputError, DeployerError
from deployer.render import render, render_monitoring
from deployer.render.front import front_config
from deployer.render.jinja import render_template
from deployer.types import Plan, PlanDevice
from tests.unit.render import plans
from tests.unit.render.conftest import GoldenCompose
from tests.unit.render.test_launches import GoldenConfig

METRICS = catalog.load_engine("llama.cpp").metrics


def copied(count: int = 2, **changes: Any) -> Plan:
    return plans.llama_copies(count, **changes)


def services(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(render(plan).files["compose.yaml"])["services"]
    return document


def test_compose_golden(snapshot: SnapshotAssertion) -> None:
    assert render(copied()).files["compose.yaml"] == snapshot(name="llama-copies", extension_class=GoldenCompose)


def test_config_golden(snapshot: SnapshotAssertion) -> None:
    assert render(copied()).files["haproxy.cfg"] == snapshot(name="llama.cpp", extension_class=GoldenConfig)


@pytest.mark.parametrize("count", [2, 4])
def test_each_copy_has_its_own_cards_and_all_else_is_the_same(count: int) -> None:
    found = services(copied(count))
    assert list(found) == [*(f"copy-{number}" for number in range(1, count + 1)), "llm"]
    uuids = [device.uuid for device in copied(count).devices]
    given = [
        service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in found.items()
        if name != "llm"
    ]
    size = len(uuids) // count
    assert given == [uuids[start : start + size] for start in range(0, len(uuids), size)]
    rest = [{key: value for key, value in found[name].items() if key not in ("deploy", "labels")} for name in found][
        :-1
    ]
    assert all(one == rest[0] for one in rest)
    assert [found[f"copy-{number}"]["labels"]["io.deployer.copy"] for number in range(1, count + 1)] == [
        f"{number}/{count}" for number in range(1, count + 1)
    ]


def test_only_the_gateway_is_reached() -> None:
    found = services(copied())
    assert [name for name, service in found.items() if "ports" in service] == ["llm"]
    assert {name: service["networks"] for name, service in found.items()} == {
        "copy-1": ["engine"],
        "copy-2": ["engine"],
        "llm": ["llm", "engine"],
    }
    assert all(service["secrets"] == ["api_key"] for service in found.values())
    assert list(found["llm"]["depends_on"]) == ["copy-1", "copy-2"]


def test_the_gateway_counts_a_copys_slots_and_checks_its_health() -> None:
    text = render(copied(settings=plans.SETTINGS_OF_COPIES)).files["haproxy.cfg"]
    assert "maxconn 8" in text.split("\nbackend engine\n")[1].split("\n\n")[0]
    assert "option httpchk GET /health" in text
    assert re.findall(r"server (copy-\d) (\S+):8080 resolvers", text) == [
        ("copy-1", "deployer-qwen-copy-1-1"),
        ("copy-2", "deployer-qwen-copy-2-1"),
    ]


def test_one_engine_behind_a_gateway_has_nothing_of_it() -> None:
    text = render(copied(1, devices=plans.P40S[:1])).files["haproxy.cfg"]
    assert "copies" not in text
    assert "httpchk" not in text
    assert list(services(copied(1, devices=plans.P40S[:1]))) == ["engine", "llm"]


@pytest.mark.parametrize(
    "changes",
    [{"copies": 3}, {"copies": 0}, {"copies": -1}, {"copies": 65, "devices": ()}, {"gateway": None}],
)
def test_copies_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="copies"):
        render(msgspec.structs.replace(copied(), **changes))


def test_copies_without_a_card_are_copies_all_the_same() -> None:
    found = services(copied(devices=(), image=plans.image("server")))
    assert found["copy-1"] | {"labels": None} == found["copy-2"] | {"labels": None}


def test_a_config_with_another_server_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(name: str, **values: object) -> str:
        text = render_template(name, **values)
        return text.replace("server copy-2 deployer-qwen-copy-2-1", "server copy-2 elsewhere")

    monkeypatch.setattr("deployer.render.front.render_template", forged)
    gateway = copied().gateway
    assert gateway is not None
    with pytest.raises(DeployerError, match="does not say what the plan says"):
        front_config(copied(), gateway)


def test_a_release_from_before_is_still_the_same() -> None:
    plain = plans.plan()
    assert plan_hash(plain) == plan_hash(msgspec.structs.replace(plain, copies=1))
    assert plan_hash(copied()) != plan_hash(copied(4))


def test_compose_lint_finds_nothing(tmp_path: Path) -> None:
    for name, text in render(copied()).files.items():
        (tmp_path / name).write_text(text)
    argv = [sys.executable, "-m", "compose_lint", "check", "--format", "json", "--fail-on", "low"]
    found = execution.run([*argv, str(tmp_path / "compose.yaml")], timeout_s=60, cwd=tmp_path)
    assert json.loads(found.stdout)["findings"] == []


def test_prometheus_asks_each_copy_and_what_waits_before_them() -> None:
    files = render_monitoring(copied(), METRICS, catalog.load_monitoring()).files
    (job,) = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    asked = {each["labels"]["copy"]: each["labels"]["__metrics_path__"] for each in job["static_configs"]}
    assert asked == {"1": "/copies/1/metrics", "2": "/copies/2/metrics", "all": "/metrics"}
    (renamed,) = job["metric_relabel_configs"]
    assert (renamed["regex"], renamed["replacement"]) == ("deployer_requests_waiting", METRICS["requests_waiting"])


def test_a_card_is_named_in_the_file_of_the_copy_that_has_it() -> None:
    other: PlanDevice = msgspec.structs.replace(plans.P40S[1], name="Another card")
    text = render(copied(devices=(plans.P40S[0], other))).files["compose.yaml"]
    assert text.index('# "Tesla P40"') < text.index("copy-2:") < text.index('# "Another card"')
