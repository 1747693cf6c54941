"""What an engine itself says a plan will take, and how far our arithmetic is from it."""

from typing import Literal

from deployer.types._value import Value

Component = Literal["weights", "kv_cache", "compute"]


class ExactDevice(Value, frozen=True, kw_only=True):
    """The engine's own answer for one device (`GPU-…`, its own name where that has no UUID, or `host`).

    In MiB, rounded down. `compute_mib` is an upper bound where `ExactMemory.compute_is_bound` says so.
    """

    device: str
    weights_mib: int
    kv_cache_mib: int
    compute_mib: int

    @property
    def total_mib(self) -> int:
        """All that the engine says; the driver's own overhead and the output buffer (a few MiB) come on top."""
        return self.weights_mib + self.kv_cache_mib + self.compute_mib


class ExactDifference(Value, frozen=True, kw_only=True):
    """One part of one device's memory: our estimate beside the engine's answer."""

    device: str
    component: Component
    estimated_mib: int
    exact_mib: int

    @property
    def difference_mib(self) -> int:
        """How much more the engine says than the estimate; negative: less."""
        return self.exact_mib - self.estimated_mib

    @property
    def line(self) -> str:
        """For people."""
        part = {"weights": "weights", "kv_cache": "KV cache", "compute": "compute"}[self.component]
        numbers = f"estimated {self.estimated_mib} MiB, exact {self.exact_mib} MiB ({self.difference_mib:+d})"
        return f"{self.device} {part}: {numbers}"


class ExactMemory(Value, frozen=True, kw_only=True):
    """The answer of `tool` from `image` (None: a program of this host), had in `seconds` from the header alone."""

    devices: tuple[ExactDevice, ...]
    differences: tuple[ExactDifference, ...]
    tool: str
    image: str | None
    seconds: float
    compute_is_bound: bool = False
