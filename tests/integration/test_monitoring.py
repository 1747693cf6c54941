"""Prometheus for real beside a real server: its own checker, the key, the queries of the dashboard, and the rules."""

import json
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from deployer import catalog
from deployer.render import render_monitoring
from tests.integration.conftest import build, free_port
from tests.integration.served import Served, serving
from tests.unit.render import plans

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

PINNED = catalog.load_monitoring()
ENGINES = [engine for engine in catalog.load_engines() if engine.metrics and engine.health.metrics_path]
COMPOSE = "compose.monitoring.yaml"


@pytest.fixture(scope="module")
def prometheus_image(docker_engine: "docker.DockerClient") -> str:
    """Prometheus with promtool, as Debian packages them."""
    return build(docker_engine, "engines/prometheus", "deployer-testbed/prometheus:trixie")


@pytest.fixture(scope="module")
def served(docker_engine: "docker.DockerClient", llama_image: str) -> Iterator[Served]:
    asked = ("smollm2-135m-instruct", "--runtime", "compose", "--image", f"debian={llama_image}", "--users", "2")
    with serving(docker_engine, "watched", *asked) as found:
        yield found


@pytest.fixture(scope="module")
def folder(served: Served, prometheus_image: str) -> Path:
    """The rendered files, with Debian's Prometheus in the place of the pinned image, and on a free port."""
    folder = served.deployer.home.parent / "monitoring"
    written = served.run("render", *served.asked, "--monitoring", "--dir", str(folder))["files"]
    assert str(folder / COMPOSE) in written
    path = folder / COMPOSE
    text = path.read_text()
    assert PINNED.prometheus.reference in text
    assert "127.0.0.1:9090:9090" in text
    text = text.replace(PINNED.prometheus.reference, prometheus_image)
    path.write_text(text.replace("127.0.0.1:9090:9090", f"127.0.0.1:{free_port()}:9090"))
    return folder


@pytest.fixture(scope="module")
def prometheus(folder: Path) -> Iterator[str]:
    """Prometheus as its file says, with everything that locks it down; returns where it answers."""
    try:
        compose(folder, "up", "--detach", "--wait", "prometheus")
        published = compose(folder, "port", "prometheus", "9090").stdout.strip()
        yield f"http://{published}/api/v1"
    finally:
        compose(folder, "down", "--volumes", "--timeout", "2")


def compose(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = ("docker", "compose", "--file", COMPOSE, *words)
    found = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr
    return found


def asked(url: str, **query: str) -> Any:
    document = requests.get(url, params=query, timeout=60).json()
    assert document["status"] == "success", document
    return document["data"]


def test_compose_accepts_the_file_without_a_warning(folder: Path) -> None:
    found = compose(folder, "config", "--quiet")
    assert (found.stdout, found.stderr) == ("", "")


def test_promtool_finds_configuration_and_rules_right(folder: Path) -> None:
    check = ("run", "--rm", "--no-deps", "--entrypoint", "promtool", "prometheus", "check", "config")
    found = compose(folder, *check, "/etc/prometheus/prometheus.yml")
    assert "prometheus.yml is valid prometheus config file syntax" in found.stdout
    assert "3 rules found" in found.stdout


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_promtool_finds_the_rules_of_every_engine_right(engine: Any, prometheus_image: str, tmp_path: Path) -> None:
    plan = plans.plan(engine=engine.engine, health=engine.health)
    files = render_monitoring(plan, engine.metrics, PINNED).files
    rules, dashboard = files["prometheus-rules.yml"], json.loads(files["dashboard.json"])
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    recorded = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(expressions)]
    panels = yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]})
    for text in (rules, panels):
        argv = ("docker", "run", "--rm", "-i", "--network", "none", "--entrypoint", "promtool", prometheus_image)
        found = subprocess.run(
            (*argv, "check", "rules"), input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr
        assert "rules found" in found.stdout


def test_prometheus_is_let_in_with_the_key_from_its_file(prometheus: str, served: Served, folder: Path) -> None:
    target = wait_for(lambda: scraped(prometheus))
    assert target["health"] == "up", target
    assert target["labels"]["deployment"] == served.name
    assert served.key not in "".join(path.read_text() for path in folder.iterdir())
    container = compose(folder, "ps", "--quiet", "prometheus").stdout.strip()
    described = subprocess.run(("docker", "inspect", container), capture_output=True, text=True, check=True).stdout
    assert served.key not in described
    unlocked = f"{served.document['base_url'].removesuffix('/v1')}/metrics"
    assert requests.get(unlocked, timeout=60).status_code == 401


def scraped(prometheus: str) -> Any:
    (target,) = asked(f"{prometheus}/targets")["activeTargets"]
    return target if target["health"] != "unknown" else None


def wait_for(look: Any) -> Any:
    until = time.monotonic() + 120
    while not (found := look()):
        assert time.monotonic() < until, "nothing within 120 s"
        time.sleep(0.5)
    return found


def test_every_query_of_the_dashboard_has_an_answer(prometheus: str, served: Served, folder: Path) -> None:
    dashboard = json.loads((folder / "dashboard.json").read_text())
    queries = {target["expr"]: panel["title"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert len(queries) >= 5
    spoken = next(text for text, title in queries.items() if title == "Tokens of answers per second")

    def tokens() -> bool:
        assert "Paris" in served.ask()
        return any(float(sample["value"][1]) > 0 for sample in asked(f"{prometheus}/query", query=spoken)["result"])

    assert wait_for(tokens)
    for text in queries:
        assert wait_for(partial(answered, prometheus, text)), text


def answered(prometheus: str, query: str) -> Any:
    return asked(f"{prometheus}/query", query=query)["result"]


def test_the_rules_are_loaded_and_quiet(prometheus: str) -> None:
    wait_for(lambda: all(rule["health"] == "ok" for rule in rules(prometheus)))
    assert [rule["name"] for rule in rules(prometheus)] == ["ServerDown", "RequestsWait", "NoTokens"]
    assert "firing" not in {rule["state"] for rule in rules(prometheus)}


def rules(prometheus: str) -> list[Any]:
    (group,) = asked(f"{prometheus}/rules")["groups"]
    found: list[Any] = group["rules"]
    return found


def test_the_server_can_be_replaced_while_it_is_watched(prometheus: str, served: Served) -> None:
    """Its network stays while somebody is on it; the next server is found there, and a server that is down too."""
    served.run("down", served.name, "--yes")
    assert wait_for(lambda: asked(f"{prometheus}/query", query='up{job="llm"} == 0')["result"])
    served.run("up", *served.asked, "--yes")
    assert wait_for(lambda: asked(f"{prometheus}/query", query='up{job="llm"} == 1')["result"])


def test_the_password_of_grafana_is_a_file_of_the_containers_user(folder: Path, served: Served) -> None:
    document = yaml.safe_load((folder / COMPOSE).read_text())
    path = Path(document["secrets"]["grafana_password"]["file"])
    assert path.parent == Path(served.document["key_file"]).parent
    assert (path.stat().st_uid, oct(path.stat().st_mode & 0o777)) == (65532, "0o400")
    assert len(path.read_text()) == 43
    served.run("render", *served.asked, "--monitoring", "--dir", str(folder.with_name("again")))
    assert len(path.read_text()) == 43
