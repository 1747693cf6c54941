"""What each layer of a model keeps in an engine with paged KV caches, and in how many bytes an element.

Sources: vLLM 0.32 v1/kv_cache_interface.py (pages), model_executor/layers/mamba/mamba_utils.py (states);
SGLang 0.5.23 srt/model_executor/pool_configurator.py, srt/configs (states); which KV types run where: see `kv_types`.
"""

import functools

from deployer.decide.candidates import Candidate
from deployer.decide.paged_pool import MAMBA2_STATES, STATES, Layer, Pool, pool
from deployer.decide.rules_quantization import weakest
from deployer.decide.version import capability
from deployer.decide.weights import value_dim
from deployer.types import Architecture
from deployer.types.encoder import is_encoder

_EIGHT_BITS = ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_e4m3fn", "int8", "q8_0")
_HALF, _FULL = 2, 4

HALF_STATES = (
    *("qwen3next", "falcon-h1", "granitehybrid", "granite-hybrid", "jamba", "mamba", "mamba2", "plamo2", "lfm2"),
    "lfm2moe",
)
"""Models whose state vLLM keeps in the type of the model (`mamba_ssm_cache_dtype` "auto"); the others' is of 32 bits,
as Qwen 3.5 and Nemotron-H ask (model_executor/models/config.py). SGLang keeps all in 32 bits."""

MAMBA2 = ("falcon-h1", "granitehybrid", "granite-hybrid", "mamba2", "nemotron_h", "nemotron_h_moe")
"""Models with Mamba 2 layers in vLLM (`MambaMixer2` in model_executor/models)."""

FLASHINFER_HEADS = (64, 128, 256, 512)
_FP8, _HOPPER, _AMPERE = (8, 9), (9, 0), (8, 0)
_FP8_GFX = ("gfx942", "gfx950")


def element_bytes(kv_type: str) -> float:
    """Bytes of one element of the cache; `auto` is the model's own type, of 16 bits."""
    if kv_type.startswith("nvfp4"):
        return 4.5 / 8
    return 1.0 if kv_type in _EIGHT_BITS else 2.0


def kv_types(candidate: Candidate, architecture: Architecture) -> tuple[str, ...]:
    """`auto`, and the type of 8 bits that this engine can use on these GPUs for this model.

    vLLM 0.32: Triton needs 8.9 for it (v1/attention/backends/triton_attn.py); from 8.0 on FlashInfer has it, for some
    head sizes, and one window for all layers (flashinfer.py); latent attention has it from Hopper on. SGLang 0.5.23:
    `fp8_e4m3` from 8.9 on, before that `fp8_e5m2` (docs.sglang.io quantized_kv_cache). TensorRT-LLM 1.2: Ampere and
    newer (docs/source/features/quantization.md). AMD: targets with FP8. None on processors, nor in TGI.
    """
    device, engine = weakest(candidate.devices), candidate.engine.engine
    if not candidate.devices or engine not in ("vllm", "sglang", "tensorrt-llm"):
        return ("auto",)
    if candidate.image.accelerator == "rocm" and all(item.gpu.gfx in _FP8_GFX for item in candidate.devices):
        return "auto", "fp8" if engine == "vllm" else "fp8_e4m3"
    if candidate.image.accelerator != "cuda" or device is None:
        return ("auto",)
    own = capability(device.gpu.compute_capability or "")
    if own < (_HOPPER if architecture.kv_lora_rank else _AMPERE) or (own < _FP8 and not _in_flashinfer(architecture)):
        return ("auto",)
    if engine == "sglang":
        return "auto", "fp8_e4m3" if own >= _FP8 else "fp8_e5m2"
    return "auto", "fp8"


def _in_flashinfer(architecture: Architecture) -> bool:
    return architecture.head_dim in FLASHINFER_HEADS and not any(architecture.windows)


@functools.lru_cache(maxsize=512)
def layers_of(architecture: Architecture, engine: str, *, ranks: int, kv_type: str) -> tuple[Layer, ...]:
    """What one of `ranks` GPUs keeps in each layer.

    Heads are repeated where there are fewer than GPUs; a latent row is held by every one; a state is divided. A window
    counts where only some layers have it; where all do, engines differ, and all tokens are assumed to stay. Layers that
    only draft keep nothing, nor do those that read the keys of others, in vLLM, and all of an encoder there
    (`EncoderOnlyAttentionSpec`).
    """
    if engine == "vllm" and is_encoder(architecture.name):
        return (Layer(),) * architecture.layers
    state, size = _state_bytes(architecture, engine) // ranks, element_bytes(kv_type)
    some = architecture.sliding_pattern or architecture.window_layers
    windows = architecture.windows if some else (0,) * architecture.layers
    silent = architecture.nextn_layers + (architecture.shared_kv_layers if engine == "vllm" else 0)
    beside, keeping = architecture.state_beside_attention, architecture.layers - silent
    heads = architecture.kv_heads_by_layer or (architecture.kv_heads,) * architecture.layers
    states = MAMBA2_STATES if architecture.name in MAMBA2 else STATES
    known: dict[tuple[int, bool, int, int], Layer] = {}
    found = []
    for place, (window, recurrent) in enumerate(zip(windows, architecture.recurrent, strict=True)):
        kind = window, recurrent, heads[place], _indexer_bytes(architecture, place)
        if kind not in known:
            row = 0 if recurrent and not beside else _row_bytes(architecture, ranks, heads[place], window, size)
            row += 0 if recurrent else kind[-1]
            kept = state if recurrent or beside else 0
            known[kind] = Layer(row, window if row else 0, kept, states)
        found.append(known[kind] if place < keeping else Layer())
    return tuple(found)


@functools.lru_cache(maxsize=1024)
def stage_pool(
    architecture: Architecture,
    engine: str,
    layers: tuple[int, int],
    shape: tuple[int, int],
    asked: tuple[str, int, int],
) -> Pool:
    """The pool of a GPU of one pipeline stage, that of `layers` (from, to).

    `shape`: ranks of a stage, and stages. `asked`: KV type, context, and tokens computed at once.
    """
    (ranks, stages), (kv_type, context, batch) = shape, asked
    kept = layers_of(architecture, engine, ranks=ranks, kv_type=kv_type)
    return pool(engine, kept[slice(*layers)], context=context, batch=batch, stages=stages)


@functools.lru_cache(maxsize=512)
def conversation_bytes(
    architecture: Architecture, engine: str, *, ranks: int, kv_type: str, context: int, batch: int
) -> tuple[int, ...]:
    """Bytes that one full conversation keeps in each layer, on one of `ranks` GPUs."""
    return tuple(
        layer.state_bytes + layer.token_bytes * (min(context, layer.window + batch) if layer.window else context)
        for layer in layers_of(architecture, engine, ranks=ranks, kv_type=kv_type)
    )


def _row_bytes(architecture: Architecture, ranks: int, heads: int, window: int, size: float) -> int:
    """Bytes of one token in one layer, where an element takes `size`.

    Sparse attention (DSA) keeps a latent row of 8 bits with a scale of 32 bits for every 128, and its rotary part in
    16 bits: 656 bytes for 512 and 64 (vLLM 0.32 v1/attention/backends/mla/flashmla_sparse.py; SGLang the same).
    """
    latent = architecture.kv_lora_rank
    if latent and architecture.indexer_head_dim and size == 1:
        return latent + latent // 128 * _FULL + architecture.rope_head_dim * _HALF
    return int(_row_elements(architecture, ranks, heads, window) * size)


def _row_elements(architecture: Architecture, ranks: int, heads: int, window: int) -> int:
    """Elements of one token in one layer: keys and values of this rank's heads, or one latent row without values."""
    if architecture.kv_lora_rank:
        return architecture.kv_lora_rank + architecture.rope_head_dim
    keys, values = architecture.head_dim, value_dim(architecture)
    if window and architecture.head_dim_swa:
        keys = architecture.head_dim_swa
        values = architecture.value_head_dim_swa or keys
    return (max(heads // ranks, 1) if heads else 0) * (keys + values)


def _indexer_bytes(architecture: Architecture, place: int) -> int:
    """Bytes of a token's indexer key: 8 bits an element, and a scale of 32 for every 128."""
    size, own = architecture.indexer_head_dim, architecture.indexer_layers
    return size + size // 128 * _FULL if size and (not own or own[place]) else 0


def _state_bytes(architecture: Architecture, engine: str) -> int:
    """Bytes of one state: the convolution's in 16 bits, the recurrent one in its own type."""
    if architecture.short_conv_cache:
        return (architecture.short_conv_cache - 1) * architecture.embedding * _HALF
    kernel = max(architecture.ssm_conv_kernel - 1, 0)
    if square := architecture.delta_head_dim or architecture.linear_head_dim:
        convolution = 3 * kernel * architecture.heads * architecture.delta_head_dim
        return convolution * _HALF + architecture.heads * square**2 * _FULL
    inner, size = architecture.ssm_inner_size, architecture.ssm_state_size
    width = _HALF if engine == "vllm" and architecture.name in HALF_STATES else _FULL
    return kernel * (inner + 2 * architecture.ssm_groups * size) * _HALF + inner * size * width
