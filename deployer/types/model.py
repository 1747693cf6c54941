"""Models, their formats, and what the user asked for."""

from deployer.types._value import ModelFormat, RuntimeName, Value, Workload, Written


class Architecture(Written, frozen=True, kw_only=True):
    """The numbers that memory and speed follow from. `name` is the GGUF architecture (`llama`, `qwen2`)."""

    name: str
    layers: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context_max: int
    tied_embeddings: bool = False
    attention_bias: bool = False
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0


class WeightLayout(Value, frozen=True, kw_only=True):
    """Bytes of the weights by place: input embedding, each repeating layer, output (head and norm)."""

    input_bytes: int
    layer_bytes: tuple[int, ...]
    output_bytes: int

    @property
    def total_bytes(self) -> int:
        """All weights once. With tied embeddings the input also serves as output and is counted once here."""
        return self.input_bytes + sum(self.layer_bytes) + self.output_bytes


class ModelVariant(Value, frozen=True, kw_only=True):
    """One model in one format.

    `source` is a reference that can be fetched (`hf:org/repo[@revision]`, `package:module/file`, an absolute path);
    `path` is where its file (or folder) is on this machine, or will be after fetching; `present` tells whether its
    bytes are there now; `weights` is exact, from the file itself, or None where the layout has to be computed.
    """

    format: ModelFormat
    quantization: str
    source: str
    files: tuple[str, ...]
    size_bytes: int | None = None
    sha256: tuple[str, ...] = ()
    weights: WeightLayout | None = None
    path: str | None = None
    present: bool | None = None


class ModelSpec(Value, frozen=True, kw_only=True):
    """One model and the formats it can be had in."""

    name: str
    title: str
    architecture: Architecture
    parameters: int
    variants: tuple[ModelVariant, ...]
    license: str | None = None
    gated: bool = False
    embedding: bool = False
    source: str | None = None


class Request(Value, frozen=True, kw_only=True):
    """What the user asked for, and what was forced. `gpus=()` means none; `gpus=None` leaves the choice."""

    model: str
    users: int = 1
    context: int | None = None
    workload: Workload = "chat"
    name: str | None = None
    engine: str | None = None
    quantization: str | None = None
    gpus: tuple[int, ...] | None = None
    runtime: RuntimeName | None = None
    image: str | None = None
    image_reference: str | None = None
    address: str = "127.0.0.1"
    port: int | None = None
    engine_args: tuple[str, ...] = ()
    allow_vulnerable: tuple[str, ...] = ()
