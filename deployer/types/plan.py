"""The decision: memory, speed, score, every refusal, and the plan."""

from typing import Literal

import msgspec

from deployer.types._value import FORMAT_VERSION, Accelerator, ModelFormat, RuntimeName, Value, Workload
from deployer.types.estimate import MemoryPlan, SpeedEstimate
from deployer.types.profile import Health

COPIES_PATH = "/copies"
"""Below it, a gateway passes on to one copy of the model alone: `/copies/2/v1/models`."""


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
    """The model of a plan. `path` is the file (or folder) on this host that is mounted read-only.

    `projector`: the file on this host that reads pictures for it, of `projector_mib`. `reranker`: it scores texts
    against a query (`POST /v1/rerank`), and does nothing else.
    """

    ref: str
    revision: str | None
    format: ModelFormat
    quantization: str
    files: tuple[str, ...]
    size_mib: int
    path: str
    name: str
    architecture: str | None = None
    parameters: int | None = None
    projector: str | None = None
    projector_mib: int | None = None
    reranker: bool = False


class PlanDevice(Value, frozen=True, kw_only=True):
    """A GPU of a plan, named by UUID. `tegra`: of a Jetson, which only the runtime `nvidia` hands to a container."""

    index: int
    uuid: str | None
    name: str | None = None
    vendor: str | None = None
    tegra: bool = False


class Settings(Value, frozen=True, kw_only=True):
    """What the engine is told. `context` is per slot; `gpu_layers` counts the output layer too.

    `tensor_split`: layers on each GPU. `prompt_cache_mib`: main memory for old prompts. `cpu_moe_layers`: first layers
    whose experts stay in main memory. `gpu_memory_fraction`: part of each GPU's memory that the engine may take, in its
    own meaning. `kv_cache_mib`: size of the KV cache of all slots, where the engine reserves it for all together.
    `data_parallel`: whole copies of the model, among which the server's `slots` and its `prompt_cache_mib` are shared
    (in one process, or in as many: see Plan.copies, where `threads`, `gpu_layers` and `tensor_split` are of each);
    `pipeline_parallel`: stages of layers, one after the other. `dtype`: arithmetic of the weights. `numa`: how threads
    are spread over NUMA nodes. `tool_parser`: the engine's word for how the model writes tool calls.
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
    data_parallel: int = 1
    pipeline_parallel: int = 1


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
    """Ceilings for the container; of each, where there are several copies."""

    memory_mib: int | None
    pids: int
    cpus: int | None


class PlanGateway(Value, frozen=True, kw_only=True):
    """The proxy before the engine: it asks for the key, and is all that can be reached from outside.

    `routes` (`METHOD /path`) are passed on with the key, the plan's health path without one. `lists`: it answers
    `GET /v1/models` itself. `passes_key`: the engine gets the key too. A body of more than `max_body_bytes` is refused
    with 413. `image` is a name, `image_id` and `digest` what it is on this machine.
    """

    why: str
    routes: tuple[str, ...]
    image: str
    lists: bool = False
    passes_key: bool = False
    max_body_bytes: int = 33_554_432
    image_id: str | None = None
    digest: str | None = None


class Plan(Value, frozen=True, kw_only=True):
    """One decision on one host: all that rendering and starting need. A secret is named by file only.

    `device_groups`: numeric groups that may open `/dev/kfd` and `/dev/dri` on this host. `key_variable`: the engine
    takes its key from this variable, which whoever starts it fills from `key_file`; None: from a file, or it has none.
    `key_config`: a YAML file on this host with the line `api-key: KEY`, for an engine that takes its key so.
    `launcher`: what runs `launch.py` in the container, which hands over the key and keeps it out of the log. `setup`:
    commands to run in the container once the port answers, before it can serve, and `files` by name that are mounted
    for them below /run/deployer. `store`: the folder of the engine's own copy of the model, on a volume. `gateway`:
    what stands before the engine, where it has no key of its own for all of its paths, and before several `copies` of
    it: containers with the whole model each, on an equal part of the `devices` in their order. `writable`, `shm_mib`
    and `ulimits`: what the engine needs of its container (see EngineProfile). `learned`: serial number of the newest
    measurement on this host that was known when it was made.
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
    key_config: str | None = None
    launcher: tuple[str, ...] = ()
    setup: tuple[tuple[str, ...], ...] = ()
    files: dict[str, str] = {}
    store: str | None = None
    gateway: PlanGateway | None = None
    copies: int = 1
    writable: tuple[str, ...] = ()
    shm_mib: int | None = None
    ulimits: dict[str, int] = {}
    health: Health
    limits: Limits
    start_period_s: int
    reasons: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    learned: int = 0

    @property
    def copy_paths(self) -> tuple[str, ...]:
        """Below which path of the server each engine is asked alone; the empty one where there is only one."""
        return ("",) if self.copies == 1 else tuple(f"{COPIES_PATH}/{number + 1}" for number in range(self.copies))


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What only this machine can say about a deployment: its name, where it listens, whose key, which user.

    `scratch`: a folder of this host that only the deployment's owner may write, for a server without a container.
    """

    name: str
    port: int
    key_file: str
    container_user: str = "65532:65532"
    scratch: str = ""


class Bundle(msgspec.Struct, frozen=True):
    """Rendered files: name to text."""

    files: dict[str, str]
