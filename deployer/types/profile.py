"""What we know: the shapes of the YAML files under `profiles/`."""

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


class EngineProfile(Written, frozen=True, kw_only=True):
    """One serving engine: adding one is adding one YAML file. `memory` names an estimator in `decide/`."""

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
    quantizations: tuple[Quantization, ...]
