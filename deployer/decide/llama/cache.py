"""What llama.cpp keeps of the conversations, layer by layer, in bytes.

Sources: llama.cpp b11434 src/llama-kv-cache.cpp (rows of keys and values), src/llama-kv-cache-iswa.cpp (windows),
src/llama-kv-cache-dsa.cpp (indexer), src/llama-memory-recurrent.cpp (states, always of 32 bits).
"""

import functools

from deployer.decide.kv_cache import state_bytes
from deployer.decide.llama.head_dims import key_dim, value_dim
from deployer.decide.llama.settings import LATENT_KEYS, LlamaSettings
from deployer.types import Architecture
from deployer.types.encoder import is_encoder

KV_BLOCKS: dict[str, tuple[int, int]] = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "q8_0": (32, 34), "q5_1": (32, 24), "q5_0": (32, 22),
    "q4_1": (32, 20), "q4_0": (32, 18), "iq4_nl": (32, 18),
}  # fmt: skip
"""Elements and bytes of one block (gguf-py/gguf/constants.py, `GGML_QUANT_SIZES`)."""


_HALF = 2


def row_bytes(kv_type: str, elements: int) -> int:
    """Bytes of one row of keys or values; a type that is not known counts as f16."""
    count, size = KV_BLOCKS.get(kv_type, KV_BLOCKS["f16"])
    return elements * size // count


@functools.lru_cache(maxsize=4096)
def kv_bytes(architecture: Architecture, settings: LlamaSettings) -> tuple[int, ...]:
    """Keys and values of all slots in each layer; 0 for a layer that keeps none, as all of an encoder (0.7.0, run)."""
    if is_encoder(architecture.name):
        return (0,) * architecture.layers
    rows = _rows(architecture, settings.kv_type_k, settings.kv_type_v, flash_attention=settings.flash_attention)
    if architecture.kv_lora_rank and settings.build < LATENT_KEYS and not architecture.indexer_head_dim:
        rows = tuple(row and row + row_bytes(settings.kv_type_v, architecture.kv_lora_rank) for row in rows)
    by_window = {window: settings.window_cells(window) * settings.streams for window in set(architecture.windows)}
    return tuple(row * by_window[window] for row, window in zip(rows, architecture.windows, strict=True))


@functools.lru_cache(maxsize=256)
def _rows(architecture: Architecture, kv_type_k: str, kv_type_v: str, *, flash_attention: bool) -> tuple[int, ...]:
    """Keys and values of one cell in each layer.

    Layers that only draft or read another's keep none; so do those with a state, unless they have both. Without flash
    attention, values lie transposed and every layer takes the widest.
    """
    own = architecture.layers - max(architecture.shared_kv_layers, architecture.nextn_layers)
    widths = [value_dim(architecture, layer) * _heads(architecture, layer) for layer in range(architecture.layers)]
    widest = max(widths)
    found = []
    for layer, state in enumerate(architecture.recurrent):
        if layer >= own or not _keeps(architecture, layer, state=state):
            found.append(0)
            continue
        if architecture.kv_lora_rank:
            row = row_bytes(kv_type_k, architecture.kv_lora_rank + architecture.rope_head_dim)
            row += _indexer(architecture, layer, kv_type_k)
        else:
            row = row_bytes(kv_type_k, key_dim(architecture, layer) * _heads(architecture, layer))
            row += row_bytes(kv_type_v, widths[layer] if flash_attention else widest)
        found.append(row)
    return tuple(found)


def half_bytes(architecture: Architecture, settings: LlamaSettings, layer: int) -> int:
    """Bytes of copies in 16 bits of the keys and values of a layer: of each that is kept in another type.

    Only one of a latent row, which is key and value. Source: llama.cpp b11434 ggml/src/ggml-cuda/fattn-common.cuh
    `ggml_cuda_flash_attn_ext_get_f16_extra_data`: all cells of all streams, whether they are in use or not.
    """
    cells = settings.window_cells(architecture.windows[layer]) * settings.streams
    heads, keys, values = _heads(architecture, layer), key_dim(architecture, layer), value_dim(architecture, layer)
    if architecture.kv_lora_rank:
        heads, keys, values = 1, architecture.kv_lora_rank + architecture.rope_head_dim, 0
    types = ((settings.kv_type_k, keys), (settings.kv_type_v, values))
    return sum(_HALF * cells * heads * elements for kv_type, elements in types if kv_type != "f16")


def _keeps(architecture: Architecture, layer: int, *, state: bool) -> bool:
    """True for a layer with keys and values: not one with a state alone, nor a feed-forward part alone (Nemotron-H)."""
    return _heads(architecture, layer) > 0 and (not state or architecture.state_beside_attention)


def _heads(architecture: Architecture, layer: int) -> int:
    return architecture.kv_heads_by_layer[layer] if architecture.kv_heads_by_layer else architecture.kv_heads


def _indexer(architecture: Architecture, layer: int, kv_type: str) -> int:
    """Bytes that the indexer of sparse attention keeps of one token."""
    if not architecture.indexer_head_dim or (architecture.indexer_layers and not architecture.indexer_layers[layer]):
        return 0
    return row_bytes(kv_type, architecture.indexer_head_dim)


@functools.lru_cache(maxsize=1024)
def states(architecture: Architecture, slots: int, draft_tokens: int) -> tuple[int, ...]:
    """Recurrent state of all slots in each layer, with a copy for every drafted token that may be taken back."""
    one = state_bytes(architecture) * slots * (1 + draft_tokens)
    drafting = architecture.layers - architecture.nextn_layers
    return tuple(
        one if (state or architecture.state_beside_attention) and layer < drafting else 0
        for layer, state in enumerate(architecture.recurrent)
    )
