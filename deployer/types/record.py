"""What has worked: verified images, releases and the evidence."""

from typing import Literal

from deployer.types._value import FORMAT_VERSION, Accelerator, Value
from deployer.types.estimate import DeviceMemory, SpeedEstimate
from deployer.types.plan import Settings


class Check(Value, frozen=True, kw_only=True):
    """One health check: its name, whether it passed, and the evidence in words and numbers."""

    name: str
    passed: bool
    detail: str
    seconds: float


class HealthReport(Value, frozen=True, kw_only=True):
    """What the gate saw."""

    ready_after_s: float
    checks: tuple[Check, ...]
    tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)


class VerifiedImage(Value, frozen=True, kw_only=True):
    """An image from which a server was started on this host and passed every health check.

    `recipe` is what it was made from: the pulled `reference`, or `dockerfile:<sha256>` of a build. `image_id` is
    Docker's content address; `digest` is the registry's, where it came from one.
    """

    format_version: int = FORMAT_VERSION
    engine: str
    engine_version: str
    profile: str
    recipe: str
    reference: str | None
    image_id: str
    digest: str | None
    fingerprint: str
    model: str
    quantization: str
    deployment: str
    release: int
    verified_at: str
    evidence: HealthReport


MeasuredHow = Literal["nvml-process", "delta", "resident"]


class MeasuredMemory(Value, frozen=True, kw_only=True):
    """What a server really holds of one device (`GPU-…` or `host`), in MiB, soon after it passed the gate.

    `used_mib` is all of it, and `how` says by whom: NVML for the server's processes (`nvml-process`), less free than
    before on a GPU that does not tell processes (`delta`), or resident main memory, mapped files counted once
    (`resident`). None: `why` says what stood in the way. `parts` are the buffers that the engine's own log tells
    (`weights`, `kv`, `state`, `compute`, `output`, `graphs`). `anonymous_mib` and `file_mib` make up the resident
    memory of the processes; `cgroup_mib` is the container's own count without the page cache.
    """

    device: str
    used_mib: int | None = None
    how: MeasuredHow | None = None
    why: str | None = None
    parts: dict[str, int] = {}
    anonymous_mib: int | None = None
    file_mib: int | None = None
    cgroup_mib: int | None = None


class Observation(Value, frozen=True, kw_only=True):
    """One server's estimate beside what was measured: what the next estimate on this host learns from.

    `predicted` and `speed` are the plan's own. `serial` orders the observations of a host; `formulas` is the version
    of deployer whose formulas made the estimate: residuals of others say nothing. Tokens a second are those of the
    gate's own questions, asked one at a time.
    """

    format_version: int = FORMAT_VERSION
    serial: int = 0
    when: str
    deployment: str
    release: int
    fingerprint: str
    formulas: str
    engine: str
    engine_version: str
    image: str
    accelerator: Accelerator
    model: str
    architecture: str | None
    parameters: int | None
    quantization: str
    settings: Settings
    predicted: tuple[DeviceMemory, ...]
    measured: tuple[MeasuredMemory, ...]
    speed: SpeedEstimate
    decode_tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    speed_how: str | None = None


class MeasuredRow(Value, frozen=True, kw_only=True):
    """One device of one observation, for people and `--json`; `error_percent` is (measured - predicted) / measured.

    `predicted_mib` is the plan's estimate without its margin; the formula's own, where it was corrected, is
    `formula_mib`. `why`: what stood in the way of measuring.
    """

    when: str
    deployment: str
    release: int
    engine: str
    engine_version: str
    image: str
    model: str
    quantization: str
    device: str
    predicted_mib: int
    margin_mib: int
    formula_mib: int
    measured_mib: int | None = None
    error_percent: float | None = None
    how: MeasuredHow | None = None
    why: str | None = None
    parts: dict[str, int] = {}
    predicted_tokens_per_s: float | None = None
    measured_tokens_per_s: float | None = None


ReleaseStatus = Literal["pending", "healthy", "failed", "superseded", "stopped"]


class Release(Value, frozen=True, kw_only=True):
    """One numbered attempt to serve. Its folder is immutable but for this record."""

    format_version: int = FORMAT_VERSION
    name: str
    number: int
    status: ReleaseStatus
    created_at: str
    plan_hash: str
    image: str | None = None
    engine: str | None = None
    model: str | None = None
    user: str | None = None
    message: str | None = None
    health: HealthReport | None = None
    measured: Observation | None = None


class Adopted(Value, frozen=True, kw_only=True):
    """A server that runs without us, taken into our view: where it answers, and as what. We never start or stop it.

    `base_url` ends in `/v1`. `model` is the name that clients ask for; `models` are all that it listed when it was
    adopted. `engine` is None where nothing showed which it is. `key_file`: our copy of its key, None where it has none.
    `embedding`: it makes vectors and does not chat; `reranker`: it does nothing but score texts against a query.
    """

    format_version: int = FORMAT_VERSION
    name: str
    base_url: str
    model: str
    models: tuple[str, ...] = ()
    engine: str | None = None
    key_file: str | None = None
    embedding: bool = False
    reranker: bool = False
    adopted_at: str = ""
    user: str | None = None


class OutcomeImage(Value, frozen=True, kw_only=True):
    """The image that serves; `source` says how it was had this time."""

    profile: str
    reference: str | None
    digest: str | None
    id: str | None
    source: str


class Outcome(Value, frozen=True, kw_only=True):
    """What `up` did: the document of `up --json`. `unavailable` says why other images could not be had."""

    format_version: int = FORMAT_VERSION
    name: str
    changed: bool
    release: int
    runtime: str
    base_url: str
    model: str
    key_file: str
    engine: str
    image: OutcomeImage
    unavailable: dict[str, str]
    health: HealthReport | None
    warnings: tuple[str, ...]
    measured: tuple[MeasuredRow, ...] = ()


class Live(Value, frozen=True, kw_only=True):
    """What a running server says of itself at one moment, by its engine's own metrics, and the memory it holds now.

    Counts are of all its requests since it started. `tokens_per_s`: of answers, all requests together; by difference
    of the counter over the last `over_s` seconds, or as the engine itself says it where `over_s` is None.
    `kv_cache_usage` is 0 to 1. `at_s`: when the metrics came, by this machine's monotonic clock. `memory_mib` is by
    device (`GPU-…` or `host`). `why`: what stood in the way.
    """

    requests_running: float | None = None
    requests_waiting: float | None = None
    kv_cache_usage: float | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    tokens_per_s: float | None = None
    over_s: float | None = None
    at_s: float | None = None
    memory_mib: dict[str, int] = {}
    why: str | None = None


class Row(Value, frozen=True, kw_only=True):
    """One deployment in `status`: a word for its state, and what its plan says; `damaged` where that cannot be read.

    `answers` is None when it is not running; `devices` are GPUs by name, none for the CPU; `live` where it was asked.
    `detail`: which copies do not run, where it is `degraded`; why it is `unknown`; that the release was never verified.
    """

    name: str
    status: str
    release: int
    answers: bool | None = None
    engine: str | None = None
    model: str | None = None
    quantization: str | None = None
    image: str | None = None
    runtime: str | None = None
    base_url: str | None = None
    started_at: str | None = None
    restarts: int = 0
    measured: tuple[MeasuredRow, ...] = ()
    devices: tuple[str, ...] = ()
    live: Live | None = None
    detail: str | None = None


Presence = Literal["present", "missing", "moved", "unknown"]


class ImageAudit(Value, frozen=True, kw_only=True):
    """One verified image, looked at again. `moved`: present here, and the registry's tag names another image now."""

    image: VerifiedImage
    presence: Presence
    this_host: bool
    detail: str
