"""What we know of single things: GPUs, quantizations and models, the entries of the tables under `profiles/`."""

from deployer.types._value import ModelFormat, Written
from deployer.types.model import Architecture
from deployer.types.projector import Projector


class GpuModel(Written, frozen=True, kw_only=True):
    """What is known of a GPU by its name, for host files that lack a value and for speed.

    `linked`: in every server it comes in, such GPUs are joined by a link of their own (NVLink, Infinity Fabric).
    `tensor_cores` where their capability says otherwise (GTX 16: 7.5, and none).
    """

    name: str
    vendor: str
    architecture: str
    memory_mib: int
    bandwidth_gb_s: int
    compute_capability: str | None = None
    gfx: str | None = None
    last_driver: str | None = None
    linked: bool = False
    tensor_cores: bool | None = None
    aliases: tuple[str, ...] = ()


class Quantization(Written, frozen=True, kw_only=True):
    """A way to store weights: `tensors` maps tensor kinds to GGML types by a rule in `decide/weights.py`."""

    name: str
    format: ModelFormat
    bits_per_weight: float
    quality: float
    source: str


class CatalogVariant(Written, frozen=True, kw_only=True):
    """One downloadable form of a catalog model; `size_bytes` only where a source states it.

    `projector`: what reads pictures for it; its `path` is the name of the file in the same repository.
    """

    format: ModelFormat
    quantization: str
    source: str
    files: tuple[str, ...]
    size_bytes: int | None = None
    projector: Projector | None = None


class CatalogModel(Written, frozen=True, kw_only=True):
    """One entry of `profiles/models/*.yaml`.

    An `embedding` model answers with vectors, a `reranker` scores pairs of texts. `tools`: whether the chat template
    renders tool calls (None: unknown); `tool_parsers`: by engine family (`vllm`, `sglang`), the parser that reads them.
    """

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
    reranker: bool = False
    tools: bool | None = None
    tool_parsers: dict[str, str] = {}
    note: str | None = None
