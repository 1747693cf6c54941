"""Several deployments from one file on one host, and one base URL for all of them. All parts are real."""

import contextlib
import json
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import openai
import pytest

from deployer import decide
from deployer.types import Plan
from tests.integration.conftest import Deployer, build, end_processes, free_port, remove_containers

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

MODEL = "smollm2-135m-instruct"
UP_LIMIT_S = 900
CAPITAL: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
ALL = ("several-a", "several-b")
# Two threads that spin wait for each other where others use the processor too.
ONE_THREAD = ["--threads", "1"]


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
        self.up: dict[str, Any] = {}

    def write(self, image: str, *, context: int = 1024, port: int | None = None) -> None:
        document = {
            "deployments": {
                "several-a": {"model": MODEL, "users": 2, "port": self.ports[0]},
                "several-b": {"model": MODEL, "context": context, "port": self.ports[1]},
            },
            "defaults": {"runtime": "compose", "context": 2048, "engine-arg": ONE_THREAD},
            "gateway": {"port": port or self.ports[2], "image": image},
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
        made.up = made.run("up", "--yes")
        yield made
    finally:
        made.deployer("down", "-f", str(made.file))
        remove_containers(docker_engine, made.deployer.home)
        end_processes(made.deployer.home)
        shutil.rmtree(folder)


def test_up_brings_all_up_and_the_gateway_lists_them(site: Site) -> None:
    found = site.up
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


def test_status_lists_the_gateway_with_its_models(site: Site) -> None:
    found = site.deployer("status", "--json").ok().json()
    gateway = found["gateway"]
    assert [row["name"] for row in found["deployments"]] == list(ALL)
    assert (gateway["status"], gateway["answers"], gateway["down"]) == ("running", True, [])
    assert gateway["models"] == list(ALL)
    assert gateway["base_url"] == f"http://127.0.0.1:{site.ports[2]}/v1"
    assert gateway["file"] == str(site.file)
    line = f"gateway running, answers: {gateway['base_url']} for several-a, several-b"
    assert line in site.deployer("status").ok().stdout.splitlines()
    assert site.deployer("status", "gateway").ok().stdout.splitlines() == [line]
    watching = site.deployer.start("status", "--watch", "--json", "--interval", "1")
    assert watching.stdout is not None
    look = json.loads(watching.stdout.readline())
    watching.send_signal(signal.SIGINT)
    assert watching.communicate(timeout=60)[1] == ""
    assert look["gateway"]["answers"] is True
    assert {row["live"]["requests_running"] for row in look["deployments"]} == {0.0}


def test_the_gateway_is_asked_for_by_its_name(site: Site) -> None:
    found = site.deployer("connect", "gateway", "--json").ok().json()
    assert (found["name"], found["models"]) == ("gateway", list(ALL))
    assert found["networks"] == ["deployer-gateway_gateway"]
    assert found["key_file"] == str(site.deployer.home / "secrets/gateway/api_key")
    pasted = site.deployer("connect", "gateway", "--for", "curl").ok().stdout
    assert "# In the place of several-a: several-b" in pasted
    with openai.OpenAI(base_url=found["base_url"], api_key=Path(found["key_file"]).read_text()) as client:
        assert {listed.id for listed in client.models.list()} == {found["model"], "several-b"}
    log = site.deployer("logs", "gateway").ok().stdout
    assert "POST /v1/chat/completions" in log
    assert site.key("gateway") not in log
    for verb in ("history", "rollback"):
        error = site.deployer(verb, "gateway", "--json").exited(3).json()["error"]
        assert f"deployer up -f {site.file}" in error["hint"]
    taken = site.deployer("up", MODEL, "--name", "gateway", "--yes", "--json").exited(3).json()["error"]
    assert "is the gateway before several deployments" in taken["message"]


def test_check_shows_the_capabilities_of_a_model_through_the_gateway(site: Site) -> None:
    found = site.deployer("check", "gateway", "--model", "several-b", "--timeout", "240", "--json").json()
    assert (found["base_url"], found["model"]) == (f"http://127.0.0.1:{site.ports[2]}/v1", "several-b")
    status = {item["name"]: item["status"] for item in found["checks"]}
    assert {status[name] for name in ("model info", "chat", "key", "unknown model")} == {"works"}


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


def test_a_rollback_of_one_keeps_it_behind_the_gateway(
    site: Site, docker_engine: "docker.DockerClient", haproxy_image: str
) -> None:
    site.write(haproxy_image, context=512)
    release = next(item for item in site.run("up", "--yes")["deployments"] if item["name"] == "several-b")["release"]
    before = docker_engine.containers.get("deployer-gateway-gateway-1").id
    done = site.deployer("rollback", "several-b", "--yes", "--json", timeout_s=UP_LIMIT_S).ok().json()
    assert done["release"] == release + 1
    assert docker_engine.containers.get("deployer-gateway-gateway-1").id == before
    answered(site, "several-b")


def test_the_gateway_follows_a_release_that_answers_on_another_port(
    site: Site, docker_engine: "docker.DockerClient", tmp_path: Path
) -> None:
    """As an engine does that is another one: here a saved plan with another port inside the container."""
    release = site.deployer.home / "deployments/several-b/current/plan.json"
    plan = msgspec.json.decode(release.read_bytes(), type=Plan)
    words = [str(plan.container_port + 7) if word == str(plan.container_port) else word for word in plan.command]
    moved = msgspec.structs.replace(plan, container_port=plan.container_port + 7, command=tuple(words))
    saved = tmp_path / "plan.json"
    saved.write_bytes(msgspec.json.encode(msgspec.structs.replace(moved, plan_hash=decide.plan_hash(moved))))
    before = docker_engine.containers.get("deployer-gateway-gateway-1").id
    site.deployer("up", str(saved), "--json", timeout_s=UP_LIMIT_S).ok()
    assert docker_engine.containers.get("deployer-gateway-gateway-1").id != before
    for name in ALL:
        answered(site, name)
    site.deployer("rollback", "several-b", "--yes", "--json", timeout_s=UP_LIMIT_S).ok()
    answered(site, "several-b")


def answered(site: Site, name: str) -> None:
    with site.client() as client:
        answer = client.chat.completions.create(model=name, messages=CAPITAL, max_tokens=8, temperature=0)
    assert answer.model == name


def test_a_gateway_that_does_not_start_leaves_the_old_one_serving(
    site: Site, docker_engine: "docker.DockerClient", haproxy_image: str, engine_image: Any
) -> None:
    servers = [f"deployer-{name}-llm-1" for name in ALL]
    before = [docker_engine.containers.get(name).id for name in servers]
    site.write(engine_image("dead-engine"))
    failed = site.deployer("up", "-f", str(site.file), "--yes", "--json", timeout_s=UP_LIMIT_S).exited(7).json()
    assert "the gateway from before serves again" in failed["error"]["message"]
    assert set(failed["error"]["details"]["failed"]) == {"gateway"}
    assert set(failed["error"]["details"]["done"]) == set(ALL)
    answered(site, "several-a")
    assert [docker_engine.containers.get(name).id for name in servers] == before
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        kept = docker_engine.containers.get("deployer-gateway-gateway-1").id
        site.write(haproxy_image, port=taken.getsockname()[1])
        refused = site.deployer("up", "-f", str(site.file), "--yes", "--json", timeout_s=UP_LIMIT_S).exited(3).json()
    assert "is taken by another program" in refused["error"]["message"]
    assert docker_engine.containers.get("deployer-gateway-gateway-1").id == kept
    site.write(haproxy_image)
    site.run("up", "--yes")
    answered(site, "several-b")


def test_one_that_is_down_is_503_and_the_others_answer(site: Site) -> None:
    down = site.deployer("down", "several-b").ok()
    assert "answers 503 for several-b until it is up again" in down.stderr
    assert site.run("status")["gateway"]["down"] == ["several-b"]
    shown = site.deployer("status").ok().stdout
    assert "  ! 503 for several-b: not running, or not answering" in shown.splitlines()
    with site.client() as client:
        with pytest.raises(openai.InternalServerError) as gone:
            client.chat.completions.create(model="several-b", messages=CAPITAL)
        answer = client.chat.completions.create(model="several-a", messages=CAPITAL, max_tokens=4)
    assert gone.value.status_code == 503
    assert gone.value.code == "unavailable"
    assert answer.model == "several-a"


def test_down_leaves_nothing(site: Site, docker_engine: "docker.DockerClient") -> None:
    """The one that is down is gone with its network, in which the gateway was the last."""
    site.deployer("down", "several-b").ok()
    assert site.deployer("down", "gateway", "--json").ok().json()["changed"] is True
    status = site.deployer("status", "--json").ok().json()
    assert status["gateway"]["status"] == "down"
    assert status["deployments"][0]["answers"] is True
    found = site.run("down")
    assert found["deployments"] == [{"name": "several-b", "changed": False}, {"name": "several-a", "changed": True}]
    nothing_of(docker_engine)


def nothing_of(docker_engine: "docker.DockerClient") -> None:
    left = docker_engine.containers.list(all=True, filters={"label": "io.deployer.name"})
    assert not {entry.labels["io.deployer.name"] for entry in left} & {*ALL, "gateway"}
    names = {network.name or "" for network in docker_engine.networks.list()}
    assert not any(name.startswith(("deployer-several-", "deployer-gateway_")) for name in names)


@pytest.fixture
def two(deployer: Deployer, engine_image: Any, haproxy_image: str) -> Iterator[Path]:
    """A good server and one that never answers, both without a real model behind them, and a gateway."""
    good, bad = engine_image("good"), engine_image("dead-engine")
    file = deployer.home.parent / "work/deployer.yaml"
    document = {
        "deployments": {
            "several-good": {"model": MODEL, "image": f"server={good}", "port": free_port()},
            "several-bad": {"model": MODEL, "image": f"server={bad}", "port": free_port()},
        },
        "defaults": {"runtime": "compose", "context": 512},
        "gateway": {"port": free_port(), "image": haproxy_image},
    }
    file.write_text(json.dumps(document))
    yield file
    with contextlib.suppress(AssertionError):
        deployer("down", "-f", str(file))


def test_the_failure_of_one_leaves_the_other_serving(
    deployer: Deployer, two: Path, docker_engine: "docker.DockerClient"
) -> None:
    done = deployer("up", "-f", str(two), "--yes", "--json", timeout_s=UP_LIMIT_S).exited(8)
    error = done.json()["error"]
    assert error["kind"] == "not-serving"
    assert set(error["details"]["failed"]) == {"several-bad"}
    assert error["details"]["done"] == ["several-good"]
    assert "1 of 2 failed: several-bad: " in error["message"]
    status = deployer("status", "-f", str(two), "--json").ok().json()
    rows = status["deployments"]
    assert {row["name"]: row["answers"] for row in rows} == {"several-good": True, "several-bad": None}
    assert (status["gateway"]["answers"], status["gateway"]["models"]) == (True, ["several-good"])
    deployer("down", "several-good").ok()
    deployer("down", "gateway").ok()
    nothing_of(docker_engine)
