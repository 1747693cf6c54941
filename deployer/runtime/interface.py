"""What every runtime can do."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from deployer.execution import Completed
from deployer.types import Plan, ServerState

OnLine = Callable[[str], None]


class Runtime(Protocol):
    """Start, stop and observe servers. A deployment is known by its name; nothing is remembered between calls."""

    def start(self, plan: Plan, folder: Path, on_line: OnLine) -> None:
        """Start (or replace) the server described by the release folder; does not wait for health.

        Raises PreconditionError, ImageUnavailableError, BadInputError or StartError.
        """

    def refuse_foreign(self, name: str) -> None:
        """Raise PreconditionError where what is not ours has the name of this deployment: nothing of it is touched."""

    def stop(self, name: str, on_line: OnLine, timeout_s: float) -> bool:
        """Remove all that runs for this deployment, and only that; False when there was nothing."""

    def execute(self, name: str, argv: Sequence[str], on_line: OnLine, timeout_s: float) -> Completed:
        """Run a program where the server runs, and hand over what it says; `stdout` of the result holds it all.

        Raises PreconditionError where that cannot be done.
        """

    def state(self, name: str) -> ServerState:
        """Return the state of one deployment; `missing` when nothing exists."""

    def states(self) -> tuple[ServerState, ...]:
        """Return every deployment of this runtime, sorted by name."""

    def logs(self, name: str, *, tail: int | None, follow: bool, since: datetime | None, on_line: OnLine) -> None:
        """Hand over log lines, oldest first, control characters escaped; `follow` ends with the server."""
