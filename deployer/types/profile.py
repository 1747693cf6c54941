"""What we know: the shapes of the YAML files under `profiles/`."""

from typing import Literal

import msgspec

from deployer.types._value import Accelerator, ModelFormat, Written
from deployer.types.model import Architecture


class Flag(Written, frozen=True, kw_only=True):
    """How one setting is written on the engine's command line.

    `setting` is our word; `value` is a fixed argument, else the setting's own value follows the flag.
    """

    setting: str
    flag: str
    value: str | None = None
    source: str | None = None


class FailureSignature(Written, frozen=True, kw_only=True):
    """A pattern in the engine's log, what it means in one sentence, and the way out. Earlier entries win."""

    pattern: str
    cause: str
    hint: str


class Health(Written, frozen=True, kw_only=True):
    """How the engine tells that it is alive, loading or ready."""

    path: str
    loading_status: int | None = None
    public_paths: tuple[str, ...] = ()
    metrics_path: str | None = None


class ImageProfile(Written, frozen=True, kw_only=True):
    """One image (or local program) of an engine: where it comes from and what it was compiled for.

    Exactly one of `reference` (an image to pull), `dockerfile` (a template to build) and `program` (a local program,
    runtime `process`) is set. `sass` and `ptx` list compute capabilities; `gfx` AMD targets; `cpu_flags` what the
    processor must have; `driver_min` and `driver_min_ptx` the driver floors for each kind of code; `size_mib` is the
    space it takes unpacked. `recipe` is filled by the loader: the reference, or `dockerfile:<sha256>` of the template
    without its comments, so that a verified image is known by what it was made from.
    """

    id: str
    version: str
    accelerator: Accelerator
    command: tuple[str, ...]
    sources: tuple[str, ...]
    reference: str | None = None
    digest: str | None = None
    dockerfile: str | None = None
    build_args: dict[str, str] = {}
    program: str | None = None
    install: str | None = None
    architectures: tuple[str, ...] = ("x86_64",)
    cuda: str | None = None
    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    gfx: tuple[str, ...] = ()
    cpu_flags: tuple[str, ...] = ()
    driver_min: str | None = None
    driver_min_ptx: str | None = None
    devices: tuple[str, ...] = ()
    size_mib: int | None = None
    note: str | None = None
    recipe: str = ""


class QuantizationSupport(Written, frozen=True, kw_only=True):
    """Where an engine can run a quantization.

    `min_capability` is the lowest NVIDIA compute capability with a kernel for it (None: any that the image runs on);
    `native_capability` the lowest with hardware arithmetic, below which weights are widened on the fly; `gfx` AMD
    targets that have it (empty: none known); `cpu` whether the engine's CPU images have it.
    """

    quantization: str
    format: ModelFormat
    source: str
    min_capability: str | None = None
    native_capability: str | None = None
    gfx: tuple[str, ...] = ()
    cpu: bool = False
    note: str | None = None


class Strength(Written, frozen=True, kw_only=True):
    """What speaks for (or against) an engine in one situation, in points of the score, with the reason.

    A situation is a workload (`chat`, `agents`, `batch`, `embedding`), `many-users` (8 or more at once), `few-users`,
    or `personal` (one user).
    """

    situation: str
    points: float
    why: str
    source: str


class Advisory(Written, frozen=True, kw_only=True):
    """A known vulnerability of an engine: versions from `introduced` up to, not including, `fixed`."""

    id: str
    engine: str
    summary: str
    source: str
    introduced: str | None = None
    fixed: str | None = None
    condition: str | None = None


class EngineProfile(Written, frozen=True, kw_only=True):
    """One serving engine: adding one is adding one YAML file.

    `memory` names an estimator in `decide/`. A `legacy` engine is never chosen unless asked for. `splits`: how it uses
    several GPUs (`layer`: uneven sets too; `tensor`: like GPUs, heads divisible). `offload`: layers or experts may
    stay in main memory. `key`: how it is given its API key (`none`: it has none, and needs a gateway). `architectures_since`:
    first engine version that knows a model architecture. `metrics`: our word to the engine's metric name. `writable`:
    folders in the image it has to write to. `shm_mib`: shared memory it needs.
    """

    engine: str
    title: str
    summary: str
    license: str
    memory: str
    formats: tuple[ModelFormat, ...]
    quantizations: tuple[str, ...]
    architectures: tuple[str, ...]
    container_port: int
    health: Health
    flags: tuple[Flag, ...]
    failures: tuple[FailureSignature, ...]
    images: tuple[ImageProfile, ...]
    sources: tuple[str, ...]
    environment: dict[str, str] = {}
    forbidden_args: tuple[str, ...] = ()
    status: Literal["current", "legacy"] = "current"
    splits: tuple[Literal["layer", "tensor"], ...] = ()
    offload: bool = False
    key: Literal["file", "environment", "argument", "none"] = "file"
    quantization_support: tuple[QuantizationSupport, ...] = ()
    architectures_since: dict[str, str] = {}
    strengths: tuple[Strength, ...] = ()
    metrics: dict[str, str] = {}
    writable: tuple[str, ...] = ()
    shm_mib: int | None = None


class GpuModel(Written, frozen=True, kw_only=True):
    """What is known of a GPU by its name, for host files that lack a value and for speed."""

    name: str
    vendor: str
    architecture: str
    memory_mib: int
    bandwidth_gb_s: int
    compute_capability: str | None = None
    gfx: str | None = None
    last_driver: str | None = None
    aliases: tuple[str, ...] = ()


class Quantization(Written, frozen=True, kw_only=True):
    """A way to store weights: `tensors` maps tensor kinds to GGML types by a rule in `decide/weights.py`."""

    name: str
    format: ModelFormat
    bits_per_weight: float
    quality: float
    source: str


class CatalogVariant(Written, frozen=True, kw_only=True):
    """One downloadable form of a catalog model; `size_bytes` only where a source states it."""

    format: ModelFormat
    quantization: str
    source: str
    files: tuple[str, ...]
    size_bytes: int | None = None


class CatalogModel(Written, frozen=True, kw_only=True):
    """One entry of `profiles/models/*.yaml`."""

    name: str
    title: str
    parameters: int
    license: str
    architecture: Architecture
    variants: tuple[CatalogVariant, ...]
    sources: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    gated: bool = False
    embedding: bool = False


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles, loaded."""

    engines: tuple[EngineProfile, ...]
    gpus: tuple[GpuModel, ...]
    advisories: tuple[Advisory, ...] = ()
    quantizations: tuple[Quantization, ...]
