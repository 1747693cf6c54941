"""What runs now: asked of Docker or of the kernel each time, never remembered."""

from typing import Literal

from deployer.types._value import RuntimeName, Value

ServerStatus = Literal["running", "starting", "restarting", "exited", "missing"]


class ServerState(Value, frozen=True, kw_only=True):
    """One deployment's server at one moment.

    `restarts` counts since the container (or supervisor) was made, `started_at` is of the current start, `plan_hash` is
    the one it was started with, `detail` is the runtime's own word where it has one.
    """

    name: str
    runtime: RuntimeName
    status: ServerStatus
    container_id: str | None = None
    pid: int | None = None
    started_at: str | None = None
    restarts: int = 0
    exit_code: int | None = None
    oom_killed: bool | None = None
    image_id: str | None = None
    health: str | None = None
    plan_hash: str | None = None
    detail: str | None = None
