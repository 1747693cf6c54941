"""Runtime `compose`: Docker Compose starts, Docker answers what runs. Ours is what carries our label."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from deployer.errors import BadInputError, ImageUnavailableError, PreconditionError, StartError
from deployer.execution import Completed, stream
from deployer.paths import Home
from deployer.runtime.containers import Containers
from deployer.runtime.interface import OnLine
from deployer.runtime.lines import escape
from deployer.runtime.naming import checked_name, project
from deployer.types import Plan, ServerState

COMPOSE_FILE = "compose.yaml"
_START_TIMEOUT_S = 180.0
_TAIL = 20

_NO_PLUGIN = ("is not a docker command", "unknown shorthand flag: 'p' in -p")
"""What the Docker client says of `docker compose -p` without the plugin, before its usage (docker 26.1.5)."""

# Compose's own exit statuses (docker/compose pkg/compose/errors.go: ComposeParseError 15, PullError 18).
_BAD_FILE, _PULL_FAILED, _NOT_FOUND, _TIMED_OUT = 15, 18, 127, 124


class ComposeRuntime:
    """Servers as Compose projects `deployer-<name>`: an engine, and the gateway before it where it has one."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._containers = Containers(home.deployments)

    def start(self, plan: Plan, folder: Path, on_line: OnLine) -> None:
        """`docker compose up -d` without building or pulling; a container that was only created is cleaned away."""
        self.start_files(plan.name, folder, on_line)

    def start_files(self, name: str, folder: Path, on_line: OnLine) -> None:
        """The same for the files of a folder, whoever made them."""
        name = checked_name(name)
        if not (folder / COMPOSE_FILE).is_file():
            raise BadInputError(f"{folder} holds no {COMPOSE_FILE}", hint="render the plan again")
        self._containers.refuse_foreign(name)
        self._containers.remove_created(name)
        done = stream(up_argv(name), _escaped(on_line), timeout_s=_START_TIMEOUT_S, cwd=folder)
        if done.returncode != 0:
            self._containers.remove_created(name)
            raise explain(done)

    def refuse_foreign(self, name: str) -> None:
        """Refuse containers and networks of this name without our label, or of another installation."""
        self._containers.refuse_foreign(checked_name(name))

    def stop(self, name: str, on_line: OnLine, timeout_s: float) -> bool:
        """Stop and remove our containers and networks of this name; the volume with compiled kernels stays."""
        return self._containers.remove(checked_name(name), on_line, timeout_s)

    def execute(self, name: str, argv: Sequence[str], on_line: OnLine, timeout_s: float) -> Completed:
        """`docker exec` in the container of an engine that is alone, as its own user and without a shell."""
        found = self._containers.states(checked_name(name))
        if not found or found[0].container_id is None or found[0].copies:
            raise PreconditionError(f"{name} does not run: {argv[0]} cannot be run in it", hint="deployer status")
        command = ("docker", "exec", found[0].container_id, *argv)
        return stream(command, _escaped(on_line), timeout_s=timeout_s)

    def state(self, name: str) -> ServerState:
        """Ask Docker for the newest container with our label."""
        found = self._containers.states(checked_name(name))
        return found[0] if found else ServerState(name=name, runtime="compose", status="missing")

    def states(self) -> tuple[ServerState, ...]:
        """Ask Docker for every container with our label; one state a name."""
        return self._containers.states(None)

    def logs(self, name: str, *, tail: int | None, follow: bool, since: datetime | None, on_line: OnLine) -> None:
        """Hand over the container's log; `follow` ends with the container."""
        self._containers.logs(checked_name(name), tail=tail, follow=follow, since=since, on_line=on_line)


def up_argv(name: str) -> tuple[str, ...]:
    """Return the command line: what is started was fetched or built before."""
    up = ("up", "-d", "--no-build", "--pull", "never", "--remove-orphans")
    return ("docker", "compose", "-p", project(name), "-f", COMPOSE_FILE, "--progress", "plain", *up)


def explain(done: Completed) -> PreconditionError | BadInputError | StartError:
    """Turn Compose's exit status and last words into our error."""
    lines = [escape(line) for line in done.stdout.splitlines() if line.strip()]
    usage = next((line for line in lines if any(words in line for words in _NO_PLUGIN)), None)
    said = usage or next((line for line in reversed(lines) if not line.lstrip().startswith("Container ")), "")
    said = said or done.stderr.strip() or f"docker compose ended with exit status {done.returncode}"
    if done.returncode == _BAD_FILE:
        return BadInputError(f"Compose cannot use {COMPOSE_FILE}: {said}", hint="render the plan again")
    if done.returncode == _PULL_FAILED:
        return ImageUnavailableError(f"Compose wanted to fetch an image: {said}", hint="deployer images ls")
    if done.returncode == _NOT_FOUND:
        return PreconditionError(f"docker cannot be run: {said}", hint="deployer probe")
    if done.returncode == _TIMED_OUT:
        return PreconditionError(f"docker compose did not end within {_START_TIMEOUT_S:.0f} s", hint="deployer probe")
    for words, make in _KNOWN:
        if any(word in said for word in words):
            return make(said)
    return StartError(
        f"Docker could not start the container: {said}",
        hint="deployer logs",
        details={"cause": said, "log_tail": lines[-_TAIL:], "container_exit_code": None},
    )


def _no_plugin(said: str) -> PreconditionError:
    hint = "install the package docker-compose-plugin: docs.docker.com/compose/install"
    return PreconditionError(f"docker has no Compose plugin: {said}", hint=hint)


def _no_image(said: str) -> PreconditionError:
    return ImageUnavailableError(f"the image is not on this machine: {said}", hint="deployer images ls")


def _port_taken(said: str) -> PreconditionError:
    return PreconditionError(f"the port is taken: {said}", hint="stop the other program, or choose another --port")


def _name_taken(said: str) -> PreconditionError:
    return PreconditionError(f"the name is taken: {said}", hint="choose another --name")


def _no_gpu_access(said: str) -> PreconditionError:
    return PreconditionError(f"containers get no GPU here: {said}", hint="install the NVIDIA Container Toolkit")


def _no_mount(said: str) -> PreconditionError:
    return PreconditionError(f"a file to mount is missing: {said}", hint="deployer models ls")


def _no_daemon(said: str) -> PreconditionError:
    return PreconditionError(f"Docker does not answer: {said}", hint="deployer probe")


_KNOWN: tuple[tuple[tuple[str, ...], Callable[[str], PreconditionError]], ...] = (
    (_NO_PLUGIN, _no_plugin),
    (("No such image", "pull access denied", "manifest unknown"), _no_image),
    (("port is already allocated", "address already in use", "ports are not available"), _port_taken),
    (("is already in use by container", "Conflict. The container name"), _name_taken),
    (("could not select device driver", "unresolvable CDI devices", "nvidia-container-cli"), _no_gpu_access),
    (("bind source path does not exist", "invalid mount config"), _no_mount),
    (("Cannot connect to the Docker daemon", "permission denied while trying to connect"), _no_daemon),
)


def _escaped(on_line: OnLine) -> OnLine:
    return lambda line: on_line(escape(line))
