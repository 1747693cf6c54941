"""Where only a container engine is missing, that is what is said: it is repaired, and no other model helps."""

import re
from collections.abc import Callable

import msgspec

from deployer.errors import DeployerError, NoFitError, PreconditionError
from deployer.types import ContainerFacts, HostFacts

_COMMAND = re.compile(r"`((?:sudo|docker) [^`]+)`")
_INSTALL = "install Docker Engine and its Compose plugin: docs.docker.com/engine/install"


def missing(host: HostFacts) -> PreconditionError | None:
    """What is to be raised where servers shall run in containers and nothing can start one; None where it can."""
    container = host.container
    if container is None or (container.engine is not None and container.error is None):
        return None
    reason = container.error or "there is none on this host."
    command = _COMMAND.search(reason)
    return PreconditionError(
        f"it has to run in a container, and no container engine can be used here: {reason}",
        hint=_INSTALL if command is None else command[1],
    )


def blamed(error: NoFitError, host: HostFacts, decide_on: Callable[[HostFacts], object]) -> DeployerError:
    """The refusal itself, or that a container engine is missing, where with one the decision would be a plan."""
    found = missing(host)
    if found is None:
        return error
    try:
        decide_on(_with_docker(host))
    except NoFitError:
        return error
    found.details |= error.details
    return found


def _with_docker(host: HostFacts) -> HostFacts:
    toolkit = None if host.container is None else host.container.nvidia_toolkit
    return msgspec.structs.replace(host, container=ContainerFacts(engine="docker", nvidia_toolkit=toolkit))
