"""The decision: memory, speed, score, every refusal, and the plan."""

from typing import Literal

import msgspec

from deployer.types._value import FORMAT_VERSION, Accelerator, ModelFormat, RuntimeName, Value, Workload
from deployer.types.profile import Health


class PlanRequest(Value, frozen=True, kw_only=True):
    """The request as recorded in a plan."""

    model: str
    users: int
    context: int
    workload: Workload


class PlanImage(Value, frozen=True, kw_only=True):
    """The image of a plan. `source`: how it will be had; `recipe`: what it is made from (see VerifiedImage).

    `ptx_only`: it has only PTX for a planned device, so the driver compiles at the first start.
    """

    profile: str
    reference: str | None
    digest: str | None
    source: Literal["verified", "pull", "build", "none"]
    cuda: str | None
    accelerator: Accelerator
    recipe: str
    image_id: str | None = None
    dockerfile: str | None = None
    build_args: dict[str, str] = {}
    size_mib: int | None = None
    ptx_only: bool = False


class PlanModel(Value, frozen=True, kw_only=True):
    """The model of a plan. `path` is the file (or folder) on this host that is mounted read-only."""

    ref: str
    revision: str | None
    format: ModelFormat
    quantization: str
    files: tuple[str, ...]
    size_mib: int
    path: str
    name: str


class PlanDevice(Value, frozen=True, kw_only=True):
    """A GPU of a plan, named by UUID."""

    index: int
    uuid: str | None
    name: str | None = None
    vendor: str | None = None


class Settings(Value, frozen=True, kw_only=True):
    """What the engine is told. `context` is per slot; `gpu_layers` counts the output layer too.

    `tensor_split`: layers on each GPU. `prompt_cache_mib`: main memory for old prompts. `cpu_moe_layers`: first layers
    whose experts stay in main memory. `gpu_memory_fraction`: part of each GPU's memory that the engine may take, in its
    own meaning. `kv_cache_mib`: size of the KV cache of all slots, where the engine reserves it for all together.
    `dtype`: arithmetic of the weights. `numa`: how threads are spread over NUMA nodes. `tool_parser`: the engine's word
    for how the model writes tool calls.
    """

    context: int
    slots: int
    gpu_layers: int
    tensor_parallel: int
    kv_cache_type: str
    threads: int
    batch: int = 2048
    micro_batch: int = 512
    tensor_split: tuple[int, ...] = ()
    prompt_cache_mib: int = 0
    cpu_moe_layers: int = 0
    gpu_memory_fraction: float | None = None
    kv_cache_mib: int | None = None
    dtype: str | None = None
    tool_parser: str | None = None
    numa: str | None = None


class DeviceMemory(Value, frozen=True, kw_only=True):
    """The estimate for one device (`GPU-…` or `host`)."""

    device: str
    weights_mib: int
    kv_cache_mib: int
    compute_mib: int
    overhead_mib: int
    total_mib: int
    margin_mib: int
    available_mib: int | None

    @property
    def fits(self) -> bool:
        """True when total and margin fit, or when the device's memory is unknown."""
        return self.available_mib is None or self.total_mib + self.margin_mib <= self.available_mib


class MemoryPlan(Value, frozen=True, kw_only=True):
    """The estimate for every device that is used."""

    devices: tuple[DeviceMemory, ...]

    @property
    def fits(self) -> bool:
        """True when it fits everywhere."""
        return all(device.fits for device in self.devices)


class SpeedEstimate(Value, frozen=True, kw_only=True):
    """Expected speed; `basis` says from what. None where the bandwidth is unknown."""

    prompt_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    total_tokens_per_s: float | None
    basis: str


class ScorePart(Value, frozen=True, kw_only=True):
    """A named part of the score, with the reason in words."""

    part: str
    value: float
    why: str


class Rejection(Value, frozen=True, kw_only=True):
    """A candidate that cannot run: which rule, and the sentence with numbers and the way out."""

    engine: str
    image: str
    quantization: str | None
    rule: str
    reason: str


class EngineVerdict(Value, frozen=True, kw_only=True):
    """Whether one image of an engine can run on a host (`yes`, `warning`: it can, but, or `no`), why, what would help.

    `devices` names what it would use: GPUs by name, or `CPU`.
    """

    engine: str
    image: str
    version: str
    status: Literal["yes", "warning", "no"]
    devices: str
    reason: str
    way_out: str


class RunnerUp(Value, frozen=True, kw_only=True):
    """A candidate that could run but scored lower."""

    engine: str
    image: str
    quantization: str
    devices: str
    total: float
    score: tuple[ScorePart, ...]


class Limits(Value, frozen=True, kw_only=True):
    """Ceilings for the container."""

    memory_mib: int | None
    pids: int
    cpus: int | None


class Plan(Value, frozen=True, kw_only=True):
    """One decision on one host: all that rendering and starting need. A secret is named by file only.

    `device_groups`: numeric groups that may open `/dev/kfd` and `/dev/dri` on this host. `key_variable`: the engine
    takes its key from this variable, which whoever starts it fills from `key_file`; None: from a file, or it has none.
    `setup`: commands to run in the container once the port answers, before it can serve. `writable`, `shm_mib` and
    `ulimits`: what the engine needs of its container (see EngineProfile).
    """

    format_version: int = FORMAT_VERSION
    name: str
    plan_hash: str
    host_fingerprint: str
    request: PlanRequest
    engine: str
    engine_version: str
    image: PlanImage
    model: PlanModel
    devices: tuple[PlanDevice, ...]
    settings: Settings
    command: tuple[str, ...]
    environment: dict[str, str]
    memory: MemoryPlan
    speed: SpeedEstimate
    score: tuple[ScorePart, ...]
    rejected: tuple[Rejection, ...]
    warnings: tuple[str, ...]
    runner_up: tuple[RunnerUp, ...] = ()
    runtime: RuntimeName = "compose"
    address: str = "127.0.0.1"
    port: int = 8000
    container_port: int = 8080
    container_user: str = "65532:65532"
    device_groups: tuple[int, ...] = ()
    key_file: str = ""
    key_variable: str | None = None
    setup: tuple[tuple[str, ...], ...] = ()
    writable: tuple[str, ...] = ()
    shm_mib: int | None = None
    ulimits: dict[str, int] = {}
    health: Health
    limits: Limits
    start_period_s: int
    reasons: tuple[str, ...] = ()


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What only this machine can say about a deployment: its name, where it listens, whose key, which user."""

    name: str
    port: int
    key_file: str
    container_user: str = "65532:65532"


class Bundle(msgspec.Struct, frozen=True):
    """Rendered files: name to text."""

    files: dict[str, str]
