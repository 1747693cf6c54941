"""Prometheus and Grafana as rendered: what a reviewer reads, closed like the server, and valid by typed models."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from grafana_foundation_sdk.builders.dashboard import Dashboard as Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from deployer import catalog, execution
from deployer.errors import BadInputError
from deployer.render import render_monitoring
from deployer.render.queries import JOB, panels
from deployer.types import Plan
from tests.unit.render import plans
from tests.unit.render.conftest import GOLDEN, GoldenFile

ENGINES = {engine.engine: engine for engine in catalog.load_engines()}
WATCHED = sorted(name for name, engine in ENGINES.items() if engine.metrics and engine.health.metrics_path)
IMAGES = catalog.load_monitoring()
FOLDER = GOLDEN / "monitoring"
FILES = (
    *("compose.monitoring.yaml", "prometheus.yml", "prometheus-rules.yml"),
    *("grafana-datasource.yaml", "grafana-dashboards.yaml", "dashboard.json"),
)


class GoldenMonitoring(GoldenFile):
    """The file under its own name, in a folder of its own."""

    file_extension = ""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(FOLDER)

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return str(FOLDER / str(index))

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return Path(snapshot_location).parent == FOLDER


def watched(engine: str = "vllm", **changes: Any) -> Plan:
    profile = ENGINES[engine]
    return plans.plan(engine=engine, health=profile.health, container_port=profile.container_port, **changes)


def files(engine: str = "vllm", **changes: Any) -> dict[str, str]:
    return render_monitoring(watched(engine, **changes), ENGINES[engine].metrics, IMAGES).files


@pytest.mark.parametrize("name", FILES)
def test_golden(name: str, snapshot: SnapshotAssertion) -> None:
    assert files()[name] == snapshot(name=name, extension_class=GoldenMonitoring)


def test_these_are_the_files_and_the_same_plan_gives_the_same_bytes() -> None:
    assert tuple(files()) == FILES
    assert files() == files()


def test_compose_lint_finds_only_that_images_are_pinned_by_tag() -> None:
    found = execution.run(
        [
            *(sys.executable, "-m", "compose_lint", "check", "--format", "json", "--fail-on", "low"),
            str(FOLDER / "compose.monitoring.yaml"),
        ],
        timeout_s=60,
        cwd=FOLDER,
    )
    assert {finding["rule_id"] for finding in json.loads(found.stdout)["findings"]} == {"CL-0019"}, found.stdout


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_they_are_as_closed_as_the_server(service: str) -> None:
    document = yaml.safe_load(files()["compose.monitoring.yaml"])
    found = document["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["user"] == "65532:65532"
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    assert all(mount["read_only"] is True for mount in found["volumes"])
    assert found["mem_limit"] == found["memswap_limit"]
    assert {"pids_limit", "cpus", "healthcheck", "logging"} <= found.keys()
    assert "docker.sock" not in json.dumps(document)
    assert "io.deployer.name" not in found["labels"]  # else it would be taken for the server itself


def test_the_key_goes_to_prometheus_alone_and_only_as_a_file() -> None:
    made = files(key_file="/var/lib/deployer/secrets/qwen/api_key")
    document = yaml.safe_load(made["compose.monitoring.yaml"])
    assert document["services"]["prometheus"]["secrets"] == ["api_key"]
    assert document["services"]["grafana"]["secrets"] == ["grafana_password"]
    assert document["secrets"]["api_key"]["file"] == "/var/lib/deployer/secrets/qwen/api_key"
    assert document["secrets"]["grafana_password"]["file"] == "/var/lib/deployer/secrets/qwen/grafana_password"
    job = yaml.safe_load(made["prometheus.yml"])["scrape_configs"][0]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/api_key"}
    environment = document["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"
    assert not any(name.endswith("PASSWORD") for name in environment)


def test_it_joins_the_servers_network_from_a_project_of_its_own() -> None:
    document = yaml.safe_load(files()["compose.monitoring.yaml"])
    assert document["name"] == "monitoring-qwen"
    assert document["networks"]["llm"] == {"external": True, "name": "deployer-qwen_llm"}
    job = yaml.safe_load(files("sglang")["prometheus.yml"])["scrape_configs"][0]
    assert job["static_configs"][0]["targets"] == [f"llm:{ENGINES['sglang'].container_port}"]


@pytest.mark.parametrize("engine", WATCHED)
def test_the_dashboard_is_one_by_grafanas_own_typed_model(engine: str) -> None:
    """Read into the types that Grafana generates from its schemas, and written back: nothing may be lost or added."""
    document = json.loads(files(engine)["dashboard.json"])
    read = Dashboard.from_json(document)
    assert isinstance(read, Dashboard)
    written = json.loads(json.dumps(read, cls=JSONEncoder))
    assert kept(document, written) == document
    assert read.schema_version is not None
    assert read.schema_version >= 36
    assert type(Builder("empty").build()) is type(read)


def kept(wanted: Any, found: Any) -> Any:
    """Of what was written back, the part that the original has: the model adds defaults of its own."""
    if isinstance(wanted, dict):
        return {key: kept(value, found[key]) for key, value in wanted.items() if key in found}
    if isinstance(wanted, list):
        return [kept(*pair) for pair in zip(wanted, found, strict=True)]
    return found


@pytest.mark.parametrize("engine", WATCHED)
def test_the_panels_are_those_of_the_engines_own_metrics(engine: str) -> None:
    metrics = ENGINES[engine].metrics
    found = panels(metrics)
    text = " ".join(query.expression for panel in found for query in panel.queries)
    shown = {word for word, name in metrics.items() if f"{name}{{" in text or f"{name}_bucket{{" in text}
    assert set(metrics) - shown <= {"tokens_per_second"}  # where the counter tells it better
    assert text.count(f'job="{JOB}"') == sum(len(panel.queries) for panel in found)
    assert len({panel.title for panel in found}) == len(found) >= 3


@pytest.mark.parametrize(
    ("engine", "alerts"),
    [
        ("llama.cpp", ["ServerDown", "RequestsWait", "NoTokens"]),
        ("vllm", ["ServerDown", "RequestsWait", "NoTokens", "KvCacheFull"]),
        ("tgi", ["ServerDown", "RequestsWait"]),
    ],
)
def test_the_rules_are_those_that_the_metrics_allow(engine: str, alerts: list[str]) -> None:
    (group,) = yaml.safe_load(files(engine)["prometheus-rules.yml"])["groups"]
    assert [rule["alert"] for rule in group["rules"]] == alerts
    assert all("deployer " in rule["annotations"]["description"] for rule in group["rules"])


@pytest.mark.parametrize("engine", ["ollama", "lm-studio"])
def test_an_engine_without_metrics_cannot_be_watched(engine: str) -> None:
    with pytest.raises(BadInputError, match="publishes no metrics") as caught:
        files(engine)
    assert caught.value.hint == "deployer status --watch"


def test_a_process_of_the_host_cannot_be_reached_from_a_container() -> None:
    with pytest.raises(BadInputError, match="cannot reach") as caught:
        files(runtime="process")
    assert "--runtime compose" in caught.value.hint


@pytest.mark.parametrize("changes", [{"name": "a b"}, {"key_file": "../key"}, {"container_user": "root"}])
def test_what_cannot_stand_in_a_file_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="plan: "):
        files(**changes)


def test_a_hostile_metrics_path_stays_a_value() -> None:
    plan = watched()
    path = "/m\"\n  - job_name: 'x'"
    plan = msgspec.structs.replace(plan, health=msgspec.structs.replace(plan.health, metrics_path=path))
    made = render_monitoring(plan, ENGINES["vllm"].metrics, IMAGES).files
    (job,) = yaml.safe_load(made["prometheus.yml"])["scrape_configs"]
    assert job["metrics_path"] == path
