"""Reading the header of a GGUF file, hostile or not, in bounded time and memory.

Format: ggml docs/gguf.md (versions 2 and 3, little endian). What is refused follows ggml/src/gguf.cpp of llama.cpp
b11434 (nested arrays, more than 4 dimensions, tensors that do not lie one after the other), with limits added.
"""

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec

from deployer.models.cursor import WINDOW, Cursor
from deployer.models.gguf_types import GGML_TYPES
from deployer.models.names import printable
from deployer.models.source import ByteSource, FileSource

Scalar = int | float | bool | str

MAX_KEYS = 16_384
MAX_KEY_BYTES = 512
MAX_TENSORS = 65_536
MAX_TENSOR_NAME_BYTES = 127
MAX_DIMENSIONS = 4
MAX_DIMENSION = 1 << 40
MAX_STRING_ELEMENTS = 4_000_000  # all string arrays together
MAX_ALIGNMENT = 1 << 20
KEPT_STRING_BYTES = 4096
KEPT_TEXT_BYTES = 1 << 20  # all kept strings together
KEPT_ARRAY_ELEMENTS = 1024
KEPT_ELEMENTS = 65_536  # all kept arrays together

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PREAMBLE_BYTES = 24
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    _BOOL: struct.Struct("<B"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}


class GgufTensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor: `shape` innermost first, `offset` and `bytes` relative to the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class GgufArray(msgspec.Struct, frozen=True):
    """An array of the metadata: its length, and its values when they are few and numeric."""

    length: int
    values: tuple[int | float, ...] | None = None


class GgufHeader(msgspec.Struct, frozen=True, kw_only=True):
    """All of a GGUF file but its weights. Strings over 4 KiB are in `long_strings` by length only.

    `spans`: where each key with its value begins and ends in the file.
    """

    label: str
    version: int
    metadata: Mapping[str, Scalar]
    arrays: Mapping[str, GgufArray]
    long_strings: Mapping[str, int]
    tensors: tuple[GgufTensor, ...]
    alignment: int
    data_offset: int
    size: int
    spans: Mapping[str, tuple[int, int]] = {}


def read_file(path: Path) -> GgufHeader:
    """Header of a local file. Raises BadInputError when it cannot be opened, ModelFileError when it is not sound."""
    with FileSource(path) as source:
        return read_header(source)


def read_header(source: ByteSource, *, window: int = WINDOW) -> GgufHeader:
    """Header from any source, reading `window` bytes at a time. Raises ModelFileError."""
    return _Reader(Cursor(source, window=window), source).read()


class _Reader:
    """One pass over one header; holds what is left of each budget."""

    def __init__(self, cursor: Cursor, source: ByteSource) -> None:
        self._cursor = cursor
        self._source = source
        self._string_elements = MAX_STRING_ELEMENTS
        self._text_bytes = KEPT_TEXT_BYTES
        self._kept_elements = KEPT_ELEMENTS
        self._metadata: dict[str, Scalar] = {}
        self._arrays: dict[str, GgufArray] = {}
        self._long_strings: dict[str, int] = {}
        self._spans: dict[str, tuple[int, int]] = {}

    def read(self) -> GgufHeader:
        version, tensor_count, key_count = self._preamble()
        for _ in range(key_count):
            self._pair()
        alignment = self._alignment()
        infos = [self._tensor() for _ in range(tensor_count)]
        data_offset = -(-self._cursor.position // alignment) * alignment
        self._check_layout(infos, alignment, data_offset)
        return GgufHeader(
            label=self._source.label,
            version=version,
            metadata=self._metadata,
            arrays=self._arrays,
            long_strings=self._long_strings,
            tensors=tuple(infos),
            alignment=alignment,
            data_offset=data_offset,
            size=self._source.size,
            spans=self._spans,
        )

    def _preamble(self) -> tuple[int, int, int]:
        cursor = self._cursor
        if self._source.size < _PREAMBLE_BYTES:
            raise cursor.failure("the file is too short to be a GGUF file")
        if (magic := cursor.take(4)) == b"vers":
            raise cursor.failure("a Git LFS pointer, not the model: `git lfs pull` was not run")
        if magic != b"GGUF":
            raise cursor.failure(f"not a GGUF file: it starts with {magic.hex(' ')}")
        version = cursor.u32()
        if version in {0x02000000, 0x03000000}:
            raise cursor.failure("a big-endian GGUF file, which no x86 or ARM engine loads")
        if version not in {2, 3}:
            raise cursor.failure(f"GGUF version {version}; versions 2 and 3 are known")
        tensors, keys = cursor.u64(), cursor.u64()
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise cursor.failure(f"{tensors} tensors and {keys} keys; {MAX_TENSORS} and {MAX_KEYS} are the limits")
        return version, tensors, keys

    def _text(self, limit: int, what: str) -> str:
        length = self._cursor.u64()
        if not 0 < length <= limit:
            raise self._cursor.failure(f"{what} of {length} bytes; 1 to {limit} are accepted")
        return self._decode(self._cursor.take(length), what)

    def _decode(self, data: bytes, what: str) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._cursor.failure(f"{what} is not UTF-8: {printable(data)!r}") from None

    def _name(self, limit: int, what: str) -> str:
        name = self._text(limit, what)
        if not name.isprintable():
            raise self._cursor.failure(f"{what} holds control characters: {printable(name)!r}")
        return name

    def _pair(self) -> None:
        start = self._cursor.position
        key = self._name(MAX_KEY_BYTES, "a key")
        if key in self._metadata or key in self._arrays or key in self._long_strings:
            raise self._cursor.failure(f"the key {printable(key)!r} appears twice")
        kind = self._cursor.u32()
        if kind == _ARRAY:
            self._arrays[key] = self._array(key)
        elif kind == _STRING:
            self._string(key)
        else:
            self._metadata[key] = self._numbers(key, kind, 1)[0]
        self._spans[key] = (start, self._cursor.position)

    def _string(self, key: str) -> None:
        length = self._cursor.u64()
        if length > KEPT_STRING_BYTES or length > self._text_bytes:
            self._cursor.skip(length)
            self._long_strings[key] = length
            return
        self._text_bytes -= length
        value = self._decode(self._cursor.take(length), f"the value of {printable(key)!r}")
        if not key.startswith("tokenizer.") and _CONTROL.search(value):
            raise self._cursor.failure(f"{printable(key)!r} holds control characters: {printable(value)!r}")
        self._metadata[key] = value

    def _numbers(self, key: str, kind: int, count: int) -> tuple[int | float | bool, ...]:
        layout = _SCALARS.get(kind)
        if layout is None:
            raise self._cursor.failure(f"{printable(key)!r} has the unknown value type {kind}")
        values = tuple(value for (value,) in layout.iter_unpack(self._cursor.take(layout.size * count)))
        if kind != _BOOL:
            return values
        if any(value > 1 for value in values):
            raise self._cursor.failure(f"{printable(key)!r} is neither true nor false")
        return tuple(value == 1 for value in values)

    def _array(self, key: str) -> GgufArray:
        kind, length = self._cursor.u32(), self._cursor.u64()
        if kind == _ARRAY:
            raise self._cursor.failure(f"{printable(key)!r} is an array of arrays, which no engine loads")
        if kind == _STRING:
            self._string_elements -= length
            if self._string_elements < 0:
                raise self._cursor.failure(f"{printable(key)!r}: more than {MAX_STRING_ELEMENTS} strings in all arrays")
            self._cursor.skip_strings(length)
            return GgufArray(length)
        if length <= min(KEPT_ARRAY_ELEMENTS, self._kept_elements):
            self._kept_elements -= length
            return GgufArray(length, self._numbers(key, kind, length))
        if kind not in _SCALARS:
            raise self._cursor.failure(f"{printable(key)!r} has the unknown element type {kind}")
        self._cursor.skip(_SCALARS[kind].size * length)
        return GgufArray(length)

    def _alignment(self) -> int:
        value = self._metadata.get("general.alignment", 32)
        if type(value) is not int or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
            shown = printable(str(value))
            raise self._cursor.failure(f"general.alignment is {shown}, not a power of two up to {MAX_ALIGNMENT}")
        return value

    def _tensor(self) -> GgufTensor:
        name = self._name(MAX_TENSOR_NAME_BYTES, "a tensor name")
        dimensions = self._cursor.u32()
        if dimensions > MAX_DIMENSIONS:
            raise self._cursor.failure(f"tensor {printable(name)!r} has {dimensions} dimensions; 4 at most")
        shape = tuple(self._cursor.u64() for _ in range(dimensions))
        elements = math.prod(shape)
        if elements == 0 or elements > MAX_DIMENSION:
            raise self._cursor.failure(f"tensor {printable(name)!r} has the impossible shape {shape}")
        kind = GGML_TYPES.get(number := self._cursor.u32())
        if kind is None:
            raise self._cursor.failure(f"tensor {printable(name)!r} has the unknown type {number}")
        if (shape[0] if shape else 1) % kind.elements:
            raise self._cursor.failure(f"tensor {printable(name)!r}: its rows are no whole {kind.name} blocks")
        return GgufTensor(name, shape, kind.name, self._cursor.u64(), elements // kind.elements * kind.bytes)

    def _check_layout(self, tensors: list[GgufTensor], alignment: int, data_offset: int) -> None:
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise self._cursor.failure("two tensors have the same name")
        expected = 0
        for tensor in tensors:
            if tensor.offset != expected:
                raise self._cursor.failure(
                    f"tensor {printable(tensor.name)!r} has offset {tensor.offset}, expected {expected}"
                )
            end = data_offset + tensor.offset + tensor.bytes
            if end > self._source.size:
                raise self._cursor.failure(
                    f"the file is cut short: tensor {printable(tensor.name)!r} ends at byte {end},"
                    f" the file has {self._source.size}"
                )
            expected = -(-(tensor.offset + tensor.bytes) // alignment) * alignment
