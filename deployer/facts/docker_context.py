"""Where the Docker command line would connect: DOCKER_HOST, else the chosen context, else the default socket.

Sources: docker/cli `cli/command/cli.go` (`resolveContextName`), `cli/context/store` (folders named by SHA-256).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from deployer.facts.text import read_text

DEFAULT_HOST = "unix:///var/run/docker.sock"
_DEFAULT_CONTEXT = "default"
Document = TypeVar("Document", bound=msgspec.Struct)


class Endpoint(msgspec.Struct, frozen=True):
    """An engine's address; `host` is None for a context that does not exist or names no engine.

    `context` is None where no context was asked. `certificates` is the context's folder of TLS files, None for none.
    """

    host: str | None
    context: str | None = None
    certificates: Path | None = None


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    current_context: str = ""


class _Docker(msgspec.Struct, frozen=True):
    Host: str = ""


class _Endpoints(msgspec.Struct, frozen=True):
    docker: _Docker = _Docker()


class _Meta(msgspec.Struct, frozen=True):
    Endpoints: _Endpoints = _Endpoints()


def ask(environment: Mapping[str, str], home: Path) -> Endpoint:
    """Read the environment and, when it does not decide, the client's configuration below `home`."""
    if environment.get("DOCKER_HOST"):
        return Endpoint(environment["DOCKER_HOST"])
    folder = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    name = environment.get("DOCKER_CONTEXT") or _decoded(folder / "config.json", _Config).current_context
    if not name or name == _DEFAULT_CONTEXT:
        return Endpoint(DEFAULT_HOST)
    digest = hashlib.sha256(name.encode()).hexdigest()
    host = _decoded(folder / "contexts/meta" / digest / "meta.json", _Meta).Endpoints.docker.Host
    certificates = folder / "contexts/tls" / digest / "docker"
    return Endpoint(host or None, name, certificates if certificates.is_dir() else None)


def _decoded(path: Path, kind: type[Document]) -> Document:
    """Decode a file of Docker's; an empty document when it is missing or damaged, as the command line does."""
    try:
        return msgspec.json.decode(read_text(path), type=kind)
    except msgspec.MsgspecError:
        return kind()
