"""The container engine: Docker by its API, else Podman by its program; Compose and the NVIDIA toolkit by theirs."""

import re
import shutil
from threading import Thread
from urllib.parse import urlsplit

import msgspec

from deployer.execution import Completed, run
from deployer.facts.docker_socket import Reply, docker_host, get_info
from deployer.types import ContainerFacts

TIMEOUT_S = 5.0
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?(?:[-+~.][0-9A-Za-z.+~-]+)?")
_PROGRAMS = {
    "compose": ("docker", "compose", "version", "--short"),
    "podman": ("podman", "version", "--format", "{{.Client.Version}}"),
    "nvidia-ctk": ("nvidia-ctk", "--version"),
    "nvidia-container-cli": ("nvidia-container-cli", "--version"),
}
_CDI_LISTED_SINCE = (1, 50)
_ABSENT = "No container engine: install Docker Engine and its Compose plugin, or serve with `--runtime process`."
_FAILURES = {
    "absent": "The Docker Engine is not running: there is no socket {where}. Start it with "
    "`sudo systemctl start docker`, or set DOCKER_HOST.",
    "permission": "Permission denied on {where}: this user may not use Docker. Run `sudo usermod -aG docker $USER` and "
    "log in again.",
    "timeout": "The Docker Engine at {where} did not answer within {detail}: restart it with "
    "`sudo systemctl restart docker`.",
    "refused": "The Docker Engine at {where} does not answer ({detail}). Start it with `sudo systemctl start docker`, "
    "or set DOCKER_HOST.",
    "status": "The Docker Engine at {where} answered {detail}: a proxy may forbid /info; read `journalctl -u docker`.",
    "protocol": "What listens at {where} is not a Docker Engine: {detail}.",
    "address": "DOCKER_HOST is {where}, but {detail}.",
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


class Answers(msgspec.Struct, frozen=True):
    """The engine's reply, and the first version number that each program on PATH printed."""

    reply: Reply
    client: bool
    versions: dict[str, str]


def probe(timeout_s: float = TIMEOUT_S) -> ContainerFacts:
    """Ask this machine; every question has the same limit, and they run side by side."""
    return read(ask(timeout_s))


def ask(timeout_s: float = TIMEOUT_S) -> Answers:
    """Ask the engine's socket, and the programs in threads meanwhile; a program that is not on PATH is not asked."""
    versions: dict[str, str] = {}
    threads = [
        Thread(target=_ask_program, args=(name, argv, timeout_s, versions), daemon=True)
        for name, argv in _PROGRAMS.items()
        if shutil.which(argv[0])
    ]
    for thread in threads:
        thread.start()
    reply = get_info(docker_host(), timeout_s)
    for thread in threads:
        thread.join()
    return Answers(reply, shutil.which("docker") is not None, versions)


def read(answers: Answers) -> ContainerFacts:
    """Give the facts of the engine that answers; without one, why none does."""
    toolkit = answers.versions.get("nvidia-ctk") or answers.versions.get("nvidia-container-cli")
    info, error = _info(answers)
    if info is not None:
        return _answered(info, answers, toolkit)
    podman = answers.versions.get("podman")
    if podman is not None and answers.reply.failure in {"absent", "refused"}:
        return ContainerFacts(engine="podman", version=podman, nvidia_toolkit=toolkit)
    return ContainerFacts(compose=answers.versions.get("compose"), nvidia_toolkit=toolkit, error=error)


def _answered(info: Info, answers: Answers, toolkit: str | None) -> ContainerFacts:
    """Read `GET /info`; Podman answers on Docker's API too, and is told by its extra fields."""
    options = info.SecurityOptions or ()
    rootless = info.Rootless if info.Rootless is not None else any("name=rootless" in text for text in options)
    return ContainerFacts(
        engine="docker" if info.BuildahVersion is None else "podman",
        version=info.ServerVersion,
        compose=answers.versions.get("compose"),
        rootless=rootless,
        nvidia_toolkit=toolkit,
        nvidia_runtime="nvidia" in (info.Runtimes or {}),
        cdi=_cdi(info, answers.reply.api_version),
        cdi_spec_dirs=info.CDISpecDirs or (),
    )


def _cdi(info: Info, api_version: str | None) -> tuple[str, ...] | None:
    """List injectable devices; None when CDI is on but the engine is too old to list them (API 1.50, Docker 28.2)."""
    if info.DiscoveredDevices is not None:
        return tuple(sorted(device.ID for device in info.DiscoveredDevices if device.ID))
    numbers = tuple(int(part) for part in (api_version or "0").split(".") if part.isdigit())
    return () if numbers >= _CDI_LISTED_SINCE or not info.CDISpecDirs else None


def _info(answers: Answers) -> tuple[Info | None, str | None]:
    """Decode the reply, or say why there is none and what to do."""
    reply = answers.reply
    if reply.failure is not None:
        return None, _failure(reply, client=answers.client)
    try:
        return msgspec.json.decode(reply.body, type=Info), None
    except msgspec.MsgspecError:
        return None, f"What answers at {reply.host} is not a Docker Engine: its /info is not what Docker sends."


def _failure(reply: Reply, *, client: bool) -> str:
    """Make the sentence: absent, not running, forbidden and hanging have different ways out."""
    where = urlsplit(reply.host).path if reply.host.startswith("unix:") else reply.host
    if reply.failure == "absent" and not client:
        return _ABSENT
    return _FAILURES[reply.failure or "refused"].format(where=where, detail=reply.detail)


def _ask_program(name: str, argv: tuple[str, ...], timeout_s: float, versions: dict[str, str]) -> None:
    version = read_version(run(argv, timeout_s=timeout_s))
    if version is not None:
        versions[name] = version


def read_version(done: Completed) -> str | None:
    """Take the first version number of a program's output; None when it failed."""
    found = _VERSION.search(done.stdout) if done.returncode == 0 else None
    return None if found is None else found.group()
