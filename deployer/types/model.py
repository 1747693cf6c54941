"""Models, their formats, and what the user asked for."""

import functools

from deployer.types._value import ModelFormat, RuntimeName, Value, Workload, Written
from deployer.types.projector import Projector


class Architecture(Written, frozen=True, kw_only=True, cache_hash=True):
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

    window_layers: tuple[bool, ...] = ()
    """For each layer whether it has the window, where `sliding_pattern` cannot say it; else empty. `layer_types` /
    `attention.sliding_window_pattern` as an array."""

    kv_heads_by_layer: tuple[int, ...] = ()
    """`kv_heads` of each layer where they differ, else empty: `num_global_key_value_heads`, `swa_num_key_value_heads`,
    `block_configs`, 0 for a layer with a state / `attention.head_count_kv` as an array."""

    head_dim_swa: int = 0
    """`head_dim` of a layer with a window, 0: as the others. `head_dim` beside `global_head_dim` /
    `attention.key_length_swa`."""

    value_head_dim_swa: int = 0
    """`value_head_dim` of a layer with a window, 0: as `head_dim_swa`. As there / `attention.value_length_swa`."""

    shared_kv_layers: int = 0
    """Last layers that read the keys and values of earlier ones: `num_kv_shared_layers` /
    `attention.shared_kv_layers`."""

    nextn_layers: int = 0
    """Last of the `layers` that only draft the next tokens and keep nothing here: none (`num_hidden_layers` leaves them
    out) / `nextn_predict_layers`."""

    indexer_head_dim: int = 0
    """Sparse attention (DSA): elements of the indexer's key, which a layer keeps beside its own. `index_head_dim` /
    `attention.indexer.key_length`."""

    indexer_layers: tuple[bool, ...] = ()
    """For each layer whether it has an indexer of its own; empty: all. `indexer_types` / `attention.indexer.types`."""

    recurrent_layers: tuple[bool, ...] = ()
    """For each layer whether it keeps a state, where `full_attention_interval` cannot say it; else empty.
    `layer_types`, `hybrid_override_pattern` / `attention.recurrent_layers`, `attention.head_count_kv` of 0."""

    state_beside_attention: bool = False
    """Every layer has a state and keys and values (Falcon-H1)."""

    short_conv_cache: int = 0
    """Tokens of a short convolution, whose state is all a layer keeps (LFM2): `conv_L_cache` / `shortconv.l_cache`."""

    wkv_head_size: int = 0
    """Elements of a head of the RWKV state: `head_size` / `wkv.head_size`."""

    token_shift: int = 0
    """Vectors that RWKV keeps of the last token: 2 / `token_shift_count`."""

    delta_head_dim: int = 0
    """Elements of a head of Kimi's delta attention (KDA), whose state is `heads * delta_head_dim^2`:
    `linear_attn_config.head_dim` / `kda.head_dim`."""

    linear_head_dim: int = 0
    """Elements of a head of MiniMax-01's linear attention: `head_dim` / `attention.key_length` of `minimax-01`."""

    feed_forward_by_layer: tuple[int, ...] = ()
    """`feed_forward` of each layer where they differ, else empty: a list in `intermediate_size`, `block_configs`,
    `use_double_wide_mlp` / `feed_forward_length` as an array."""

    per_layer_embedding: int = 0
    """Elements that every layer adds to a token of its own (Gemma 3n and 4): `hidden_size_per_layer_input` /
    `embedding_length_per_layer_input`."""

    @property
    def windows(self) -> tuple[int, ...]:
        """Window of each layer in tokens; 0: the layer sees everything."""
        return _windows(self)

    @property
    def recurrent(self) -> tuple[bool, ...]:
        """For each layer, whether it keeps a recurrent state instead of keys and values."""
        return _recurrent(self)


@functools.lru_cache(maxsize=256)
def _windows(architecture: Architecture) -> tuple[int, ...]:
    """Source: llama.cpp b11434 src/llama-hparams.cpp `set_swa_pattern`."""
    size, every = architecture.sliding_window, architecture.sliding_pattern
    if architecture.window_layers:
        return tuple(size if narrow else 0 for narrow in architecture.window_layers)
    return tuple(0 if every and layer % every == every - 1 else size for layer in range(architecture.layers))


@functools.lru_cache(maxsize=256)
def _recurrent(architecture: Architecture) -> tuple[bool, ...]:
    """Source: llama.cpp b11434 src/models/qwen3next.cpp."""
    if architecture.recurrent_layers:
        return architecture.recurrent_layers
    every = architecture.full_attention_interval
    return tuple(every > 0 and (layer + 1) % every != 0 for layer in range(architecture.layers))


class WeightLayout(Value, frozen=True, kw_only=True, cache_hash=True):
    """Bytes of the weights by place: input embedding, each repeating layer, output (head and norm).

    Of these, where the tensors' names tell (else 0 and empty): `replicated_bytes` are what each GPU of a group with
    tensor parallelism holds whole (norms, routers, down-projections of latent attention), `expert_bytes` the routed
    experts of each layer, `tower_bytes` what reads pictures or sound (counted in `output_bytes`),
    `token_embedding_bytes` the part of `input_bytes` that a tied output is a copy of. `unloaded_bytes` are in none of
    them: layers that predict further tokens, which an engine loads only for speculation.
    """

    input_bytes: int
    layer_bytes: tuple[int, ...]
    output_bytes: int
    replicated_bytes: int = 0
    expert_bytes: tuple[int, ...] = ()
    tower_bytes: int = 0
    token_embedding_bytes: int = 0
    unloaded_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All weights once. With tied embeddings the input also serves as output and is counted once here."""
        return self.input_bytes + sum(self.layer_bytes) + self.output_bytes


class ModelVariant(Value, frozen=True, kw_only=True, cache_hash=True):
    """One model in one format.

    `source` is a reference that can be fetched (`hf:org/repo[@revision]`, `package:module/file`, an absolute path);
    `path` is where its file (or folder) is on this machine, or will be after fetching; `present` tells whether its
    bytes are there now, `fetched_bytes` how many of them where it is not whole; `weights` is exact, from the file
    itself, or None where the layout has to be computed; `projector` reads pictures for it.
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
    projector: Projector | None = None
    fetched_bytes: int = 0


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
    """What the user asked for, and what was forced. `gpus=()` means none; `gpus=None` leaves the choice.

    `slots`: conversations at once, exactly; `kv_type`: how keys and values are kept (`f16`, `q8_0`, `fp8`).
    `workload_asked`: somebody named the workload; else a model that only embeds is served for that. Deciding
    finds out by itself: `ranks`: the model is a reranker; `whole_texts`: it reads a text at once, or not at all.
    """

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
    slots: int | None = None
    kv_type: str | None = None
    workload_asked: bool = False
    ranks: bool = False
    whole_texts: bool = False
