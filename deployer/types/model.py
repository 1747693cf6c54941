"""Models, their formats, and what the user asked for."""

from deployer.types._value import ModelFormat, RuntimeName, Value, Workload, Written


class Architecture(Written, frozen=True, kw_only=True):
    """The numbers that memory and speed follow from.

    Each says its unit, then where it stands: `config.json` of transformers / GGUF metadata (without the architecture's
    prefix). Zero means that the model has no such part.
    """

    name: str
    """GGUF architecture (`llama`, `qwen2`): by table from `model_type` / `general.architecture`."""

    layers: int
    """Repeating layers: `num_hidden_layers` / `block_count`."""

    embedding: int
    """Elements of a token's vector: `hidden_size` / `embedding_length`."""

    feed_forward: int
    """Width of a dense feed-forward part: `intermediate_size` / `feed_forward_length`."""

    heads: int
    """Query heads: `num_attention_heads` / `attention.head_count`."""

    kv_heads: int
    """Key and value heads: `num_key_value_heads` / `attention.head_count_kv`. With latent attention: `heads`."""

    head_dim: int
    """Elements of a query or key head: `head_dim` / `attention.key_length`. With latent attention: position-free and
    rotary part together, `qk_nope_head_dim + qk_rope_head_dim` / `attention.key_length_mla`."""

    vocabulary: int
    """Rows of the token embedding, padding included: `vocab_size` / shape of `token_embd.weight`."""

    context_max: int
    """Tokens: `max_position_embeddings` / `context_length`."""

    tied_embeddings: bool = False
    """The output head is the token embedding: `tie_word_embeddings` / no tensor `output.weight`."""

    attention_bias: bool = False
    """Query, key and value projections have a bias: `attention_bias` / tensor `blk.0.attn_q.bias`."""

    experts: int = 0
    """Routed experts of a layer: `num_experts`, `num_local_experts`, `n_routed_experts` / `expert_count`."""

    experts_used: int = 0
    """Routed experts that one token uses: `num_experts_per_tok` / `expert_used_count`."""

    expert_feed_forward: int = 0
    """Width of one routed expert, 0: `feed_forward`. `moe_intermediate_size` / `expert_feed_forward_length`."""

    shared_experts: int = 0
    """Experts that every token uses: `n_shared_experts`, or 1 with `shared_expert_intermediate_size` /
    `expert_shared_count`."""

    shared_expert_feed_forward: int = 0
    """Width of one shared expert, 0: as a routed one. `shared_expert_intermediate_size` /
    `expert_shared_feed_forward_length`."""

    dense_layers: int = 0
    """First layers without experts: `first_k_dense_replace` / `leading_dense_block_count`."""

    value_head_dim: int = 0
    """Elements of a value head where they differ from `head_dim`, else 0: `v_head_dim` / `attention.value_length`,
    `attention.value_length_mla`."""

    q_lora_rank: int = 0
    """Latent attention: rank of the query projection, 0: not compressed. `q_lora_rank` / `attention.q_lora_rank`."""

    kv_lora_rank: int = 0
    """Latent attention (MLA): elements of the compressed key and value. Above 0, the cache of a layer holds one row of
    `kv_lora_rank + rope_head_dim` elements a token, and no values. `kv_lora_rank` / `attention.kv_lora_rank`, 0 for a
    GGUF file without `attention.key_length_mla`, which is served with full keys and values."""

    rope_head_dim: int = 0
    """Latent attention: rotary elements of the key, which all heads share. `qk_rope_head_dim` /
    `rope.dimension_count`."""

    sliding_window: int = 0
    """Tokens that a layer with a window looks back: `sliding_window` / `attention.sliding_window`."""

    sliding_pattern: int = 0
    """Every so many layers, the last sees everything and the others have the window (2: every second layer); 0: all
    layers have it. `sliding_window_pattern`, `layer_types` / `attention.sliding_window_pattern`, else by
    architecture."""

    full_attention_interval: int = 0
    """Hybrid models: every so many layers, the last has attention and the others a recurrent state.
    `full_attention_interval`, `layer_types` / `full_attention_interval`."""

    ssm_inner_size: int = 0
    """Elements of the recurrent part: `linear_num_value_heads * linear_value_head_dim` / `ssm.inner_size`."""

    ssm_state_size: int = 0
    """State elements for each inner element: `linear_key_head_dim` / `ssm.state_size`."""

    ssm_conv_kernel: int = 0
    """Tokens of the recurrent part's convolution: `linear_conv_kernel_dim` / `ssm.conv_kernel`."""

    ssm_groups: int = 0
    """Key heads of the recurrent part: `linear_num_key_heads` / `ssm.group_count`."""

    ssm_heads: int = 0
    """Value heads of the recurrent part: `linear_num_value_heads` / `ssm.time_step_rank`."""

    @property
    def windows(self) -> tuple[int, ...]:
        """Window of each layer in tokens; 0: the layer sees everything.

        Source: llama.cpp b11434 src/llama-hparams.cpp `set_swa_pattern`.
        """
        every = self.sliding_pattern
        return tuple(0 if every and layer % every == every - 1 else self.sliding_window for layer in range(self.layers))

    @property
    def recurrent(self) -> tuple[bool, ...]:
        """For each layer, whether it keeps a recurrent state instead of keys and values.

        Source: llama.cpp b11434 src/models/qwen3next.cpp.
        """
        every = self.full_attention_interval
        return tuple(every > 0 and (layer + 1) % every != 0 for layer in range(self.layers))


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
    """One model and the formats it can be had in.

    A `reranker` scores pairs of texts. `tools`: whether its chat template renders tool calls (None: unknown);
    `tool_parsers`: by engine family, what the engine calls the parser that reads them back.
    """

    name: str
    title: str
    architecture: Architecture
    parameters: int
    variants: tuple[ModelVariant, ...]
    license: str | None = None
    gated: bool = False
    embedding: bool = False
    source: str | None = None
    reranker: bool = False
    tools: bool | None = None
    tool_parsers: dict[str, str] = {}


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
