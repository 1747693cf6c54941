"""Where a server runs: Docker Compose, or a supervised local process. One small interface, one visible table."""

from collections.abc import Callable

from deployer.errors import PreconditionError
from deployer.paths import Home
from deployer.runtime.compose import ComposeRuntime
from deployer.runtime.interface import Runtime
from deployer.runtime.process import ProcessRuntime
from deployer.runtime.processor import processor
from deployer.runtime.resident import Resident, resident
from deployer.types import RuntimeName, ServerState

RUNTIMES: dict[RuntimeName, Callable[[Home], Runtime]] = {"compose": ComposeRuntime, "process": ProcessRuntime}


def open_runtime(name: RuntimeName, home: Home) -> Runtime:
    """Return the runtime of this name; raises PreconditionError for one that cannot start servers from here."""
    if name not in RUNTIMES:
        raise PreconditionError(
            f"the runtime '{name}' cannot start a server from here", hint=f"use --runtime {' or '.join(RUNTIMES)}"
        )
    return RUNTIMES[name](home)


__all__ = [
    "RUNTIMES",
    "ComposeRuntime",
    "ProcessRuntime",
    "Resident",
    "Runtime",
    "ServerState",
    "open_runtime",
    "processor",
    "resident",
]
