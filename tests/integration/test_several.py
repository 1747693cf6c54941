"""Several deployments from one file on one host, and one base URL for all of them. All parts are real."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.integration.conftest import Deployer, build, end_processes, free_port, remove_containers

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

MODEL = "smollm2-135m-instruct"
UP_LIMIT_S = 900
CAPITAL: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
ALL = ("several-a", "several-b")


@pytest.fixture(scope="module")
def haproxy_image(docker_engine: "docker.DockerClient") -> str:
    """The proxy as Debian packages it: the official image comes from a registry that cannot be reached from here."""
    return build(docker_engine, "engines/haproxy", "deployer-testbed/haproxy:trixie")


class Site:
    """A home with a `deployer.yaml` of two servers and a gateway."""

    def __init__(self, folder: Path) -> None:
        for part in ("home", "work"):
            (folder / part).mkdir(mode=0o755)
        self.deployer = Deployer(folder / "home")
        self.file = folder / "work/deployer.yaml"
        self.ports = [free_port() for _ in range(3)]

    def write(self, image: str, *, context: int = 1024) -> None:
        document = {
            "deployments": {
                "several-a": {"model": MODEL, "users": 2, "port": self.ports[0]},
                "several-b": {"model": MODEL, "context": context, "port": self.ports[1]},
            },
            "defaults": {"runtime": "compose", "context": 2048},
            "gateway": {"port": self.ports[2], "image": image},
        }
        self.file.write_text(json.dumps(document))  # JSON is YAML

    def run(self, verb: str, *args: str) -> dict[str, Any]:
        return self.deployer(verb, "-f", str(self.file), *args, "--json", timeout_s=UP_LIMIT_S).ok().json()

    def key(self, name: str) -> str:
        return (self.deployer.home / "secrets" / name / "api_key").read_text().strip()

    def client(self, key: str | None = None) -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.ports[2]}/v1"
        return openai.OpenAI(base_url=url, api_key=key or self.key("gateway"), max_retries=0)


@pytest.fixture(scope="module")
def site(docker_engine: "docker.DockerClient", haproxy_image: str) -> Iterator[Site]:
    """Both servers and the gateway, up for the whole module; at the end nothing of them is left."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = Site(folder)
    made.write(haproxy_image)
    try:
        yield made
    finally:
        made.deployer("down", "-f", str(made.file))
        remove_containers(docker_engine, made.deployer.home)
        end_processes(made.deployer.home)
        shutil.rmtree(folder)


def test_up_brings_all_up_and_the_gateway_lists_them(site: Site) -> None:
    found = site.run("up", "--yes")
    assert {item["name"] for item in found["deployments"]} == set(ALL)
    assert found["gateway"]["base_url"] == f"http://127.0.0.1:{site.ports[2]}/v1"
    with site.client() as client:
        assert {listed.id for listed in client.models.list()} == set(ALL)
    status = site.run("status")
    assert [(row["name"], row["answers"]) for row in status["deployments"]] == [(name, True) for name in ALL]
    assert (status["gateway"]["status"], status["gateway"]["answers"]) == ("running", True)


@pytest.mark.parametrize("name", ALL)
def test_the_model_s_name_chooses_the_server(site: Site, name: str) -> None:
    with site.client() as client:
        answer = client.chat.completions.create(model=name, messages=CAPITAL, max_tokens=8, temperature=0)
        pieces = list(client.chat.completions.create(model=name, messages=CAPITAL, max_tokens=4, stream=True))
    assert answer.model == name
    assert "Paris" in (answer.choices[0].message.content or "")
    assert len(pieces) > 1
    assert {piece.model for piece in pieces} == {name}


def test_what_is_refused_is_refused_in_openai_s_form(site: Site) -> None:
    with site.client() as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="nonesuch", messages=CAPITAL)
        with pytest.raises(openai.APIStatusError) as large:
            client.completions.create(model="several-a", prompt="a" * 1_100_000)
        with pytest.raises(openai.NotFoundError):
            client.get("/metrics", cast_to=object)
    assert unknown.value.code == "model_not_found"
    assert "several-a, several-b" in unknown.value.message
    assert large.value.status_code == 413
    assert large.value.code == "request_too_large"
    for wrong in ("wrong", site.key("several-a")):
        with site.client(wrong) as client, pytest.raises(openai.AuthenticationError) as denied:
            client.models.list()
        assert denied.value.code == "invalid_api_key"


def test_the_gateway_is_locked_down_and_shows_no_key(site: Site, docker_engine: "docker.DockerClient") -> None:
    found = docker_engine.api.inspect_container("deployer-gateway-gateway-1")
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert found["Config"]["User"] == "65532:65532"
    assert host["Memory"] > 0
    assert host["PidsLimit"] == 64
    bindings = [binding for bound in host["PortBindings"].values() for binding in bound]
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]
    home = site.deployer.home
    written = [file for file in home.rglob("*") if file.is_file() and "secrets" not in file.relative_to(home).parts]
    texts = [str(found), *(file.read_text(errors="replace") for file in written)]
    texts.append(docker_engine.containers.get("deployer-gateway-gateway-1").logs().decode())
    for name in (*ALL, "gateway"):
        assert not any(site.key(name) in text for text in texts)


def test_a_second_up_changes_nothing(site: Site, docker_engine: "docker.DockerClient") -> None:
    names = ("deployer-gateway-gateway-1", *(f"deployer-{name}-llm-1" for name in ALL))
    before = [docker_engine.containers.get(name).id for name in names]
    assert not any(item["changed"] for item in site.run("up", "--yes")["deployments"])
    assert [docker_engine.containers.get(name).id for name in names] == before


def test_a_change_of_one_leaves_the_others_and_the_gateway(
    site: Site, docker_engine: "docker.DockerClient", haproxy_image: str
) -> None:
    kept = ("deployer-gateway-gateway-1", "deployer-several-a-llm-1")
    before = [docker_engine.containers.get(name).id for name in kept]
    site.write(haproxy_image, context=512)
    changed = {item["name"]: item["changed"] for item in site.run("up", "--yes")["deployments"]}
    assert changed == {"several-a": False, "several-b": True}
    assert [docker_engine.containers.get(name).id for name in kept] == before
    with site.client() as client:
        answer = client.chat.completions.create(model="several-b", messages=CAPITAL, max_tokens=8, temperature=0)
    assert answer.model == "several-b"


def test_one_that_is_down_is_503_and_the_others_answer(site: Site) -> None:
    site.run("down", "several-b")
    with site.client() as client:
        with pytest.raises(openai.InternalServerError) as gone:
            client.chat.completions.create(model="several-b", messages=CAPITAL)
        answer = client.chat.completions.create(model="several-a", messages=CAPITAL, max_tokens=4)
    assert gone.value.status_code == 503
    assert gone.value.code == "unavailable"
    assert answer.model == "several-a"


def test_down_leaves_nothing(site: Site, docker_engine: "docker.DockerClient") -> None:
    found = site.run("down")
    assert found["deployments"] == [{"name": "several-b", "changed": True}, {"name": "several-a", "changed": True}]
    left = docker_engine.containers.list(all=True, filters={"label": "io.deployer.name"})
    assert not {entry.labels["io.deployer.name"] for entry in left} & {*ALL, "gateway"}
    names = {network.name or "" for network in docker_engine.networks.list()}
    assert not any(name.startswith(("deployer-several-", "deployer-gateway_")) for name in names)


@pytest.fixture
def two(deployer: Deployer, engine_image: Any) -> Iterator[Path]:
    """A good server and one that never answers, both without a real model behind them."""
    good, bad = engine_image("good"), engine_image("dead-engine")
    file = deployer.home.parent / "work/deployer.yaml"
    document = {
        "deployments": {
            "several-good": {"model": MODEL, "image": f"server={good}", "port": free_port()},
            "several-bad": {"model": MODEL, "image": f"server={bad}", "port": free_port()},
        },
        "defaults": {"runtime": "compose", "context": 512},
    }
    file.write_text(json.dumps(document))
    yield file
    with contextlib.suppress(AssertionError):
        deployer("down", "-f", str(file))


def test_the_failure_of_one_leaves_the_other_serving(deployer: Deployer, two: Path) -> None:
    done = deployer("up", "-f", str(two), "--yes", "--json", timeout_s=UP_LIMIT_S).exited(8)
    error = done.json()["error"]
    assert error["kind"] == "not-serving"
    assert set(error["details"]["failed"]) == {"several-bad"}
    assert error["details"]["done"] == ["several-good"]
    assert "1 of 2 failed: several-bad: " in error["message"]
    rows = deployer("status", "-f", str(two), "--json").ok().json()["deployments"]
    assert {row["name"]: row["answers"] for row in rows} == {"several-good": True, "several-bad": None}
