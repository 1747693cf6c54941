"""Small projectors made by code, as llama.cpp's own converter lays them out; a real llama-server loads them."""

from pathlib import Path

import gguf
import numpy as np

Shapes = dict[str, tuple[int, ...]]
PATCH = 16


def write_projector(
    path: Path,
    kind: str = "qwen3vl_merger",
    *,
    projection: int = 64,
    width: int = 32,
    wide: int = 128,
    layers: int = 2,
    image_size: int = 64,
    architecture: str = "clip",
) -> Path:
    """A projector to `projection` elements; shapes are innermost last, matrices of 16 bits."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(kind)
    writer.add_vision_image_size(image_size)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(width)
    writer.add_vision_feed_forward_length(wide)
    writer.add_vision_block_count(layers)
    writer.add_vision_head_count(4)
    writer.add_vision_projection_dim(projection)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)
    shapes = _ends(kind, projection, width, image_size)
    for layer in range(layers):
        shapes |= {f"v.blk.{layer}.{name}": shape for name, shape in _layer(kind, width, wide).items()}
    for name, shape in shapes.items():
        kept = np.float16 if len(shape) > 1 and "position" not in name else np.float32
        writer.add_tensor(name, np.zeros(shape, kept))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _layer(kind: str, width: int, wide: int) -> Shapes:
    norms: Shapes = {"ln1.weight": (width,), "ln2.weight": (width,), "attn_out.weight": (width, width)}
    products: Shapes = {"ffn_up.weight": (wide, width), "ffn_down.weight": (width, wide)}
    apart: Shapes = {f"attn_{part}.weight": (width, width) for part in "qkv"}
    if kind == "gemma4v":
        return norms | products | apart | {"ffn_gate.weight": (wide, width)}
    biases: Shapes = {"ln1.bias": (width,), "ln2.bias": (width,), "attn_out.bias": (width,)}
    biases |= {"ffn_up.bias": (wide,), "ffn_down.bias": (width,)}
    if kind == "qwen3vl_merger":
        return norms | products | biases | {"attn_qkv.weight": (3 * width, width), "attn_qkv.bias": (3 * width,)}
    return norms | products | biases | apart | {f"attn_{part}.bias": (width,) for part in "qkv"}


def _ends(kind: str, projection: int, width: int, image_size: int) -> Shapes:
    places = (image_size // PATCH) ** 2
    first: Shapes = {"v.patch_embd.weight": (width, 3, PATCH, PATCH), "v.position_embd.weight": (places, width)}
    if kind == "gemma4v":
        first["v.position_embd.weight"] = (2, 1024, width)
        return first | {"mm.input_projection.weight": (projection, width)}
    first |= {"v.patch_embd.bias": (width,), "v.post_ln.weight": (width,), "v.post_ln.bias": (width,)}
    if kind == "gemma3":
        return first | {"mm.input_projection.weight": (width, projection), "mm.soft_emb_norm.weight": (width,)}
    merged = 4 * width
    return first | {
        "v.patch_embd.weight.1": (width, 3, PATCH, PATCH),
        "mm.0.weight": (merged, merged),
        "mm.0.bias": (merged,),
        "mm.2.weight": (projection, merged),
        "mm.2.bias": (projection,),
    }
