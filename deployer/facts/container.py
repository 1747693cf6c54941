"""The container engine: Docker by its API, else Podman by its program; Compose and the NVIDIA toolkit by theirs."""

import os
import re
import shutil
from pathlib import Path
from threading import Thread

import msgspec

from deployer.execution import Completed, run
from deployer.facts import cdi, docker_context, docker_info, injection
from deployer.facts.docker_context import Endpoint
from deployer.facts.docker_info import Info
from deployer.facts.docker_socket import Reply, get_info
from deployer.facts.text import read_text
from deployer.types import CdiSpec, ContainerFacts

TIMEOUT_S = 15.0
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?(?:[-+~.][0-9A-Za-z.+~-]+)?")
_PROGRAMS = {
    "compose": ("docker", "compose", "version", "--short"),
    "podman": ("podman", "version", "--format", "{{.Client.Version}}"),
    "nvidia-ctk": ("nvidia-ctk", "--version"),
    "nvidia-container-cli": ("nvidia-container-cli", "--version"),
}
_CDI_LISTED_SINCE = (1, 50)
_FOREIGN = re.compile(r"^/var/snap/|^/var/lib/desktop-containerd/")


class Answers(msgspec.Struct, frozen=True):
    """The engine's reply, and the first version number that each program on PATH printed.

    `specs` are the CDI files of this machine, `hooks` NVIDIA's programs that dockerd looks for, `driver` the version of
    the loaded NVIDIA module, `user` the numeric user who asks.
    """

    reply: Reply
    client: bool
    versions: dict[str, str]
    endpoint: Endpoint = Endpoint(docker_context.DEFAULT_HOST)
    hooks: tuple[str, ...] = ()
    specs: tuple[cdi.File, ...] = ()
    driver: str = ""
    user: int = 0


def probe(timeout_s: float = TIMEOUT_S, root: Path = Path("/")) -> ContainerFacts:
    """Ask this machine; every question has the same limit, and they run side by side."""
    return read(ask(timeout_s, root))


def ask(timeout_s: float = TIMEOUT_S, root: Path = Path("/")) -> Answers:
    """Ask the engine's socket, and the programs in threads meanwhile; a program that is not on PATH is not asked."""
    versions: dict[str, str] = {}
    threads = [
        Thread(target=_ask_program, args=(name, argv, timeout_s, versions), daemon=True)
        for name, argv in _PROGRAMS.items()
        if shutil.which(argv[0])
    ]
    for thread in threads:
        thread.start()
    home, user = _home(), os.geteuid()
    endpoint = docker_context.ask(os.environ, home)
    reply = _ask_engine(endpoint, timeout_s)
    specs = cdi.ask(cdi.folders(os.environ, home, rootless=user != 0), root)
    for thread in threads:
        thread.join()
    return Answers(
        reply,
        shutil.which("docker") is not None,
        versions,
        endpoint,
        injection.ask(),
        specs,
        read_text(root / "sys/module/nvidia/version").strip(),
        user,
    )


def read(answers: Answers) -> ContainerFacts:
    """Give the facts of the engine that answers; without one, why none does."""
    toolkit = answers.versions.get("nvidia-ctk") or answers.versions.get("nvidia-container-cli")
    specs = tuple(cdi.compare(cdi.read(file), answers.driver or None) for file in answers.specs)
    info, error = docker_info.read(answers.reply, client=answers.client, context=answers.endpoint.context)
    if info is not None:
        return _answered(info, answers, toolkit, specs)
    podman = answers.versions.get("podman")
    if podman is not None and answers.reply.failure in {"absent", "refused"}:
        return _podman(podman, rootless=answers.user != 0, toolkit=toolkit, specs=specs)
    compose = answers.versions.get("compose")
    context = answers.endpoint.context
    return ContainerFacts(compose=compose, nvidia_toolkit=toolkit, error=error, context=context, cdi_specs=specs)


def _podman(version: str | None, *, rootless: bool, toolkit: str | None, specs: tuple[CdiSpec, ...]) -> ContainerFacts:
    """Give Podman's facts: it has no daemon, reads the CDI files itself, and is rootless for every user but root."""
    devices = cdi.names(specs)
    return ContainerFacts(
        engine="podman",
        version=version,
        rootless=rootless,
        nvidia_toolkit=toolkit,
        nvidia_runtime=False,
        cdi=devices,
        cdi_specs=specs,
        cdi_spec_dirs=tuple(sorted({str(Path(spec.path).parent) for spec in specs})),
        nvidia_injection=injection.podman_ways(devices),
    )


def _answered(info: Info, answers: Answers, toolkit: str | None, specs: tuple[CdiSpec, ...]) -> ContainerFacts:
    """Read `GET /info`; Podman answers on Docker's API too, and is told by its extra fields."""
    where = {"endpoint": answers.reply.host, "context": answers.endpoint.context}
    compose = answers.versions.get("compose")
    if info.BuildahVersion is not None:
        facts = _podman(info.ServerVersion, rootless=bool(info.Rootless), toolkit=toolkit, specs=specs)
        return msgspec.structs.replace(facts, compose=compose, **where)
    runtime = "nvidia" in (info.Runtimes or {})
    here = _is_here(info, answers.reply)
    devices = _cdi(info, answers.reply.api_version, specs if here else ())
    return ContainerFacts(
        engine="docker",
        version=info.ServerVersion,
        compose=compose,
        rootless=any("name=rootless" in text for text in info.SecurityOptions or ()),
        nvidia_toolkit=toolkit,
        nvidia_runtime=runtime,
        cdi=devices,
        cdi_spec_dirs=info.CDISpecDirs or (),
        cdi_specs=specs if here else (),
        nvidia_injection=_ways(info, answers, devices, specs) if here else None,
        **where,
    )


def _is_here(info: Info, reply: Reply) -> bool:
    """Tell an engine that sees this machine's own files: not a remote one, Docker Desktop's machine or a snap."""
    desktop = info.OperatingSystem == "Docker Desktop"
    return reply.host.startswith("unix:") and not desktop and not _FOREIGN.match(info.DockerRootDir or "")


def _ways(info: Info, answers: Answers, devices: tuple[str, ...] | None, specs: tuple[CdiSpec, ...]) -> tuple[str, ...]:
    """Name the ways to inject NVIDIA GPUs; a device that only a stale specification has is none."""
    stale = {f"{spec.kind}={name}" for spec in specs if spec.error for name in spec.devices} - set(cdi.names(specs))
    usable = tuple(name for name in devices or () if name not in stale)
    runtime = "nvidia" in (info.Runtimes or {})
    return injection.docker_ways(info.ServerVersion, hooks=answers.hooks, runtime=runtime, devices=usable)


def _cdi(info: Info, api_version: str | None, specs: tuple[CdiSpec, ...]) -> tuple[str, ...] | None:
    """List injectable devices; an engine before API 1.50 (Docker 28.2) does not list them, so its files are read.

    None when CDI is on, the engine cannot list them and its files cannot be read here.
    """
    if info.DiscoveredDevices is not None:
        return tuple(sorted(device.ID for device in info.DiscoveredDevices if device.ID))
    numbers = tuple(int(part) for part in (api_version or "0").split(".") if part.isdigit())
    if numbers >= _CDI_LISTED_SINCE or not info.CDISpecDirs:
        return ()
    own = tuple(spec for spec in specs if str(Path(spec.path).parent) in info.CDISpecDirs)
    return cdi.names(own) or None


def _home() -> Path:
    """Give the user's folder; a user number without a name and without HOME has none, and then no configuration."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def _ask_engine(endpoint: Endpoint, timeout_s: float) -> Reply:
    if endpoint.host is None:
        return Reply(endpoint.context or "", failure="context")
    return get_info(endpoint.host, timeout_s, endpoint.certificates)


def _ask_program(name: str, argv: tuple[str, ...], timeout_s: float, versions: dict[str, str]) -> None:
    version = read_version(run(argv, timeout_s=timeout_s))
    if version is not None:
        versions[name] = version


def read_version(done: Completed) -> str | None:
    """Take the first version number of a program's output; None when it failed."""
    found = _VERSION.search(done.stdout) if done.returncode == 0 else None
    return None if found is None else found.group()
