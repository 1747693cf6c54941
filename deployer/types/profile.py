"""What we know: the shapes of the YAML files under `profiles/`."""

from typing import Literal

import msgspec

from deployer.types._value import Accelerator, ModelFormat, Written
from deployer.types.capability import Capabilities
from deployer.types.entry import GpuModel, Quantization
from deployer.types.log import FailureSignature, Loaded, Measure, Offloaded


class Flag(Written, frozen=True, kw_only=True):
    """How one setting is written for the engine: on its command line, or as an environment variable.

    `setting` is our word (`catalog/words.py` lists them with their units). Three forms:

    * `flag: --ctx-size`: the flag, then the setting's value; the flag alone when the setting is yes; nothing at all
      when the setting does not apply (None, no or empty).
    * `flag: ""`: positional, the value alone at this place (`vllm serve MODEL`).
    * `flag: ""` and `variable: OLLAMA_CONTEXT_LENGTH`: that variable of the environment, and no argument; yes is `1`.

    `value` is a fixed value, written whatever the plan says (`""`: the flag alone); `value_if_yes` follows the flag
    when a yes-or-no setting is yes (`--runner pooling` for embeddings). A flag exists in engine versions from `since`
    up to, not including, `until` (both numbers, compared number by number with missing ones as zero; None: no limit),
    and in no other version may it be written.
    """

    setting: str
    flag: str
    value: str | None = None
    value_if_yes: str | None = None
    variable: str | None = None
    since: str | None = None
    until: str | None = None
    source: str | None = None


class Health(Written, frozen=True, kw_only=True):
    """How the engine tells that it is alive, loading or ready.

    `loading_status`: the HTTP status while it loads; None: it does not listen until it is ready, or cannot tell.
    `public_paths` answer without a key even when one is set (all of them where the engine has none: `/`).
    `test`: what the container runs to see the same, where its image has no `curl`.
    """

    path: str
    loading_status: int | None = None
    public_paths: tuple[str, ...] = ()
    metrics_path: str | None = None
    test: tuple[str, ...] = ()


class Front(Written, frozen=True, kw_only=True):
    """What the gateway before an engine lets through, and `why` the engine is not served without one.

    `routes`: `METHOD /path`, passed on to whoever has the key; all others are 404. The health path is passed on without
    a key, the paths of metrics and of what is loaded with it. `lists`: the engine knows its model by another name, so
    that the gateway itself answers `GET /v1/models`, while the engine's health path says 200. As an engine's `copies`
    it says the same of a gateway that stands before several of it. `rerank_routes` are passed on for a reranker alone.
    """

    why: str
    routes: tuple[str, ...]
    source: str
    lists: bool = False
    rerank_routes: tuple[str, ...] = ()


class ImageProfile(Written, frozen=True, kw_only=True):
    """One image (or local program) of an engine: where it comes from and what it was compiled for.

    Exactly one of `reference` (an image to pull), `dockerfile` (a template to build) and `program` (a local program,
    runtime `process`) is set. `sass` and `ptx` list compute capabilities; `gfx` AMD targets; `cpu_flags` what the
    processor must have, `cpu_flags_recommended` what it lacks only at a price; `driver_min` and `driver_min_ptx` the
    driver floors for each kind of code; `jetpack` the version of JetPack that an image for NVIDIA Jetson is for;
    `size_mib` is the space it takes unpacked; `user` the `uid:gid` that the image was made for besides root, if any;
    `environment` is added to the engine's. `recipe` is filled by the loader: the reference, or `dockerfile:<sha256>` of
    the template without its comments, so that a verified image is known by what it was made from.
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
    cpu_flags_recommended: tuple[str, ...] = ()
    driver_min: str | None = None
    driver_min_ptx: str | None = None
    devices: tuple[str, ...] = ()
    jetpack: int | None = None
    size_mib: int | None = None
    user: str | None = None
    environment: dict[str, str] = {}
    note: str | None = None
    recipe: str = ""


class QuantizationSupport(Written, frozen=True, kw_only=True):
    """Where an engine can run a quantization.

    `min_capability` is the lowest NVIDIA compute capability with a kernel for it (None: any that the image runs on);
    `native_capability` the lowest with hardware arithmetic, below which weights are widened on the fly; `gfx` AMD
    targets that have it (empty: none known); `cpu` whether the engine's CPU images have it, on
    `cpu_architectures` only (empty: on all that they are made for).
    """

    quantization: str
    format: ModelFormat
    source: str
    min_capability: str | None = None
    native_capability: str | None = None
    gfx: tuple[str, ...] = ()
    cpu: bool = False
    cpu_architectures: tuple[str, ...] = ()
    note: str | None = None


class Strength(Written, frozen=True, kw_only=True):
    """What speaks for (or against) an engine in one situation, in points of the score, with the reason.

    A situation is a workload (`chat`, `agents`, `batch`, `embedding`), `many-users` (8 or more at once), `few-users`,
    or `personal` (one user). `accelerators`: it holds on these only (empty: on all).
    """

    situation: str
    points: float
    why: str
    source: str
    accelerators: tuple[Accelerator, ...] = ()


class Advisory(Written, frozen=True, kw_only=True):
    """A known vulnerability of an engine (or of what containers stand on): versions from `introduced` up to `fixed`.

    `introduced` is in the range (None: from the first version on), `fixed` is not (None: not fixed yet). Versions are
    compared number by number; a llama.cpp version by its upstream build alone (`0.7.0-b11669` is b11669). `condition`:
    the use without which it does not apply, and which a plan never has; such an advisory is told, and refuses nothing.
    """

    id: str
    engine: str
    summary: str
    source: str
    introduced: str | None = None
    fixed: str | None = None
    condition: str | None = None


class ExactTool(Written, frozen=True, kw_only=True):
    """A program of the engine that tells what memory a model would take, from the model's header without its weights.

    `programs` are tried in order: each a name beside the engine's own program, then words that come before all others.
    `args` are always given; `model_flag` names the file; `passes` are flags of
    a planned command that it has too, with the number of words after each. `line` finds the answer for one device: a
    regular expression with the groups `device`, `weights`, `kv_cache` and `compute` (MiB, rounded down); `host` is its
    word for main memory. `every_output`: it counts logits for every token of a micro-batch, where the server has room
    for one a slot, so that it is asked about compute with a smaller vocabulary. `without`: images by id that lack it,
    and why.
    """

    programs: tuple[tuple[str, ...], ...]
    args: tuple[str, ...]
    model_flag: str
    passes: dict[str, int]
    line: str
    host: str
    source: str
    every_output: bool = False
    without: dict[str, str] = {}


class EngineProfile(Written, frozen=True, kw_only=True):
    """One serving engine: adding one is adding one YAML file.

    `memory` names an estimator in `decide/`. A `legacy` engine is never chosen unless asked for. `splits`: how it uses
    several GPUs (`layer`: uneven sets too; `tensor`: like GPUs, heads divisible; `data`: whole copies of a model
    without experts, on like GPUs; `pipeline`: stages of layers, on like GPUs). `offload`: layers or experts may stay in
    main memory. `no_float16`: architectures that it refuses to compute in float16, for which a GPU without bfloat16 is
    no use. `key`: how it is given its API key (`none`: it has none, and needs a gateway; `argument`: only on the
    command line, where others can read it; `config`: in a YAML file with the line `api-key: KEY`, which its flag for
    `api_key_config` names). `launcher`: the Python that every image of it has, where the key has to be handed over
    inside the container (`templates/launch.py`; empty: it cannot be started in one unless `key` is `file`).
    `architectures` are GGUF names (`qwen3moe`), for every engine, as in Architecture.name; `reranks` are those of
    rerankers that it serves (`POST /v1/rerank`); `architectures_since`: first engine version that knows one of them,
    where an image of this file is older. `metrics`: our word
    (`catalog/words.py`) to the engine's metric name. `writable`: folders in the image it has to write to (and execute
    from: compiled kernels). `shm_mib`: shared memory it needs; `ulimits`: by Docker's name, -1 is unlimited. `setup`:
    commands to run inside the container, in order, once the port answers, before it can serve, with `{model}`,
    `{alias}` and other settings in place; an engine that has some is not ready before, and they may run again; one that
    begins with `-` may fail. `files`: texts by name with settings in place, mounted below /run/deployer. `store`: the
    folder of its own copy of the model, kept on a volume. `one_file`: it takes no split GGUF. `gateway`: it is served
    in a container only with one before it. `copies`: several of it can serve whole copies of a model behind one, each
    on GPUs of its own; one process of it cannot hold copies. `abbreviates`: its command line takes any beginning of a
    flag that only one flag has
    (`--trust` for `--trust-remote-code`), so that `forbidden_args` have to be compared by beginning, up to a dot or
    equals sign. `kv_types`: values its setting `kv_cache_type` takes, with `auto` where it chooses by the model.
    `measures`: lines of the log that tell the sizes of buffers; `offloaded` and `loaded`: where it tells that the model
    is on a GPU; `cpu_fallback`: what its log says when it goes on with the CPU instead. `exact`: who can say what it
    takes before anything is started. `capabilities`: what `check` asks in its own words. `gpu_reserve_mib`: what it
    counts as taken of each GPU before it places a model; `batch`: how many tokens of a prompt it has computed at once,
    where it cannot be told. `common_failures`: the loader puts the signatures of `profiles/failures.yaml` before its
    own.
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
    splits: tuple[Literal["layer", "tensor", "data", "pipeline"], ...] = ()
    offload: bool = False
    no_float16: tuple[str, ...] = ()
    key: Literal["file", "environment", "argument", "config", "none"] = "file"
    launcher: tuple[str, ...] = ()
    quantization_support: tuple[QuantizationSupport, ...] = ()
    architectures_since: dict[str, str] = {}
    strengths: tuple[Strength, ...] = ()
    metrics: dict[str, str] = {}
    writable: tuple[str, ...] = ()
    shm_mib: int | None = None
    ulimits: dict[str, int] = {}
    setup: tuple[tuple[str, ...], ...] = ()
    files: dict[str, str] = {}
    store: str | None = None
    one_file: bool = False
    gateway: Front | None = None
    copies: Front | None = None
    abbreviates: bool = False
    common_failures: bool = False
    measures: tuple[Measure, ...] = ()
    kv_types: tuple[str, ...] = ()
    exact: ExactTool | None = None
    capabilities: Capabilities | None = None
    offloaded: Offloaded | None = None
    loaded: Loaded | None = None
    cpu_fallback: tuple[str, ...] = ()
    gpu_reserve_mib: int = 0
    batch: int | None = None
    reranks: tuple[str, ...] = ()


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles, loaded."""

    engines: tuple[EngineProfile, ...]
    gpus: tuple[GpuModel, ...]
    advisories: tuple[Advisory, ...] = ()
    quantizations: tuple[Quantization, ...]
    gateway_image: str = ""
