"""The header of a safetensors file, hostile or not: its tensor table, in bounded time and memory.

Format: huggingface/safetensors 0.6 `safetensors/src/tensor.rs` (8-byte length, JSON); refused as there: offsets that
overlap, leave a hole or lie outside, and shapes that do not match their bytes. Limits are added.
"""

import math

import msgspec

from deployer.errors import ModelFileError
from deployer.models.names import printable
from deployer.models.source import ByteSource

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 1 << 17
MAX_NAME_BYTES = 512
MAX_DIMENSIONS = 8
FIRST_BYTES = 64 << 10  # holds most headers, so that one request over the network is enough
_PREFIX_BYTES = 8
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6,
    "F4": 4,
}  # fmt: skip


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor: its type, shape, and where its bytes begin and end in the data."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def bytes(self) -> int:
        """Length of its data."""
        return self.data_offsets[1] - self.data_offsets[0]

    @property
    def elements(self) -> int:
        """Number of stored values."""
        return math.prod(self.shape)


def read_tensors(source: ByteSource) -> dict[str, Tensor]:
    """Tensor table of one file, checked, in one read or two. Raises ModelFileError."""
    first = source.read_at(0, FIRST_BYTES)
    length = int.from_bytes(first[:_PREFIX_BYTES], "little")
    if not 0 < length <= min(MAX_HEADER_BYTES, source.size - _PREFIX_BYTES):
        raise broken(source.label, f"a header of {length} bytes in a file of {source.size}")
    end = _PREFIX_BYTES + length
    rest = source.read_at(len(first), end - len(first)) if end > len(first) else b""
    text = (first + rest)[_PREFIX_BYTES:end]
    if len(text) < length:
        raise broken(source.label, "the file is cut short")
    tensors = _decode(text, source.label)
    _check(source.label, tensors, source.size - end)
    return tensors


def _decode(text: bytes, label: str) -> dict[str, Tensor]:
    try:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        if len(raw) > MAX_TENSORS:
            raise broken(label, f"{len(raw)} tensors; {MAX_TENSORS} is the limit")
        tensors = {name: msgspec.json.decode(value, type=Tensor) for name, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(label, f"its header cannot be read: {printable(str(error))}") from None
    # A decoder keeps the last of equal keys: every tensor has these words once, so a further one is hidden by another.
    if text.count(b'"data_offsets"') != len(tensors):
        raise broken(label, "a tensor or a key of one is there twice")
    return tensors


def _check(label: str, tensors: dict[str, Tensor], data_bytes: int) -> None:
    """Shapes and offsets agree, and the tensors lie one after the other from the first byte to the last."""
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        shown = printable(name)
        start, stop = tensor.data_offsets
        if len(name.encode()) > MAX_NAME_BYTES or len(tensor.shape) > MAX_DIMENSIONS:
            raise broken(label, f"tensor {shown!r}: its name or its shape is too long")
        if start != end or not start <= stop <= data_bytes or any(side < 0 for side in tensor.shape):
            raise broken(label, f"tensor {shown!r} overlaps another, leaves a hole or lies outside the file")
        width = _BITS.get(tensor.dtype)
        if width is not None and tensor.elements * width != tensor.bytes * 8:
            raise broken(label, f"tensor {shown!r}: its shape does not match its bytes")
        end = stop
    if end != data_bytes:
        raise broken(label, f"its tensors end at byte {end} of {data_bytes}")


def broken(label: str, reason: str) -> ModelFileError:
    """The error for a file that cannot be used."""
    return ModelFileError(f"{label}: {reason}", hint="download the file again, or get it from another source")
