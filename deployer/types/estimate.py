"""What is expected of a server: memory on every device, and speed."""

from deployer.types._value import Value


class Formula(Value, frozen=True, kw_only=True):
    """What the formulas alone say of a device, in MiB, where so many `measurements` on this host corrected them."""

    measurements: int
    compute_mib: int
    overhead_mib: int
    total_mib: int
    margin_mib: int


class DeviceMemory(Value, frozen=True, kw_only=True):
    """The estimate for one device (`GPU-…` or `host`); `formula` is what it was before measurements corrected it."""

    device: str
    weights_mib: int
    kv_cache_mib: int
    compute_mib: int
    overhead_mib: int
    total_mib: int
    margin_mib: int
    available_mib: int | None
    formula: Formula | None = None

    @property
    def fits(self) -> bool:
        """True when total and margin fit, or when the device's memory is unknown."""
        return self.available_mib is None or self.total_mib + self.margin_mib <= self.available_mib


class MemoryPlan(Value, frozen=True, kw_only=True):
    """The estimate for every device that is used.

    Of an engine with one pool for all conversations: `kv_cache_tokens` that the pool of one copy of the model holds,
    and `max_concurrency`, how many full conversations those are; both as the engine's log counts them.
    """

    devices: tuple[DeviceMemory, ...]
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None

    @property
    def fits(self) -> bool:
        """True when it fits everywhere."""
        return all(device.fits for device in self.devices)


class SpeedEstimate(Value, frozen=True, kw_only=True):
    """Expected speed; `basis` says from what. None where the bandwidth is unknown.

    The truth is expected between each number's `low` and `high`; `evidence` says in words why so wide.
    `factor` and `prompt_factor`: what measurements on this host have multiplied the formula's numbers by.
    """

    prompt_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    total_tokens_per_s: float | None
    basis: str
    factor: float = 1.0
    prompt_factor: float = 1.0
    decode_low: float | None = None
    decode_high: float | None = None
    total_low: float | None = None
    total_high: float | None = None
    prompt_low: float | None = None
    prompt_high: float | None = None
    evidence: str = ""
