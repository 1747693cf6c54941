"""The Docker Engine, read through its API: how it reaches registries, and how much room it has."""

import contextlib
import ipaddress
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from deployer.errors import ImageUnavailableError, PreconditionError

if TYPE_CHECKING:
    from docker import DockerClient

TIMEOUT_S = 10
_MIB = 1024 * 1024
_RESERVE_MIB = 1024
_NO_ENGINE = (
    ("Permission denied", "this user may not use it", "run the command with sudo, or use rootless Docker"),
    ("No such file", "nothing is there", "start it with `sudo systemctl start docker`, install it, or set DOCKER_HOST"),
    ("refused", "it does not answer", "start it with `sudo systemctl start docker`, or set DOCKER_HOST"),
    ("timed out", "it did not answer in time", "look at `systemctl status docker` and `journalctl -u docker`"),
)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how the Engine reaches a registry, and where it keeps images.

    `remote`: it runs on another machine, so what this one reaches says nothing. `root` is None where unknown.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    proxies: dict[str, str] = {}
    no_proxy: str = ""
    architecture: str | None = None
    root: str | None = None
    remote: bool = False
    certificates: Path = Path("/etc/docker/certs.d")

    def is_insecure(self, host: str) -> bool:
        """Tell whether the Engine talks plain HTTP to this registry (`host[:port]`): loopback, or listed as such."""
        bare = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if bare == "localhost" or host in self.insecure or bare in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(bare.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in _networks(self.insecure))


@contextlib.contextmanager
def engine(timeout_s: int = TIMEOUT_S) -> Iterator["DockerClient"]:
    """Connect as the docker command line does (DOCKER_HOST, contexts). PreconditionError when no Engine answers."""
    import docker
    import docker.errors
    import requests

    try:
        client = docker.from_env(timeout=timeout_s, use_ssh_client=True)
        try:
            yield client
        finally:
            client.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        raise _no_engine(str(error)) from error


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
        remote=_is_remote(base_url),
    )


def free_mib(settings: EngineSettings) -> int | None:
    """Free space where the Engine keeps images, in MiB; None where this machine cannot see it."""
    if settings.remote or settings.root is None:
        return None
    try:
        return shutil.disk_usage(settings.root).free // _MIB
    except OSError:
        return None


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


def _no_engine(text: str) -> PreconditionError:
    where = os.environ.get("DOCKER_HOST") or "its socket"
    for mark, reason, hint in _NO_ENGINE:
        if mark in text:
            return PreconditionError(f"the Docker Engine cannot be used at {where}: {reason}", hint=hint)
    return PreconditionError(
        f"the Docker Engine cannot be used at {where}: {text[:300]}", hint="`docker info` shows the same problem"
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


def _networks(names: tuple[str, ...]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for name in names:
        with contextlib.suppress(ValueError):
            yield ipaddress.ip_network(name)
