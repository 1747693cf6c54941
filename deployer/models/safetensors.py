"""Exact weights of a safetensors model, from the headers of its files (safetensors format 0.4: 8-byte length, JSON)."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.errors import ModelFileError
from deployer.models.names import printable
from deployer.models.source import ByteSource, FileSource
from deployer.types import WeightLayout

MAX_HEADER_BYTES = 16 << 20
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d{1,5})\.")
_INPUT = re.compile(r"(?:embed_tokens|word_embeddings|position_embeddings|token_type_embeddings|wte)\.weight$")
_SIDE_DATA = re.compile(r"\.(?:scales|qzeros|g_idx|weight_scale|weight_scale_inv|input_scale)$|_scales$")
_NIBBLES = "_blocks"  # MXFP4 of gpt-oss: two weights a byte
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}


class _Tensor(msgspec.Struct, frozen=True, gc=False):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Weights(msgspec.Struct, frozen=True):
    """Exact bytes by place, and the number of weights."""

    layout: WeightLayout
    parameters: int


def read_weights(paths: Sequence[Path], layers: int, bits: int) -> Weights:
    """Weights of all files together; `bits` is the width of one packed (`qweight`) weight. Raises ModelFileError."""
    by_layer, first, last, count = [0] * layers, 0, 0, 0
    seen: set[str] = set()
    for path in paths:
        with FileSource(path) as source:
            tensors = read_tensors(source)
        for name, tensor in tensors.items():
            if name in seen:
                raise _broken(path.name, f"tensor {printable(name)!r} is in two files")
            seen.add(name)
            length = tensor.data_offsets[1] - tensor.data_offsets[0]
            count += _weights(name, tensor, bits)
            match = _LAYER.search(name)
            if match and int(match[1]) < layers:
                by_layer[int(match[1])] += length
            elif _INPUT.search(name):
                first += length
            else:
                last += length
    layout = WeightLayout(input_bytes=first, layer_bytes=tuple(by_layer), output_bytes=last)
    return Weights(layout, count)


def read_tensors(source: ByteSource) -> dict[str, _Tensor]:
    """Tensor table of one file, checked: shapes and offsets agree, nothing overlaps, all lies inside the file."""
    length = int.from_bytes(source.read_at(0, 8), "little")
    if not 0 < length <= min(MAX_HEADER_BYTES, source.size - 8):
        raise _broken(source.label, f"a header of {length} bytes in a file of {source.size}")
    try:
        raw = msgspec.json.decode(source.read_at(8, length), type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(value, type=_Tensor) for name, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(source.label, f"its header cannot be read: {printable(str(error))}") from None
    _check(source, tensors, source.size - 8 - length)
    return tensors


def _check(source: ByteSource, tensors: dict[str, _Tensor], data_bytes: int) -> None:
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = tensor.data_offsets
        if start < end or not start <= stop <= data_bytes or any(side < 0 for side in tensor.shape):
            raise _broken(source.label, f"tensor {printable(name)!r} overlaps another or lies outside the file")
        width = _BITS.get(tensor.dtype, 8 if tensor.dtype.startswith("F8_") else None)
        if width is not None and math.prod(tensor.shape) * width != (stop - start) * 8:
            raise _broken(source.label, f"tensor {printable(name)!r}: its shape does not match its bytes")
        end = stop


def _weights(name: str, tensor: _Tensor, bits: int) -> int:
    if _SIDE_DATA.search(name):
        return 0
    elements = math.prod(tensor.shape)
    if name.endswith(_NIBBLES) and tensor.dtype == "U8":
        return elements * 2
    return elements * 32 // bits if name.endswith(".qweight") else elements


def _broken(label: str, reason: str) -> ModelFileError:
    return ModelFileError(f"{label}: {reason}", hint="download the file again, or get it from another source")
