"""Everything that can be refused is refused before anything is stopped."""

import errno
import ipaddress
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from deployer import catalog, ledger
from deployer.errors import PreconditionError
from deployer.paths import Home
from deployer.runtime import RUNTIMES
from deployer.types import Plan
from deployer.workflow import running


def check(plan: Plan, home: Home) -> None:
    """Model readable by the server's user, the name free or our own, and the port too."""
    _model_readable(plan)
    _compose_there(plan)
    RUNTIMES[plan.runtime](home).refuse_foreign(plan.name)
    port(plan.name, plan.address, plan.port, home)


def port(name: str, address: str, number: int, home: Home) -> None:
    """Refuse a port that another program holds; the deployment's own server will have left it. PreconditionError."""
    if not _own_port(name, address, number, home):
        port_free(address, number)


def startable(plan: Plan) -> None:
    """Refuse an engine that would serve without a key, or with one that others can read."""
    if plan.gateway is not None:
        return
    key = catalog.load_engine(plan.engine).key
    handed_over = key in ("environment", "config") and (plan.runtime == "process" or bool(plan.launcher))
    if key != "file" and not handed_over:
        raise PreconditionError(
            f"{plan.engine} cannot be started as this plan says: {_NO_KEY[key]}",
            hint="run it in a container (--runtime compose), or let llama.cpp serve the model: --engine llama.cpp",
        )


_NO_KEY = {
    "environment": "nothing in its image is known that could hand over the API key",
    "config": "nothing in its image is known that could hand over the API key",
    "argument": "it takes its API key only on the command line, where others can read it",
    "none": "it has no API key, and no gateway stands before it",
}


def port_free(address: str, port: int) -> None:
    """Bind it for a moment. Raises PreconditionError with the way out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"port {port} on {address} is taken by another program"
                raise PreconditionError(
                    message, hint=f"see who: ss -ltnp 'sport = :{port}'; or choose another: --port {port + 1}"
                ) from error
            raise PreconditionError(
                f"cannot listen on {address}:{port}: {error.strerror}", hint="choose another with --address or --port"
            ) from error


def is_taken(address: str, port: int) -> bool:
    """True when another program listens there."""
    try:
        port_free(address, port)
    except PreconditionError as error:
        return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
    return False


def _own_port(name: str, address: str, number: int, home: Home) -> bool:
    """True when the port is held by the release that will be replaced, there or, by a wildcard, there too."""
    current = ledger.known_plan(home, name)
    if current is None or current.port != number:
        return False
    if current.address != address and not any(
        ipaddress.ip_address(it).is_unspecified for it in (current.address, address)
    ):
        return False
    return running.is_up(running.state(home, current))


def _compose_there(plan: Plan) -> None:
    """The Engine may answer where its program is not installed, which starts the containers."""
    if plan.runtime == "compose" and shutil.which("docker") is None:
        raise PreconditionError(
            "the Docker Engine answers, but the program docker with its Compose plugin is not on PATH",
            hint="install the packages docker-ce-cli and docker-compose-plugin (docs.docker.com/engine/install)",
        )


def _model_readable(plan: Plan) -> None:
    """A container user who is not root reads the model by its mode, not by ours."""
    path = Path(plan.model.path)
    uid = int(plan.container_user.split(":")[0])
    if plan.runtime != "compose" or uid in (0, os.geteuid()):
        return
    files = (*_files(path), *([] if plan.model.projector is None else [Path(plan.model.projector)]))
    unreadable = next((file for file in files if not file.stat().st_mode & 0o004), None)
    if unreadable is not None:
        raise PreconditionError(
            f"{unreadable} cannot be read by the server, which runs as user {uid}", hint=f"chmod o+r {unreadable}"
        )


def _files(path: Path) -> Sequence[Path]:
    return [path] if path.is_file() else [item for item in path.iterdir() if item.is_file()]
