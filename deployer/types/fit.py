"""What fits: the table of `deployer fit`, quantization by context by devices."""

from deployer.types._value import FORMAT_VERSION, ModelFormat, Value
from deployer.types.estimate import MemoryPlan
from deployer.types.exact import ExactMemory
from deployer.types.plan import PlanDevice


class FitCell(Value, frozen=True, kw_only=True):
    """One context on one set of devices. Everything is None where the memory of a device is unknown.

    `room_mib` is what stays free on the fullest device beside estimate and margin; negative: that much is missing.
    `gpu_layers` of `layers` are on GPUs (the output is one), of `cpu_moe_layers` the experts are in main memory.
    `memory` of a cell that does not fit has the device that lacks the most. `exact` is the engine's own answer.
    """

    context: int
    fits: bool | None
    room_mib: int | None
    slots: int
    gpu_layers: int | None = None
    layers: int | None = None
    cpu_moe_layers: int = 0
    kv_cache_type: str | None = None
    memory: MemoryPlan | None = None
    exact: ExactMemory | None = None


class FitRow(Value, frozen=True, kw_only=True):
    """One form of the model on one set of devices; `place` says what kind of set, `devices` is empty for the CPU.

    `max_context`: the largest context that fits, None where none does or memory is unknown.
    """

    engine: str
    image: str
    quantization: str
    format: ModelFormat
    place: str
    devices: tuple[PlanDevice, ...]
    label: str
    size_mib: int
    cells: tuple[FitCell, ...]
    max_context: int | None
    exact_unavailable: str | None = None


class FitTable(Value, frozen=True, kw_only=True):
    """The document of `fit --json`: `context` is the asked one, `refused` how many images of these engines cannot."""

    format_version: int = FORMAT_VERSION
    model: str
    host: str | None
    users: int
    context: int
    contexts: tuple[int, ...]
    rows: tuple[FitRow, ...]
    refused: int
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """True unless nothing at all fits; what is unknown may."""
        return any(cell.fits is not False for row in self.rows for cell in row.cells)
