"""An engine without a key, set up after its start: Ollama's place is taken by a stand-in with its program and paths.

Docker, the gateway (HAProxy), the command line and the client are real. No image of Ollama itself was run.
"""

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
import requests

from tests.integration.conftest import GATEWAY_LABEL, Deployer, build, free_port
from tests.integration.served import Served, arguments_of_all_processes, serving

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NAME = "behind"
SLOW = {"messages": [{"role": "user", "content": "count slowly"}], "model": NAME, "max_tokens": 4}


@pytest.fixture(scope="module")
def served(docker_engine: "docker.DockerClient", gateway_image: str, model_file: Path) -> Iterator[Served]:
    assert docker_engine.images.get(gateway_image).id
    image = build(docker_engine, "engines/ollama", "deployer-testbed/ollama:good")
    asked = (str(model_file), "--engine", "ollama", "--context", "2048", "--image", f"cpu={image}")
    with serving(docker_engine, NAME, *asked, "--runtime", "compose") as found:
        yield found
    for volume in docker_engine.volumes.list(filters={"label": f"com.docker.compose.project=deployer-{NAME}"}):
        volume.remove()


def test_up_takes_the_model_in_and_the_openai_client_finds_it_by_our_name(served: Served) -> None:
    assert served.document["engine"] == "ollama"
    checks = {check["name"]: check for check in served.document["health"]["checks"]}
    assert {"ready", "setup", "model", "key", "answer", "long prompt", "hold"} <= set(checks)
    assert "Paris" in served.ask()
    with openai.OpenAI(base_url=served.document["base_url"], api_key=served.key, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == [NAME]


def test_it_is_loaded_for_good_with_the_planned_context(served: Served, docker_engine: "docker.DockerClient") -> None:
    loaded = asked(served, "GET", "/api/ps").json()["models"]
    assert [(model["name"], model["keep"]) for model in loaded] == [(f"{NAME}:latest", "-1s")]
    engine = served.container(docker_engine)
    argv = ["docker", "exec", engine.id or "", "cat", f"/var/tmp/models/manifests/{NAME}@latest"]
    stored = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert json.loads(stored)["parameters"] == {"num_ctx": "2048"}


def test_nobody_comes_in_without_the_key_and_the_error_is_openais(served: Served) -> None:
    for key in (None, "wrong", served.key + "x", served.key.swapcase()):
        answer = asked(served, "POST", "/v1/chat/completions", key=key, body=SLOW)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["Content-Type"] == "application/json"
    with pytest.raises(openai.AuthenticationError):
        served.ask(key="wrong")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/generate"),
        ("DELETE", "/api/delete"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/../../api/tags"),
        ("GET", "//api/tags"),
    ],
)
def test_what_is_not_let_through_is_404_even_with_the_key(served: Served, method: str, path: str) -> None:
    answer = asked(served, method, path, body={"model": NAME} if method != "GET" else None)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_its_health_is_open_and_a_long_body_is_refused(served: Served) -> None:
    assert asked(served, "GET", "/", key=None).text == "Ollama is running"
    long = asked(served, "POST", "/v1/chat/completions", headers={"Content-Length": "40000000"})
    assert (long.status_code, long.json()["error"]["code"]) == (413, "request_too_large")


def test_a_body_in_chunks_is_passed_on(served: Served) -> None:
    """As .NET's and Java's clients send theirs."""
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "word " * 8000}], "max_tokens": 4})
    pieces = iter([body[:500].encode(), body[500:].encode()])
    url = served.document["base_url"] + "/chat/completions"
    answer = requests.post(url, data=pieces, headers={"Authorization": f"Bearer {served.key}"}, timeout=120)
    assert answer.json()["usage"]["prompt_tokens"] == 8000


def test_a_stream_comes_as_it_is_made(served: Served) -> None:
    """Made 0.1 s apart, and not kept for a fuller packet. One of ten streams shows it: a busy machine holds some up."""
    seen: list[list[float]] = []
    while len(seen) < 10 and not any(as_made(apart) for apart in seen):
        seen.append(seconds_apart(served))
    assert any(as_made(apart) for apart in seen), seen


def seconds_apart(served: Served) -> list[float]:
    """Of one stream of twelve words, the time between each two pieces."""
    words: Any = [{"role": "user", "content": "hello"}]
    with openai.OpenAI(base_url=served.document["base_url"], api_key=served.key, max_retries=0) as client:
        pieces = client.chat.completions.create(model=NAME, messages=words, max_tokens=12, stream=True)
        times = [time.monotonic() for _ in pieces]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def as_made(apart: list[float]) -> bool:
    return sum(apart) > 0.8 and sum(gap > 0.05 for gap in apart) >= 9


def test_who_goes_away_frees_the_engine(served: Served, docker_engine: "docker.DockerClient") -> None:
    until = time.monotonic() + 120
    while "client closing" not in served.container(docker_engine).logs().decode():
        assert time.monotonic() < until
        with pytest.raises(requests.Timeout):  # on a busy machine perhaps before the engine has it
            asked(served, "POST", "/v1/chat/completions", body=SLOW, timeout_s=1)
        time.sleep(0.5)


def test_the_engine_has_no_key_no_way_out_and_no_port(served: Served, docker_engine: "docker.DockerClient") -> None:
    engine, front = served.container(docker_engine), gateway(docker_engine)
    assert "authorization=none" in engine.logs().decode()
    assert "authorization=Bearer" not in engine.logs().decode()
    assert served.key not in arguments_of_all_processes() + str(front.attrs) + str(engine.attrs) + served.files()
    assert not engine.attrs["HostConfig"]["PortBindings"]
    assert list(engine.attrs["NetworkSettings"]["Networks"]) == [f"deployer-{NAME}_engine"]
    assert docker_engine.networks.get(f"deployer-{NAME}_engine").attrs["Internal"] is True
    assert not [mount for mount in engine.attrs["Mounts"] if "api_key" in mount["Destination"]]
    for container in (engine, front):
        host = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"] == "65532:65532"
        assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] == host["MemorySwap"] > 0
        assert host["PidsLimit"] > 0
    (binding,) = [item for items in front.attrs["HostConfig"]["PortBindings"].values() for item in items]
    assert binding["HostIp"] == "127.0.0.1"


def test_the_check_finds_no_open_path(served: Served) -> None:
    found = {item["name"]: item for item in served.run("check", served.name)["checks"]}
    assert {name for name, item in found.items() if item["status"] == "works"} >= {"chat", "streaming", "key"}
    assert not [item for item in found.values() if item["status"] == "fails" and "key" in item["name"]]


def test_up_again_changes_nothing_and_a_restart_needs_no_second_copy(
    served: Served, docker_engine: "docker.DockerClient"
) -> None:
    assert served.run("up", *served.asked, "--yes")["changed"] is False
    assert served.run("status")["deployments"][0]["answers"] is True
    served.container(docker_engine).restart(timeout=1)
    until = time.monotonic() + 60
    while asked(served, "POST", "/v1/chat/completions", body=SLOW | {"messages": []}).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_gateway_that_has_ended_is_seen(served: Served, docker_engine: "docker.DockerClient") -> None:
    gateway(docker_engine).stop(timeout=1)
    row = served.run("status")["deployments"][0]
    assert (row["status"], row["answers"]) == ("exited", None)
    gateway(docker_engine).start()
    until = time.monotonic() + 60
    while served.run("status")["deployments"][0]["answers"] is not True:
        assert time.monotonic() < until


def test_down_removes_both(served: Served, docker_engine: "docker.DockerClient") -> None:
    ids = {served.container(docker_engine).id, gateway(docker_engine).id}
    assert served.run("down", served.name, "--yes")["changed"] is True
    assert not ids & {container.id for container in docker_engine.containers.list(all=True)}
    assert not docker_engine.networks.list(names=[f"deployer-{NAME}_"])


def test_a_model_that_is_not_taken_in_is_a_failed_start_with_its_reason(
    docker_engine: "docker.DockerClient", deployer: Deployer, gateway_image: str, model_file: Path
) -> None:
    assert gateway_image
    image = build(docker_engine, "engines/ollama", "deployer-testbed/ollama:bad-model", {"MODE": "bad-model"})
    asked = (str(model_file), "--engine", "ollama", "--image", f"cpu={image}", "--runtime", "compose")
    words = (*asked, "--name", "refused", "--port", str(free_port()), "--yes", "--json")
    failed = deployer("up", *words).exited(8).json()
    assert "ollama create" in failed["error"]["message"]
    assert "invalid file magic" in failed["error"]["message"]
    with contextlib.ExitStack() as after:
        for volume in docker_engine.volumes.list(filters={"label": "com.docker.compose.project=deployer-refused"}):
            after.callback(volume.remove)
        assert not docker_engine.containers.list(all=True, filters={"label": f"{GATEWAY_LABEL}=refused"})


def gateway(engine: "docker.DockerClient") -> "Container":
    (found,) = engine.containers.list(all=True, filters={"label": f"{GATEWAY_LABEL}={NAME}"})
    return found


def asked(
    served: Served,
    method: str,
    path: str,
    *,
    key: str | None = "",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> requests.Response:
    """A request as it is written, with the key unless another is given."""
    base = served.document["base_url"].removesuffix("/v1")
    sent = {} if key is None else {"Authorization": f"Bearer {key or served.key}"}
    request = requests.Request(method, base, json=body, headers={**sent, **(headers or {})}).prepare()
    request.url = base + path
    with requests.Session() as session:
        return session.send(request, timeout=timeout_s)
