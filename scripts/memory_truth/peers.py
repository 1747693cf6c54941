"""What four other programs say that a model needs, in bytes; kept for comparison, used by no plan.

From their sources: GPUStack `gpustack/policies/utils.py`, llmfit `llmfit-core/src/models.rs`, Ollama (fb307609)
`llm/llama_server.go`, KAITO `pkg/workspace/estimator/nodesestimator/estimator.go`.
"""

from collections.abc import Callable

from deployer.types import Architecture

GIB, GB = 1 << 30, 10**9


def file_times(weights: int, architecture: Architecture, context: int) -> int:
    """GPUStack, other than GGUF: weights x 1.2 + 2 GiB, whatever the context."""
    del architecture, context
    return round(weights * 1.2) + 2 * GIB


def weights_plus(weights: int, architecture: Architecture, context: int) -> int:
    """llmfit: weights, a 16-bit cache for every layer, and 0.5 GB."""
    return weights + plain_cache(architecture, context) + GB // 2


def file_plus_f16(weights: int, architecture: Architecture, context: int) -> int:
    """Ollama: the file and a 16-bit cache with heads of `embedding / heads` elements."""
    heads = max(architecture.heads, 1)
    width = architecture.kv_heads * (architecture.embedding // heads)
    return weights + 2 * architecture.layers * width * context * 2


def utilisation(weights: int, architecture: Architecture, context: int) -> int:
    """KAITO: weights x 1.02, 2.3 GiB and a 16-bit cache, of which 0.84 of a GPU must have room."""
    return round((weights * 1.02 + 2.3 * GIB + plain_cache(architecture, context)) / 0.84)


def plain_cache(architecture: Architecture, context: int) -> int:
    """Bytes of a 16-bit cache for all tokens in every layer, without windows, latents or recurrent states."""
    value = architecture.value_head_dim or architecture.head_dim
    return architecture.layers * architecture.kv_heads * (architecture.head_dim + value) * context * 2


PEERS: dict[str, Callable[[int, Architecture, int], int]] = {
    "weights x 1.2 + 2 GiB": file_times,
    "weights + KV + 0.5 GB": weights_plus,
    "file + f16 KV": file_plus_f16,
    "(weights x 1.02 + 2.3 GiB + KV) / 0.84": utilisation,
}
