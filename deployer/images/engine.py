"""The Docker Engine, read through its API: how it reaches registries, and how much room it has."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from deployer.errors import ImageUnavailableError, PreconditionError

if TYPE_CHECKING:
    import ipaddress

    from docker import DockerClient

TIMEOUT_S = 10
_MIB = 1024 * 1024
_RESERVE_MIB = 1024
_DEFAULT_HOST = "unix:///var/run/docker.sock"
_START = "start it with `sudo systemctl start docker`, or set DOCKER_HOST"
_NO_ENGINE = (
    ("Permission denied", "this user may not use it", "run the command with sudo, or use rootless Docker"),
    ("No such file", "nothing is there", f"{_START}; where there is no Docker yet, install it"),
    ("refused", "it does not answer", _START),
    ("timed out", "it did not answer in time", "look at `systemctl status docker` and `journalctl -u docker`"),
)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how the Engine reaches a registry, and where it keeps images.

    `remote`: it runs on another machine, so what this one reaches says nothing. `root` is where images are, `volumes`
    the folder that volumes are below; None where unknown.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    proxies: dict[str, str] = {}
    no_proxy: str = ""
    architecture: str | None = None
    root: str | None = None
    volumes: str | None = None
    remote: bool = False
    certificates: Path = Path("/etc/docker/certs.d")

    def is_insecure(self, host: str) -> bool:
        """Tell whether the Engine talks plain HTTP to this registry (`host[:port]`): loopback, or listed as such."""
        import ipaddress

        bare = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if bare == "localhost" or host in self.insecure or bare in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(bare.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or any(_contains(name, address) for name in self.insecure)


@contextlib.contextmanager
def engine(timeout_s: int = TIMEOUT_S) -> Iterator["DockerClient"]:
    """Connect as the docker command line does (DOCKER_HOST, contexts). PreconditionError when no Engine answers."""
    import docker
    import docker.errors
    import requests

    host = _host()
    try:
        if host.startswith("unix://"):
            _knock(host.removeprefix("unix://"), timeout_s)
        client = docker.from_env(timeout=timeout_s, use_ssh_client=True)
        try:
            yield client
        finally:
            client.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        raise _no_engine(host, str(error)) from error


def engine_settings() -> EngineSettings:
    """Ask the Engine for its settings. PreconditionError when none answers."""
    with engine() as client:
        info: dict[str, Any] = client.info()
        base_url = str(client.api.base_url)
    registries = info.get("RegistryConfig") or {}
    indexes = registries.get("IndexConfigs") or {}
    insecure = [name for name, index in indexes.items() if index.get("Secure") is False]
    proxies = {"http": info.get("HttpProxy") or "", "https": info.get("HttpsProxy") or ""}
    return EngineSettings(
        insecure=(*insecure, *(registries.get("InsecureRegistryCIDRs") or ())),
        mirrors=tuple(mirror.rstrip("/") for mirror in registries.get("Mirrors") or ()),
        proxies={scheme: proxy for scheme, proxy in proxies.items() if proxy},
        no_proxy=info.get("NoProxy") or "",
        architecture=_go_architecture(info.get("Architecture")),
        root=_image_root(info),
        volumes=info.get("DockerRootDir") or None,
        remote=_is_remote(base_url),
    )


def free_mib(settings: EngineSettings) -> int | None:
    """Free space where the Engine keeps images, in MiB; None where this machine cannot see it."""
    if settings.remote or settings.root is None:
        return None
    import shutil

    try:
        return shutil.disk_usage(settings.root).free // _MIB
    except OSError:
        return None


def has_volume(name: str) -> bool:
    """Tell whether the Engine has a volume of this name. PreconditionError when no Engine answers."""
    import docker.errors

    with engine() as client:
        try:
            client.volumes.get(name)
        except docker.errors.NotFound:
            return False
    return True


def check_space(needed_mib: int, settings: EngineSettings | None = None, reserve_mib: int = _RESERVE_MIB) -> None:
    """Refuse a download that cannot end well: ImageUnavailableError when `needed_mib` and a reserve are not free.

    Nothing is refused where the free space is unknown. PreconditionError when no Engine answers.
    """
    settings = settings or engine_settings()
    free = free_mib(settings)
    if free is None or needed_mib + reserve_mib <= free:
        return
    raise ImageUnavailableError(
        f"the image needs {needed_mib} MiB and a reserve of {reserve_mib} MiB; {settings.root} has {free} MiB free",
        hint="make room: `docker system df` shows what is there, `docker image prune` removes images without a name",
        details={"cause": "no-space", "needed_mib": needed_mib, "free_mib": free, "path": settings.root},
    )


def _host() -> str:
    """Where the docker command line would go: DOCKER_HOST, else the current context, else the default socket."""
    from docker import ContextAPI
    from docker.errors import DockerException

    host = os.environ.get("DOCKER_HOST")
    with contextlib.suppress(DockerException, OSError, ValueError, KeyError):
        host = host or ContextAPI.kwargs_from_context().get("base_url")
    return (host or _DEFAULT_HOST).replace("http+unix://", "unix://")


def _knock(path: str, timeout_s: int) -> None:
    """Connect once: the reason of a failure is plain here, and the library would leave its socket open."""
    import socket

    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(timeout_s)
        knock.connect(path)


def _no_engine(host: str, text: str) -> PreconditionError:
    for mark, reason, hint in _NO_ENGINE:
        if mark in text:
            return PreconditionError(f"the Docker Engine cannot be used at {host}: {reason}", hint=hint)
    return PreconditionError(
        f"the Docker Engine cannot be used at {host}: {text[:300]}", hint="`docker info` shows the same problem"
    )


def _image_root(info: dict[str, Any]) -> str | None:
    """Images are in containerd's folder when the Engine uses its snapshotters (moby: `docker info`, driver-type)."""
    words = {str(word) for pair in info.get("DriverStatus") or () for word in pair}
    if any(word.startswith("io.containerd.snapshotter") for word in words):
        return "/var/lib/containerd"
    return info.get("DockerRootDir") or None


def _is_remote(base_url: str) -> bool:
    host = base_url.partition("://")[2].partition("/")[0]
    bare = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
    return bare not in {"localhost", "127.0.0.1", "[::1]"}


def _go_architecture(machine: str | None) -> str | None:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine or "", machine)


def _contains(network: str, address: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    import ipaddress

    try:
        return address in ipaddress.ip_network(network)
    except ValueError:
        return False
