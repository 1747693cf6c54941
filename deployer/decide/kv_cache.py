"""What a conversation keeps: keys and values of every token, or a state of fixed size, layer by layer.

Sources: llama.cpp b11434 src/llama-kv-cache.cpp (K and V rows), src/llama-kv-cache-iswa.cpp (windows),
src/llama-memory-recurrent.cpp (states, always of 32 bits); with latent attention one row of
`kv_lora_rank + rope_head_dim` elements and no values (`is_mla`, src/llama-hparams.cpp).
"""

import functools
import math
from collections.abc import Iterator

from deployer.decide.weights import value_dim
from deployer.types import Architecture

PADDING = 256
_STATE_BYTES = 4


def row_elements(architecture: Architecture, ranks: int = 1) -> int:
    """Elements that one token adds to the cache of one attention layer, on one of `ranks` GPUs that share the heads.

    Heads are repeated where there are fewer than GPUs; a latent row is held by every one.
    """
    if architecture.kv_lora_rank:
        return architecture.kv_lora_rank + architecture.rope_head_dim
    return max(architecture.kv_heads // ranks, 1) * (architecture.head_dim + value_dim(architecture))


def state_bytes(architecture: Architecture) -> int:
    """Bytes of the recurrent state of one conversation in one recurrent layer."""
    inner, kernel = architecture.ssm_inner_size, max(architecture.ssm_conv_kernel, 1)
    convolution = (kernel - 1) * (inner + 2 * architecture.ssm_groups * architecture.ssm_state_size)
    return (convolution + architecture.ssm_state_size * inner) * _STATE_BYTES


def layer_cells(architecture: Architecture, cells: int, batch: int) -> Iterator[int | None]:
    """Tokens that each layer keeps of a conversation of `cells` tokens; None for a layer with a recurrent state.

    A window keeps what it sees and what is being computed, padded to 256.
    """
    for window, recurrent in zip(architecture.windows, architecture.recurrent, strict=True):
        if recurrent:
            yield None
        else:
            yield cells if not window else min(cells, math.ceil((window + batch) / PADDING) * PADDING)


@functools.lru_cache(maxsize=512)
def layer_bytes(
    architecture: Architecture, *, cells: int, batch: int, element_bytes: float, ranks: int = 1, slots: int = 1
) -> tuple[int, ...]:
    """Bytes that `slots` conversations of `cells` tokens keep in each layer, on one of `ranks` GPUs."""
    row, state = row_elements(architecture, ranks) * element_bytes, state_bytes(architecture) // ranks
    one = (state if kept is None else int(row * kept) for kept in layer_cells(architecture, cells, batch))
    return tuple(size * slots for size in one)


@functools.lru_cache(maxsize=512)
def total_bytes(architecture: Architecture, *, cells: int, batch: int, element_bytes: float) -> int:
    """Bytes that one conversation keeps in all layers together."""
    return sum(layer_bytes(architecture, cells=cells, batch=batch, element_bytes=element_bytes))
