"""Rendered files against the real Compose and Docker Engine: accepted, started, and as closed as they say."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import requests
import yaml

from deployer.render import render
from deployer.types import Limits, Plan
from tests.integration.conftest import free_port
from tests.unit.render import plans

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

pytestmark = pytest.mark.integration

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.yaml"))
UID = 65532
KEY = "sk-golden-canary"
NASTY = (
    "${HOME}",
    "$$",
    "$(id)",
    'x"\n    privileged: true',
    "no",
    "1e3",
    "08080",
    "22:22",
    "-rf",
    "\u202e",
    "\u2028",
    "\U0001f600",
)


def compose(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = ["docker", "compose", "--project-directory", str(folder), *words]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0 or not check, found.stderr
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_compose_accepts_every_golden_without_a_warning(path: Path) -> None:
    found = compose(path.parent, "--file", str(path), "config", "--quiet")

    assert (found.stdout, found.stderr) == ("", "")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_compose_reads_what_was_written(path: Path) -> None:
    written = yaml.safe_load(path.read_text())["services"]["llm"]
    read = json.loads(compose(path.parent, "--file", str(path), "config", "--format", "json").stdout)["services"]["llm"]

    for key in ("entrypoint", "command", "environment", "user", "read_only", "cap_drop", "security_opt", "image"):
        assert read.get(key) == written.get(key), key
    assert read["pids_limit"] == written["pids_limit"]
    assert read.get("deploy", {}).get("resources") == written.get("deploy", {}).get("resources")


@pytest.fixture
def prepared(deployer_home: Path, model_file: Path, llama_image: str, docker_engine: "docker.DockerClient") -> Plan:
    """A plan for the real image by its id, with a model and a key that the container's user can read."""
    model, key = deployer_home / "model.gguf", deployer_home / "api_key"
    shutil.copyfile(model_file, model)
    model.chmod(0o644)
    key.write_text(f"{KEY}\n")
    os.chown(key, UID, UID)
    key.chmod(0o400)
    image_id = docker_engine.images.get(llama_image).id
    image = plans.image("debian", reference=None, digest=None, image_id=image_id, source="verified")
    words = ("--host", "0.0.0.0", "--port", "8080", "--ctx-size", "2048", "--parallel", "1", "--threads", "2")
    plan = plans.plan(
        name=f"golden-{os.getpid()}",
        image=image,
        port=free_port(),
        key_file=str(key),
        limits=Limits(memory_mib=2048, pids=256, cpus=1),
        command=("llama-server", "--model", "/models/model.gguf", *words, "--api-key-file", "/run/secrets/api_key"),
    )
    return with_model(plan, model)


def with_model(plan: Plan, path: Path) -> Plan:
    model = msgspec.structs.replace(plan.model, path=str(path), files=(path.name,))
    return msgspec.structs.replace(plan, model=model)


@contextlib.contextmanager
def brought_up(plan: Plan, folder: Path, *words: str) -> Iterator[None]:
    for name, text in render(plan).files.items():
        (folder / name).write_text(text)
    try:
        compose(folder, *words)
        yield
    finally:
        compose(folder, "down", "--volumes", "--timeout", "5")


def container_of(engine: "docker.DockerClient", plan: Plan) -> "Container":
    (found,) = engine.containers.list(all=True, filters={"label": f"io.deployer.name={plan.name}"})
    return found


def test_a_rendered_file_starts_and_answers_only_with_the_key(
    prepared: Plan, deployer_home: Path, docker_engine: "docker.DockerClient"
) -> None:
    url = f"http://127.0.0.1:{prepared.port}/v1/chat/completions"
    question = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}

    with brought_up(prepared, deployer_home, "up", "--detach", "--wait"):
        refused = requests.post(url, json=question, timeout=60)
        answered = requests.post(url, json=question, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        container = container_of(docker_engine, prepared)

        assert container.attrs["State"]["Health"]["Status"] == "healthy"
        assert refused.status_code == 401
        assert answered.status_code == 200
        assert answered.json()["choices"][0]["message"]["content"].strip()
        assert KEY not in json.dumps(container.attrs)
        assert b"llama_server: listening" in container.logs()


def test_the_running_container_is_as_closed_as_the_file_says(
    prepared: Plan, deployer_home: Path, docker_engine: "docker.DockerClient"
) -> None:
    with brought_up(prepared, deployer_home, "up", "--detach", "--wait"):
        container = container_of(docker_engine, prepared)
        status = inside(container, "cat", "/proc/self/status")[1]
        host = container.attrs["HostConfig"]

        assert inside(container, "id", "-u")[1].strip() == str(UID)
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert inside(container, "touch", "/x")[0] != 0
        assert inside(container, "touch", "/models/model.gguf")[0] != 0
        assert inside(container, "sh", "-c", "cp /bin/true /tmp/x && /tmp/x")[0] == 126
        assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (2048 * 2**20, 2048 * 2**20, 256)
        assert host["NanoCpus"] == 10**9
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
        assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(prepared.port)}]}


def test_every_word_reaches_the_container_as_it_is(
    prepared: Plan, deployer_home: Path, docker_engine: "docker.DockerClient"
) -> None:
    folder = deployer_home / "${HOME} #a: 'b' \u202e"
    folder.mkdir()
    model = shutil.copyfile(prepared.model.path, folder / "- no $$ {x}.gguf")
    plan = with_model(prepared, Path(model))
    plan = msgspec.structs.replace(plan, command=("llama-server", *NASTY), environment={"NASTY": "".join(NASTY)})

    with brought_up(plan, deployer_home, "create"):
        container = container_of(docker_engine, plan)
        mounts: dict[str, Any] = {mount["Destination"]: mount for mount in container.attrs["Mounts"]}

        assert tuple(container.attrs["Config"]["Cmd"]) == NASTY
        assert "NASTY=" + "".join(NASTY) in container.attrs["Config"]["Env"]
        assert mounts[f"/models/{Path(model).name}"]["Source"] == str(model)
        assert mounts[f"/models/{Path(model).name}"]["RW"] is False
        assert container.attrs["HostConfig"]["Privileged"] is False


def test_the_kernel_cache_is_writable_and_outlives_the_container(
    prepared: Plan, deployer_home: Path, docker_engine: "docker.DockerClient"
) -> None:
    image = msgspec.structs.replace(prepared.image, accelerator="cuda", ptx_only=True)
    plan = msgspec.structs.replace(prepared, image=image, devices=plans.P40S)
    (deployer_home / "compose.override.yaml").write_text("services:\n  llm:\n    deploy: !reset null\n")

    with brought_up(plan, deployer_home, "up", "--detach", "--wait"):
        first = container_of(docker_engine, plan)
        made = inside(first, "sh", "-c", 'mkdir "$CUDA_CACHE_PATH" && touch "$CUDA_CACHE_PATH/kernel"')
        compose(deployer_home, "up", "--detach", "--wait", "--force-recreate")
        second = container_of(docker_engine, plan)

        assert made == (0, "")
        assert first.id != second.id
        assert inside(second, "ls", "/var/tmp/cuda") == (0, "kernel\n")


def test_a_model_that_is_gone_is_an_error_and_not_an_empty_folder(prepared: Plan, deployer_home: Path) -> None:
    Path(prepared.model.path).unlink()
    for name, text in render(prepared).files.items():
        (deployer_home / name).write_text(text)
    try:
        found = compose(deployer_home, "create", check=False)
    finally:
        compose(deployer_home, "down", "--volumes")

    assert found.returncode != 0
    assert "bind source path does not exist" in found.stderr
    assert not Path(prepared.model.path).exists()


def inside(container: "Container", *argv: str) -> tuple[int, str]:
    """Exit status and output of a program in the container."""
    found = subprocess.run(["docker", "exec", container.id or "", *argv], capture_output=True, text=True, check=False)
    return found.returncode, found.stdout
