"""Docker's own answers, asked by label through its API each time."""

import contextlib
import re
import shlex
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from deployer.errors import PreconditionError
from deployer.runtime.container_logs import as_they_come, as_written, in_order
from deployer.runtime.container_state import has_fallen, state_of, status_of
from deployer.runtime.copies import newest, place, together
from deployer.runtime.interface import OnLine
from deployer.runtime.lines import escape, split_lines
from deployer.runtime.naming import LABEL_GATEWAY, LABEL_NAME, project
from deployer.types import ServerState

if TYPE_CHECKING:
    import docker

_PROJECT = "com.docker.compose.project"
_WORKING_DIR = "com.docker.compose.project.working_dir"
_TIMEOUT_S = 20
_SOCKET = "unix:///var/run/docker.sock"


class Containers:
    """Our containers and networks in one Docker Engine. Raises PreconditionError where it does not answer.

    Ours is what carries our label and was not started from another installation's state folder (another user's, say).
    """

    def __init__(self, deployments: Path | None = None) -> None:
        self._deployments = deployments

    @cached_property
    def _docker(self) -> "docker.APIClient":
        import docker
        import docker.utils

        options = docker.utils.kwargs_from_env()
        _refuse_missing_socket(options.get("base_url", _SOCKET))
        with _answering():
            client = docker.APIClient(timeout=_TIMEOUT_S, **options)
        weakref.finalize(self, client.close)
        return client

    def states(self, name: str | None) -> tuple[ServerState, ...]:
        """Return one state a name, the newest container's (or copies'), sorted by name; of one name or of all."""
        with _answering():
            named: dict[str, list[dict[str, Any]]] = {}
            for entry in self._ours(name):
                named.setdefault(entry["Labels"][LABEL_NAME], []).append(entry)
            asked = (self._asked(entries) for _, entries in sorted(named.items()))
            states = tuple(state for state in asked if state is not None)
            fallen = {entry["Labels"][LABEL_GATEWAY]: entry for entry in self._gateways(name) if has_fallen(entry)}
            return tuple(self._behind(state, fallen.get(state.name)) for state in states)

    def _asked(self, entries: list[dict[str, Any]]) -> ServerState | None:
        """The state of one deployment; None when its containers went away meanwhile."""
        found = newest(entries)
        inspected = {number: self._inspect(entry["Id"]) for number, entry in found.items()}
        states = {number: state_of(container) for number, container in inspected.items() if container}
        if 0 in found or not states:
            return states.get(0)
        return together(states, place(next(iter(found.values())))[1])

    def _behind(self, state: ServerState, gateway: dict[str, Any] | None) -> ServerState:
        """The state of what cannot be reached, because the gateway before it has ended."""
        if gateway is None or state.status not in ("running", "degraded", "starting"):
            return state
        found = self._inspect(gateway["Id"])
        if found is None:
            return state
        code = found["State"].get("ExitCode")
        return msgspec.structs.replace(
            state,
            status=status_of(found["State"]["Status"]),
            gateway=f"has ended with exit status {code}",
        )

    def refuse_foreign(self, name: str) -> None:
        """Raise PreconditionError where something that lacks our label has the name of our project or container."""
        with _answering():
            for entry in self._docker.containers(all=True):
                if self._is_foreign(entry, name):
                    shown = escape(entry["Names"][0].lstrip("/")) if entry["Names"] else entry["Id"][:12]
                    raise self._not_ours(entry, shown, name)
            for network in self._docker.networks(names=[f"{project(name)}_"]):
                if network["Name"].startswith(f"{project(name)}_") and not _is_our_network(network, name):
                    shown = escape(network["Name"])
                    raise PreconditionError(
                        f"the network {shown} has the name of this deployment but is not ours",
                        hint=f"remove it yourself (docker network rm {shown}), or choose another --name",
                        details={"network": network["Id"]},
                    )

    def _not_ours(self, entry: dict[str, Any], shown: str, name: str) -> PreconditionError:
        other = self._other_home(entry)
        if other is not None:
            down = f"DEPLOYER_HOME={shlex.quote(str(other.parent))} deployer down {name}"
            return PreconditionError(
                f"the deployment {name} on this machine belongs to another installation ({other.parent})",
                hint=f"choose another --name; its owner stops it with: {down}",
                details={"container": entry["Id"], "home": str(other.parent)},
            )
        return PreconditionError(
            f"the container {shown} has the name of this deployment but is not ours"
            f" (it lacks the label {LABEL_NAME}={name})",
            hint=f"remove it yourself (docker rm -f {shown}), or choose another --name",
            details={"container": entry["Id"]},
        )

    def remove_created(self, name: str) -> None:
        """Remove our containers that were made but never started: what a failed start leaves."""
        with _answering():
            for entry in (*self._gateways(name), *self._ours(name)):
                if entry["State"] == "created":
                    self._remove(entry["Id"])

    def remove(self, name: str, on_line: OnLine, timeout_s: float) -> bool:
        """Stop and remove our containers, the gateway first, then their networks; False when there was nothing."""
        with _answering():
            gateways, engines = self._gateways(name), self._ours(name)
            for entries in (gateways, engines):
                for entry in entries:
                    on_line(f"stopping {name} (container {entry['Id'][:12]})")
                self._end([entry["Id"] for entry in entries], timeout_s)
            return self._remove_networks(name) or bool(gateways or engines)

    def _end(self, container_ids: Sequence[str], timeout_s: float) -> None:
        """Stop and remove them all at once: each may take its time to end running answers."""

        def end(container_id: str) -> None:
            self._stop(container_id, timeout_s)
            self._remove(container_id)

        with ThreadPoolExecutor(max_workers=max(len(container_ids), 1)) as pool:
            list(pool.map(end, container_ids))

    def logs(self, name: str, *, tail: int | None, follow: bool, since: datetime | None, on_line: OnLine) -> None:
        """Hand over the newest container's log line by line; nothing when there is no container.

        Where the gateway before it has ended, its log comes first. Of several copies each line says which one's it is.
        """

        def source(entry: Mapping[str, Any], *, on: bool, stamps: bool = False) -> Callable[[], Iterator[bytes]]:
            return lambda: self._lines(entry["Id"], tail=tail, follow=on, since=since, timestamps=stamps)

        with _answering():
            for entry in filter(has_fallen, self._gateways(name)):
                as_written(source(entry, on=follow), "gateway: ", on_line)
            found = newest(self._ours(name))
            if 0 in found:
                as_written(source(found[0], on=follow), "", on_line)
            else:
                show = as_they_come if follow else in_order
                show(
                    {f"copy {n}: ": source(entry, on=follow, stamps=not follow) for n, entry in found.items()}, on_line
                )

    def _lines(self, container_id: str, *, since: datetime | None, tail: int | None, **how: bool) -> Iterator[bytes]:
        chunks = self._docker.logs(
            container_id,
            stream=True,
            tail="all" if tail is None else max(tail, 0),
            since=since.timestamp() if since else None,
            **how,
        )
        with contextlib.closing(chunks):
            yield from split_lines(chunks)

    def _ours(self, name: str | None) -> list[dict[str, Any]]:
        label = LABEL_NAME if name is None else f"{LABEL_NAME}={name}"
        entries: list[dict[str, Any]] = self._docker.containers(all=True, filters={"label": label})
        return [entry for entry in entries if self._other_home(entry) is None]

    def _gateways(self, name: str | None) -> list[dict[str, Any]]:
        """The containers of gateways before our deployments, running or not."""
        label = LABEL_GATEWAY if name is None else f"{LABEL_GATEWAY}={name}"
        entries: list[dict[str, Any]] = self._docker.containers(all=True, filters={"label": label})
        return [entry for entry in entries if self._other_home(entry) is None]

    def _other_home(self, entry: dict[str, Any]) -> Path | None:
        """The other installation's folder of deployments that a container was started from; None when it is not."""
        started_from = Path(entry["Labels"].get(_WORKING_DIR, ""))
        name = entry["Labels"].get(LABEL_NAME) or entry["Labels"].get(LABEL_GATEWAY, "")
        place = next((parent.parent for parent in started_from.parents if parent.name == name), None)
        if self._deployments is None or place is None or place.name != self._deployments.name:
            return None
        return None if place.resolve() == self._deployments.resolve() else place

    def _is_foreign(self, entry: dict[str, Any], name: str) -> bool:
        if name in (entry["Labels"].get(LABEL_NAME), entry["Labels"].get(LABEL_GATEWAY)):
            return self._other_home(entry) is not None
        taken = re.compile(rf"/{re.escape(project(name))}(-(llm|engine|copy-\d+)-1)?")
        return entry["Labels"].get(_PROJECT) == project(name) or any(map(taken.fullmatch, entry["Names"]))

    def _inspect(self, container_id: str) -> dict[str, Any] | None:
        import docker

        try:
            found: dict[str, Any] = self._docker.inspect_container(container_id)
        except docker.errors.NotFound:
            return None
        return found

    def _stop(self, container_id: str, timeout_s: float) -> None:
        import docker

        with contextlib.suppress(docker.errors.NotFound):
            self._docker.stop(container_id, timeout=max(int(timeout_s), 1))

    def _remove(self, container_id: str) -> None:
        import docker

        try:
            self._docker.remove_container(container_id, v=True, force=True)
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != 409:  # noqa: PLR2004 - another request removes it already
                raise

    def _remove_networks(self, name: str) -> bool:
        """Remove the project's networks, unless a container that is not ours belongs to the project.

        One that a client's container has joined stays, so that the client finds the next server there.
        """
        if any(self._is_foreign(entry, name) for entry in self._docker.containers(all=True)):
            return False
        removed = False
        for network in self._docker.networks(names=[f"{project(name)}_"]):
            if network["Name"].startswith(f"{project(name)}_") and _is_our_network(network, name):
                removed = self._remove_network(network["Id"]) or removed
        return removed

    def _remove_network(self, network_id: str) -> bool:
        import docker

        try:
            self._docker.remove_network(network_id)
        except docker.errors.NotFound:
            return False
        except docker.errors.APIError as error:
            if error.status_code != 403 or "active endpoints" not in str(error):  # noqa: PLR2004 - Docker's refusal
                raise
            return False
        return True


def _is_our_network(network: dict[str, Any], name: str) -> bool:
    """Our label, or Compose's own mark of our project: its containers are checked for our label apart."""
    labels = network.get("Labels") or {}
    return labels.get(LABEL_NAME) == name or (LABEL_NAME not in labels and labels.get(_PROJECT) == project(name))


def _refuse_missing_socket(url: str) -> None:
    """Say it before the client does: on a failed connection it leaves its socket open."""
    scheme, _, path = url.partition("://")
    if scheme in {"unix", "http+unix"} and not Path(f"/{path.lstrip('/')}").exists():
        raise PreconditionError(f"Docker does not answer: there is no {url}", hint="install Docker, or start it")


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Say plainly when Docker does not answer."""
    import docker
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        said = escape(str(error))[:300]
        if "Permission denied" in said:
            hint = "run the command with sudo, or use rootless Docker"
            raise PreconditionError("Docker does not answer: this user may not use it", hint=hint) from error
        raise PreconditionError(f"Docker does not answer as it should: {said}", hint="deployer probe") from error
