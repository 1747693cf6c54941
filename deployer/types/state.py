"""What runs now: asked of Docker or of the kernel each time, never remembered."""

from typing import Literal

from deployer.types._value import RuntimeName, Value

ServerStatus = Literal["running", "degraded", "starting", "restarting", "exited", "missing"]
"""`degraded`: of several copies of the model some run and others do not, so that it serves fewer at once."""


class ServerState(Value, frozen=True, kw_only=True):
    """One deployment's server at one moment.

    `restarts` counts since the container (or supervisor) was made, `started_at` is of the current start, `plan_hash` is
    the one it was started with, `detail` is the runtime's own word where it has one. `gateway`: what is wrong with the
    gateway before it, which then counts as the server's own state; None where it is well, or there is none. `copies`:
    each copy's own state where the model is there several times; the fields above are then of the first one,
    `restarts` of all together, and `detail` says which copy does not run.
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
    gateway: str | None = None
    copies: tuple["ServerState", ...] = ()

    @property
    def engines(self) -> tuple["ServerState", ...]:
        """Each container (or process) of an engine by itself."""
        return self.copies or (self,)


class Processor(Value, frozen=True, kw_only=True):
    """Counters of processor time at one moment (`at_s` of a monotonic clock), in seconds.

    `busy_s`: all processors of the machine, by whomever; `own_s`: the server's processes that live now; `throttled_s`:
    for how long the server's own limit of processors held it back (None: not counted).
    """

    at_s: float
    busy_s: float
    own_s: float
    throttled_s: float | None
    processors: int
