"""What `GET /info` of a Docker Engine says, or in words why it says nothing. Pure."""

from urllib.parse import urlsplit

import msgspec

from deployer.facts.docker_socket import Reply

_ABSENT = "No container engine: install Docker Engine and its Compose plugin, or serve with `--runtime process`."
_FAILURES = {
    "absent": "The Docker Engine is not running: there is no socket {where}. Start it with "
    "`sudo systemctl start docker`, or set DOCKER_HOST.",
    "permission": "Permission denied on {where}: this user may not use Docker. Run `sudo usermod -aG docker $USER` and "
    "log in again, which makes this user as good as root; without that, set up rootless Docker "
    "(docs.docker.com/engine/security/rootless).",
    "timeout": "The Docker Engine at {where} did not answer within {detail}: restart it with "
    "`sudo systemctl restart docker`.",
    "refused": "The Docker Engine at {where} does not answer ({detail}). Start it with `sudo systemctl start docker`, "
    "or set DOCKER_HOST.",
    "status": "The Docker Engine at {where} answered {detail}: a proxy may forbid /info; read `journalctl -u docker`.",
    "protocol": "What listens at {where} is not a Docker Engine: {detail}.",
    "address": "{named} is {where}, but {detail}.",
    "context": "The Docker context {where} does not exist or names no engine: run `docker context ls`, then "
    "`docker context use default` or unset DOCKER_CONTEXT.",
}


class DiscoveredDevice(msgspec.Struct, frozen=True):
    """A device that a driver of the engine can inject."""

    ID: str = ""


class Info(msgspec.Struct, frozen=True):
    """The part of `GET /info` that matters (moby `api/types/system/info.go`; `BuildahVersion` is Podman's own)."""

    ServerVersion: str | None = None
    Runtimes: dict[str, object] | None = None
    SecurityOptions: tuple[str, ...] | None = None
    CDISpecDirs: tuple[str, ...] | None = None
    DiscoveredDevices: tuple[DiscoveredDevice, ...] | None = None
    BuildahVersion: str | None = None
    Rootless: bool | None = None
    OperatingSystem: str | None = None
    DockerRootDir: str | None = None


def read(reply: Reply, *, client: bool, context: str | None) -> tuple[Info | None, str | None]:
    """Decode the reply, or say why there is none and what to do. `client`: the command `docker` is installed."""
    if reply.failure is not None:
        return None, _failure(reply, client=client, context=context)
    try:
        return msgspec.json.decode(reply.body, type=Info), None
    except msgspec.MsgspecError:
        return None, f"What answers at {reply.host} is not a Docker Engine: its /info is not what Docker sends."


def _failure(reply: Reply, *, client: bool, context: str | None) -> str:
    """Make the sentence: absent, not running, forbidden and hanging have different ways out."""
    where = urlsplit(reply.host).path if reply.host.startswith("unix:") else reply.host
    if reply.failure == "absent" and not client:
        return _ABSENT
    named = "DOCKER_HOST" if context is None else f"The address of the Docker context {context}"
    return _FAILURES[reply.failure or "refused"].format(where=where, detail=reply.detail, named=named)
