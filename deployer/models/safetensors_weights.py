"""Exact bytes of a transformers model by place, from the tensor tables of its safetensors files.

Names: transformers `modeling_*.py`. What a tensor-parallel engine replicates: vLLM `model_executor/layers/linear.py`
(`ReplicatedLinear`) and the norms. Which layers are left out: vLLM `deepseek_v2.py`
`get_spec_layer_idx_from_weight_name` (from `num_hidden_layers` on).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from deployer.models.names import printable
from deployer.models.safetensors import Tensor, broken
from deployer.types import WeightLayout

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d{1,5})\.")
_INPUT = re.compile(
    r"(?:embed_tokens(?:_per_layer)?|word_embeddings|position_embeddings|token_type_embeddings|wte|wpe)\.weight$"
)
_TOWER = re.compile(
    r"^(?:model\.|base_model\.|thinker\.)?(?:vision_tower|vision_model|vision_encoder|vision_embed_tokens|vision_adapter|"
    r"visual|vit|multi_modal_projector|mm_projector|vision_proj\w*|patch_merger|image_newline|embed_vision|audio_tower|"
    r"audio_encoder|audio_model|audio_projector|embed_audio)(?:\.|$)"
)
_DRAFT = re.compile(r"(?:^|\.)mtp\.")
_EXPERT = re.compile(r"\.experts\.")
_REPLICATED = re.compile(
    r"norm\d*\.(?:weight|bias)$|(?:^|\.)ln_\w+\.(?:weight|bias)$|LayerNorm\.(?:weight|bias)$|"
    r"\.(?:mlp|block_sparse_moe|feed_forward)\.(?:gate|router)\.|e_score_correction_bias$|shared_expert_gate\.|"
    r"\.(?:q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj_with_mqa)\."
)
_SIDE_DATA = re.compile(
    r"\.(?:scales|qzeros|g_idx|weight_scale|weight_scale_inv|weight_scale_2|weight_zero_point|weight_shape|weight_g_idx|"
    r"weight_global_scale|input_global_scale|input_scale|k_scale|v_scale)$|_scales$|_scale_inv$"
)
_PACKED = (".qweight", ".weight_packed")
_NIBBLES = "_blocks"  # MXFP4 of gpt-oss: two weights a byte

_Place = Literal["input", "layer", "output", "tower", "unloaded"]


class Weights(msgspec.Struct, frozen=True):
    """Exact bytes by place, and the number of weights."""

    layout: WeightLayout
    parameters: int


def weights_of(tables: Iterable[tuple[str, Mapping[str, Tensor]]], layers: int, bits: int) -> Weights:
    """Weights of all files together, each with a label for messages.

    `bits` is the width of one packed (`qweight`, `weight_packed`) weight. Raises ModelFileError for a tensor in two
    files.
    """
    sums = {"input": 0, "output": 0, "tower": 0, "unloaded": 0}
    by_layer, experts, replicated, count = [0] * layers, [0] * layers, 0, 0
    seen: set[str] = set()
    for label, tensors in tables:
        for name, tensor in tensors.items():
            if name in seen:
                raise broken(label, f"tensor {printable(name)!r} is in two files")
            seen.add(name)
            count += _weights(name, tensor, bits)
            place, layer = place_of(name, layers)
            if place == "layer":
                by_layer[layer] += tensor.bytes
                experts[layer] += tensor.bytes if _EXPERT.search(name) else 0
            else:
                sums[place] += tensor.bytes
            if place not in {"tower", "unloaded"} and _REPLICATED.search(name):
                replicated += tensor.bytes
    layout = WeightLayout(
        input_bytes=sums["input"],
        layer_bytes=tuple(by_layer),
        output_bytes=sums["output"] + sums["tower"],
        replicated_bytes=replicated,
        expert_bytes=tuple(experts) if any(experts) else (),
        tower_bytes=sums["tower"],
        unloaded_bytes=sums["unloaded"],
    )
    return Weights(layout, count)


def place_of(name: str, layers: int) -> tuple[_Place, int]:
    """Where a tensor belongs, and its layer (0 elsewhere). What is in no layer and is no input counts as output."""
    if _TOWER.search(name):
        return "tower", 0
    match = _LAYER.search(name)
    if _DRAFT.search(name) or (match and int(match[1]) >= layers):
        return "unloaded", 0
    if match:
        return "layer", int(match[1])
    return ("input" if _INPUT.search(name) else "output"), 0


def _weights(name: str, tensor: Tensor, bits: int) -> int:
    if _SIDE_DATA.search(name):
        return 0
    if name.endswith(_NIBBLES) and tensor.dtype == "U8":
        return tensor.elements * 2
    if name.endswith(_PACKED):
        return tensor.bytes * 8 // bits
    return tensor.elements
