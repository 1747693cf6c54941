"""The projector of a GGUF model, from its header.

Keys and tensor names: llama.cpp b11434 tools/mtmd/clip-impl.h and clip.cpp (`load_hparams`, `load_tensors`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from deployer.errors import BadInputError, ModelFileError
from deployer.models import gguf
from deployer.models.gguf_names import is_projector
from deployer.models.metadata import number
from deployer.types import Projector

ARCHITECTURE = "clip"
_SIDE, _WIDTH, _LAYERS, _PIXELS = 1 << 14, 1 << 20, 1 << 10, 1 << 30
_MERGE = 64
_WINDOWS = ("n_wa_pattern", "window_size")
_DEEPSTACK = re.compile(r"v\.deepstack\.(\d{1,4})\.fc1\.weight")


def projector_beside(folder: Path, embedding: int) -> Projector | None:
    """The one projector of `folder` that makes vectors of `embedding` elements.

    None where there is none or more than one (which one is meant is not known), and where it is of another model or
    cannot be read: the model is then served without it. Reads the header only.
    """
    names = sorted(entry.name for entry in folder.iterdir() if is_projector(entry.name) and entry.is_file())
    if len(names) != 1:
        return None
    try:
        found = projector_of((folder / names[0]).resolve())
    except (BadInputError, ModelFileError):
        return None
    return found if found.projection == embedding else None


def projector_of(path: Path) -> Projector:
    """A projector from its header. Raises ModelFileError when the file is no projector, or makes no sense."""
    return projector_in(gguf.read_file(path), path)


def projector_in(header: gguf.GgufHeader, path: Path) -> Projector:
    """A projector from its header, which lies or will lie at `path`. Raises ModelFileError as `projector_of`."""
    if header.metadata.get("general.architecture") != ARCHITECTURE:
        raise ModelFileError(f"{header.label}: is no projector", hint="give the mmproj file of the model")
    sees = f"{ARCHITECTURE}.vision.embedding_length" in header.metadata
    part = f"{ARCHITECTURE}.{'vision' if sees else 'audio'}"
    names = {tensor.name for tensor in header.tensors}
    return Projector(
        path=str(path),
        kind=_kind(header, part),
        weight_bytes=sum(tensor.bytes for tensor in header.tensors),
        image_size=number(header, f"{part}.image_size", low=1, high=_SIDE) if sees else 0,
        patch_size=number(header, f"{part}.patch_size", low=1, high=_SIDE) if sees else 0,
        layers=number(header, f"{part}.block_count", high=_LAYERS),
        embedding=number(header, f"{part}.embedding_length", low=1, high=_WIDTH),
        feed_forward=number(header, f"{part}.feed_forward_length", high=_WIDTH),
        heads=number(header, f"{part}.attention.head_count", high=_WIDTH),
        projection=number(header, f"{part}.projection_dim", low=1, high=_WIDTH),
        max_pixels=number(header, f"{part}.image_max_pixels", high=_PIXELS, default=0),
        merge=_merge(header, part),
        deepstack=sum(_DEEPSTACK.fullmatch(name) is not None for name in names),
        kernel_bytes=4 if _kernel(header.tensors) == "F32" else 2,
        windowed=any(f"{part}.{key}" in header.metadata for key in _WINDOWS),
        fused=f"{part[5]}.blk.0.attn_qkv.weight" in names,
        gated=f"{part[5]}.blk.0.ffn_gate.weight" in names,
    )


def _kind(header: gguf.GgufHeader, part: str) -> str:
    """How it projects: of a file that sees and hears, as its first part does."""
    found = header.metadata.get(f"{ARCHITECTURE}.projector_type", header.metadata.get(f"{part}.projector_type"))
    return found if isinstance(found, str) and re.fullmatch(r"[\w.-]{1,64}", found, re.ASCII) else ""


def _merge(header: gguf.GgufHeader, part: str) -> int:
    stated = number(header, f"{part}.spatial_merge_size", high=_MERGE, default=0)
    return stated or number(header, f"{part}.projector.scale_factor", high=_MERGE, default=0)


def _kernel(tensors: Sequence[gguf.GgufTensor]) -> str:
    return next((tensor.type for tensor in tensors if tensor.name == "v.patch_embd.weight"), "F16")
