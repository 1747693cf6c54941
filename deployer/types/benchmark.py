"""What `bench` measured: the document of `bench --json`, and a file of `bench --report`."""

from typing import Literal

from deployer.types._value import FORMAT_VERSION, ModelFormat, Value
from deployer.types.plan import Settings

Suite = Literal["latency", "batch", "prompt", "memory", "users"]
SUITES: tuple[Suite, ...] = ("latency", "batch", "prompt", "memory", "users")
Whose = Literal["deployed", "adopted", "url"]


class Spread(Value, frozen=True, kw_only=True):
    """Percentiles of `n` values; `low` to `high` is the 95 % interval of the median (None: too few to tell).

    `p99` is None below 100 values.
    """

    n: int
    p10: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    low: float | None = None
    high: float | None = None


class Rate(Value, frozen=True, kw_only=True):
    """Mean and standard deviation of `n` repetitions; `low` to `high` is the 95 % interval of the mean (None: one)."""

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


class Tally(Value, frozen=True, kw_only=True):
    """What became of the requests. `unfinished` were cut off by our own time limit, and are no errors.

    `errors` counts the failed ones by their sentence.
    """

    asked: int
    answered: int
    failed: int = 0
    unfinished: int = 0
    errors: dict[str, int] = {}


class FirstRequest(Value, frozen=True, kw_only=True):
    """The first request of the run, told apart: it may have paid for loading, compiling or capturing graphs.

    `error`: why it, or one of the two after it, was no answer.
    """

    ttft_s: float | None = None
    e2e_s: float | None = None
    error: str | None = None


class LatencyResult(Value, frozen=True, kw_only=True):
    """Requests one after the other. `tokens_per_s`: of one stream, 1 / TPOT. Output tokens as `usage` counts them."""

    took_s: float
    tally: Tally
    prompt_tokens: Spread
    output_tokens_min: int | None
    output_tokens_max: int | None
    ttft_s: Spread
    tpot_s: Spread
    itl_s: Spread
    e2e_s: Spread
    tokens_per_s: Spread
    pieces_per_token: float | None = None


class BatchPoint(Value, frozen=True, kw_only=True):
    """So many requests sent at once, `wall_s.n` times. `speed_up` is of output tokens a second, over one at once."""

    at_once: int
    tally: Tally
    wall_s: Rate
    output_tokens_per_s: Rate
    total_tokens_per_s: Rate
    requests_per_s: Rate
    speed_up: float | None = None


class BatchResult(Value, frozen=True, kw_only=True):
    """`stopped`: why larger batches were not tried."""

    took_s: float
    points: tuple[BatchPoint, ...] = ()
    stopped: str | None = None


class PromptPoint(Value, frozen=True, kw_only=True):
    """One length of prompt: `wanted_tokens` were aimed at, `prompt_tokens` is what the server counted (median)."""

    wanted_tokens: int
    prompt_tokens: float | None
    cached_tokens: float | None
    tally: Tally
    ttft_s: Spread
    prefill_tokens_per_s: Spread


class PromptResult(Value, frozen=True, kw_only=True):
    """`stopped`: why longer prompts were not tried."""

    took_s: float
    points: tuple[PromptPoint, ...] = ()
    stopped: str | None = None


class UsersPoint(Value, frozen=True, kw_only=True):
    """So many users, each of whom asks again when answered. `cut`: its beginning and end were left out.

    `window_s` is what the rates are of; `output_tokens_per_s` over five parts of it. `goodput_per_s`: requests a
    second that kept the SLO.
    """

    users: int
    tally: Tally
    window_s: float
    cut: bool
    output_tokens_per_s: Rate
    tokens_per_s_per_user: float | None
    requests_per_s: float | None
    goodput_per_s: float | None
    ttft_s: Spread
    tpot_s: Spread


class UsersResult(Value, frozen=True, kw_only=True):
    """`knee`: the fewest users that reach 90 % of the highest throughput; None while more users bring more.

    `stopped`: why more were not tried.
    """

    took_s: float
    points: tuple[UsersPoint, ...] = ()
    knee: int | None = None
    stopped: str | None = None


class MemoryRow(Value, frozen=True, kw_only=True):
    """One device (`GPU-...` or `host`) in MiB: before the first request, after the first ones, and the most.

    `peak_during` is the suite. `predicted_mib` is the plan's estimate, its margin apart; beyond it the engine may keep
    read prompts in `prompt_cache_mib` of main memory. `error_percent` is what lies outside of both, of the peak.
    """

    device: str
    idle_mib: int
    warm_mib: int | None = None
    peak_mib: int
    peak_during: str
    predicted_mib: int | None = None
    margin_mib: int | None = None
    prompt_cache_mib: int = 0
    error_percent: float | None = None

    @property
    def estimate(self) -> str | None:
        """The prediction in words: the estimate, its margin, and what read prompts may take beside it."""
        if self.predicted_mib is None:
            return None
        kept = f", prompts to {self.prompt_cache_mib}" if self.prompt_cache_mib else ""
        return f"{self.predicted_mib} + {self.margin_mib or 0}{kept}"


class MemoryResult(Value, frozen=True, kw_only=True):
    """`samples` readings, one each `every_s` seconds. `why`: what stood in the way.

    `kv_cache_usage_peak` is 0 to 1, by the engine's own metrics: an engine that reserves its memory at the start shows
    there what of it is used.
    """

    samples: int = 0
    every_s: float | None = None
    devices: tuple[MemoryRow, ...] = ()
    kv_cache_usage_peak: float | None = None
    why: str | None = None


class Slo(Value, frozen=True, kw_only=True):
    """What a user is promised: at most so long to the first token, and for each token after it."""

    ttft_ms: float
    tpot_ms: float


class BenchLoad(Value, frozen=True, kw_only=True):
    """What was asked of the server. `seconds` is the time limit of each suite.

    `fixed_by` is the field that holds answers to their length (None: nothing does). `seed` made the prompts: another
    for each run, so that no cache knows them. `context`: tokens of one request, None where nobody tells.
    """

    suites: tuple[Suite, ...]
    seconds: float
    input_tokens: int
    output_tokens: int
    prompt_output_tokens: int
    batch_at_once: int
    users: int
    slo: Slo
    seed: int
    context: int | None = None
    fixed_by: str | None = None


class BenchImage(Value, frozen=True, kw_only=True):
    """The image that serves."""

    profile: str
    reference: str | None = None
    digest: str | None = None
    id: str | None = None


class BenchModel(Value, frozen=True, kw_only=True):
    """The model: of a server that is not ours, the name that was asked for, and no more. `sha256` is by file."""

    name: str
    ref: str | None = None
    revision: str | None = None
    format: ModelFormat | None = None
    quantization: str | None = None
    sha256: dict[str, str] = {}


class BenchMark(Value, frozen=True, kw_only=True):
    """Why a figure is not to be trusted fully; `suite` None: the whole run."""

    suite: Suite | None = None
    text: str


class BenchResults(Value, frozen=True, kw_only=True):
    """What was measured; None: that suite was not asked for, or not reached."""

    latency: LatencyResult | None = None
    batch: BatchResult | None = None
    prompt: PromptResult | None = None
    memory: MemoryResult | None = None
    users: UsersResult | None = None


class BenchError(Value, frozen=True, kw_only=True):
    """What ended the run early, in the words of every `--json`."""

    kind: str
    message: str
    hint: str = ""


class BenchRun(Value, frozen=True, kw_only=True):
    """One run: what was measured, of what, by which words. `complete` is false where it ended early.

    `host_fingerprint` is of the server's host, known of our own servers; `client` is where the requests came from.
    `definitions_version` changes with any of the `definitions`: figures of two versions are not compared.
    """

    format_version: int = FORMAT_VERSION
    id: str
    date: str
    deployer: str
    definitions_version: int
    name: str | None
    whose: Whose
    base_url: str
    client: str
    engine: str | None
    engine_version: str | None = None
    image: BenchImage | None = None
    model: BenchModel
    devices: tuple[str, ...] | None = None
    settings: Settings | None = None
    release: int | None = None
    host_fingerprint: str | None = None
    load: BenchLoad
    complete: bool
    took_s: float
    first_request: FirstRequest | None = None
    results: BenchResults = BenchResults()
    marks: tuple[BenchMark, ...] = ()
    definitions: dict[str, str] = {}
    error: BenchError | None = None
