"""Images against a real Engine, a real registry and real builds."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployer import images
from deployer.errors import DeployerError, ImageUnavailableError, VerificationError
from deployer.images.inspect import RECIPE_LABEL

if TYPE_CHECKING:
    import docker

    from tests.integration.conftest import Registry

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TEST_LABEL = "io.deployer.test-images"

Push = Callable[[str], str]


@pytest.fixture(scope="module", autouse=True)
def no_images_left(docker_engine: "docker.DockerClient") -> Iterator[None]:
    yield
    for image in docker_engine.images.list(filters={"label": TEST_LABEL}):
        docker_engine.images.remove(str(image.id), force=True)


def quiet(_: str) -> None:
    pass


def tiny(text: str = "", **options: Any) -> images.LocalImage:
    """An image of one empty folder, different from every other."""
    unique = uuid.uuid4().hex
    dockerfile = f"FROM scratch\nWORKDIR /{unique}\nLABEL {TEST_LABEL}=1\nENV CUDA_VERSION=12.8.1\n{text}"
    return images.build(dockerfile, f"deployer-testbed/tiny:{unique}", {}, quiet, **options)


def forget(engine: "docker.DockerClient", image_id: str) -> None:
    if images.inspect_image(image_id) is not None:
        engine.images.remove(image_id, force=True)
    assert images.inspect_image(image_id) is None


def push(registry: "Registry", engine: "docker.DockerClient", tag: str) -> tuple[str, images.LocalImage]:
    """Push a new image under a tag, and remove it here; returns its pinned name and what it was."""
    image = tiny()
    pinned = registry.push(image.id, "tiny", tag)
    forget(engine, image.id)
    return pinned, image


def failure(action: Callable[[], object]) -> DeployerError:
    """The error of an action."""
    with pytest.raises(DeployerError) as caught:
        action()
    return caught.value


def test_a_tag_is_pulled_by_its_digest_and_proven(registry: "Registry", docker_engine: "docker.DockerClient") -> None:
    pinned, built = push(registry, docker_engine, "v1")
    lines: list[str] = []
    found = images.pull(f"{registry.address}/tiny:v1", lines.append)
    assert found.id == built.id
    assert found.digests[0] == pinned
    assert f"Status: Downloaded newer image for {pinned}" in lines
    assert images.pull(pinned, quiet).id == built.id


def test_the_config_is_known_before_the_pull(registry: "Registry", docker_engine: "docker.DockerClient") -> None:
    pinned, built = push(registry, docker_engine, "config")
    found = images.registry_config(f"{registry.address}/tiny:config")
    assert (found.digest, found.cuda, found.labels[TEST_LABEL]) == (pinned.partition("@")[2], "12.8.1", "1")
    assert images.inspect_image(built.id) is None


def test_a_tag_that_moved_does_not_move_a_pin(registry: "Registry", docker_engine: "docker.DockerClient") -> None:
    pinned, built = push(registry, docker_engine, "moving")
    moved, other = push(registry, docker_engine, "moving")
    answer = images.registry_digest(f"{registry.address}/tiny:moving")
    assert answer.digest == moved.partition("@")[2] != pinned.partition("@")[2]
    assert images.pull(f"{registry.address}/tiny:moving@{pinned.partition('@')[2]}", quiet).id == built.id
    assert images.pull(f"{registry.address}/tiny:moving", quiet).id == other.id


def test_what_was_pulled_outlives_a_prune(registry: "Registry", docker_engine: "docker.DockerClient") -> None:
    pinned, built = push(registry, docker_engine, "prune")
    images.pull(pinned, quiet)
    assert built.labels[TEST_LABEL] == "1"
    docker_engine.images.prune(filters={"label": [TEST_LABEL]})
    assert images.inspect_image(built.id) is not None


def test_a_registry_that_is_down_is_an_answer_at_once(
    own_registry: "Registry", docker_engine: "docker.DockerClient"
) -> None:
    pinned, built = push(own_registry, docker_engine, "down")
    own_registry.go_down()
    tried: list[str] = []
    error = failure(lambda: images.pull(pinned, tried.append))
    assert isinstance(error, ImageUnavailableError)
    assert error.details["cause"] == "unreachable"
    assert tried == []  # the registry was asked, and no pull was begun
    own_registry.come_back()
    assert images.pull(pinned, quiet).id == built.id
    own_registry.go_down()
    assert images.inspect_image(built.id) is not None


def test_a_tag_and_a_digest_that_do_not_exist(registry: "Registry") -> None:
    for name in (f"{registry.address}/tiny:absent", f"{registry.address}/absent@sha256:{'0' * 64}"):
        tried: list[str] = []
        error = failure(partial(images.pull, name, tried.append))
        assert (type(error), error.details["cause"]) == (ImageUnavailableError, "not-found")
        assert tried == []


def test_other_bytes_than_the_digest_are_refused(
    own_registry: "Registry", docker_engine: "docker.DockerClient"
) -> None:
    pinned, _ = push(own_registry, docker_engine, "lie")
    digest = pinned.partition("@sha256:")[2]
    blob = f"/var/lib/docker-registry/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    container = own_registry.container.get_wrapped_container()
    status, output = container.exec_run(["sed", "-i", "s/schemaVersion/schemaversion/", blob])
    assert status == 0, output
    lines: list[str] = []
    error = failure(lambda: images.pull(pinned, lines.append, retry_after_s=(0.1,)))
    assert isinstance(error, VerificationError), (error.message, lines)


def test_an_image_for_another_processor_is_refused(
    registry: "Registry", docker_engine: "docker.DockerClient", tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nWORKDIR /{uuid.uuid4().hex}\nLABEL {TEST_LABEL}=1\n")
    argv = ["docker", "build", "-q", "--platform=linux/arm64", str(tmp_path)]
    image_id = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    pinned = registry.push(image_id, "arm", "v1")
    forget(docker_engine, image_id)
    error = failure(lambda: images.pull(pinned, quiet))
    assert (type(error), error.details["cause"]) == (ImageUnavailableError, "wrong-platform")


def test_a_build_carries_its_recipe(docker_engine: "docker.DockerClient") -> None:
    unique = uuid.uuid4().hex
    text = f"FROM debian:sid-slim\nLABEL {TEST_LABEL}=1\nARG WORD\nRUN echo $WORD {unique} > /word\n"
    lines: list[str] = []
    image = images.build(text, f"deployer-testbed/built:{unique}", {"WORD": "a b $HOME"}, lines.append)
    assert image.labels[RECIPE_LABEL].startswith("dockerfile:")
    assert f"deployer-testbed/built:{unique}" in image.tags
    assert any("[2/2] RUN echo" in line for line in lines)
    output = docker_engine.containers.run(image.id, ["cat", "/word"], remove=True)
    assert output.decode() == f"a b $HOME {unique}\n"


def test_a_broken_build_names_the_step(docker_engine: "docker.DockerClient") -> None:
    unique = uuid.uuid4().hex
    text = f"FROM debian:sid-slim\nRUN true {unique}\nRUN echo the reason {unique} && exit 7\n"
    with pytest.raises(ImageUnavailableError, match=r"step \[3/3\] RUN echo the reason .*exit code: 7") as caught:
        images.build(text, f"deployer-testbed/broken:{unique}", {}, quiet)
    tail = caught.value.details["log_tail"]
    assert isinstance(tail, list)
    assert any(line.endswith(f"the reason {unique}") for line in tail)
    assert images.inspect_image(f"deployer-testbed/broken:{unique}") is None


def test_ctrl_c_ends_a_build_and_its_step(docker_engine: "docker.DockerClient") -> None:
    unique = uuid.uuid4().hex
    text = f"FROM debian:sid-slim\nRUN echo going && sleep 600 && echo {unique}\n"
    show = "lambda line: print(line, flush=True)"
    code = f"import sys\nfrom deployer.images import build\nbuild(sys.argv[1], sys.argv[2], {{}}, {show})"
    process = subprocess.Popen(
        [sys.executable, "-c", code, text, f"deployer-testbed/stopped:{unique}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert any(line.endswith(" going\n") for line in process.stdout)
    assert _processes_with(unique)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == -signal.SIGINT  # the step would sleep for 600 s
    process.stdout.close()
    deadline = time.monotonic() + 60
    while _processes_with(unique) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _processes_with(unique) == []
    assert images.inspect_image(f"deployer-testbed/stopped:{unique}") is None


def _processes_with(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if text.encode() in words and words.startswith(b"/bin/sh"):
            found.append(int(path.parent.name))
    return found
