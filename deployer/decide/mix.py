"""Which GGML type `llama-quantize` gives each tensor, and how many bytes that takes.

Source: llama.cpp src/llama-quant.cpp, `llama_tensor_get_type_impl` and `tensor_type_fallback`, without an importance
matrix; block sizes from gguf-py/gguf/constants.py, `GGML_QUANT_SIZES`.
"""

from typing import Literal

from deployer.types import Architecture

Kind = Literal["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]

BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2),
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "IQ4_NL": (32, 18), "IQ4_XS": (256, 136),
}  # fmt: skip
"""Elements and bytes of one block."""

BASE: dict[str, str] = {
    "F32": "F32", "F16": "F16", "BF16": "BF16",
    "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q8_0": "Q8_0",
    "Q2_K": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K", "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS",
}  # fmt: skip
"""Quantization to the type of most tensors; one that is missing here has a layout that we cannot compute."""

_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "IQ4_XS": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_LAYERS_70B = 80
_MANY_HEADS_A_KEY = 4
_MIXTRAL_EXPERTS = 8


def tensor_bytes(kind: str, rows: int, columns: int) -> int:
    """Bytes of a matrix of GGML type `kind` with `columns` elements a row; a row that does not fit falls back."""
    if columns % BLOCKS[kind][0]:
        kind = _FALLBACK.get(kind, "F16")
    if columns % BLOCKS[kind][0]:
        kind = "F16"
    elements, size = BLOCKS[kind]
    return rows * columns // elements * size


def output_type(quantization: str, embedding: int) -> str:
    """Type of the output head, and of the token embedding where both are one tensor."""
    base = BASE[quantization]
    if base in ("F32", "F16", "BF16", "Q8_0"):
        return base
    return "Q8_0" if embedding % BLOCKS[base][0] else "Q6_K"


def layer_type(quantization: str, kind: Kind, layer: int, architecture: Architecture) -> str:
    """Type of one tensor of one repeating layer."""
    base = BASE[quantization]
    if base in ("F32", "F16", "BF16"):
        return base
    match kind:
        case "attn_v":
            return _attn_v(quantization, base, layer, architecture)
        case "ffn_down":
            return _ffn_down(quantization, base, layer, architecture.layers)
        case "attn_k" if architecture.experts == _MIXTRAL_EXPERTS:
            return "Q8_0"
        case "attn_output":
            return _attn_output(quantization, base, architecture)
    return base


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2  # noqa: PLR2004


def _attn_v(quantization: str, base: str, layer: int, architecture: Architecture) -> str:
    if architecture.experts == _MIXTRAL_EXPERTS:
        return "Q8_0"
    many = architecture.heads // max(architecture.kv_heads, 1) >= _MANY_HEADS_A_KEY
    chosen = base
    match quantization:
        case "Q2_K":
            chosen = "Q4_K" if many else "Q3_K"
        case "Q3_K_M":
            chosen = "Q5_K" if layer < 2 else "Q4_K"  # noqa: PLR2004
        case "Q3_K_L":
            chosen = "Q5_K"
        case "IQ4_NL" | "IQ4_XS" if many:
            chosen = "Q5_K"
        case "Q4_K_M" | "Q5_K_M" if _more_bits(layer, architecture.layers):
            chosen = "Q6_K"
        case "Q4_K_S" if layer < 4:  # noqa: PLR2004
            chosen = "Q5_K"
    if architecture.layers == _LAYERS_70B and chosen in ("Q3_K", "Q4_K"):
        return "Q5_K"
    return chosen


def _ffn_down(quantization: str, base: str, layer: int, layers: int) -> str:
    match quantization:
        case "Q2_K":
            return "Q3_K"
        case "Q3_K_M":
            return "Q5_K" if layer < layers // 16 else "Q4_K"
        case "Q3_K_L":
            return "Q5_K"
        case "Q4_K_M" | "Q5_K_M" if _more_bits(layer, layers):
            return "Q6_K"
        case "IQ4_NL" | "IQ4_XS" | "Q4_K_S" if layer < layers // 8:
            return "Q5_K"
    return base


def _attn_output(quantization: str, base: str, architecture: Architecture) -> str:
    if architecture.experts == _MIXTRAL_EXPERTS:
        five = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ4_XS")
        return "Q5_K" if quantization in five else base
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(quantization, base)
