"""GGUF files without weights: a header in a sparse file of the model's full length, to be measured, not run.

llama.cpp b11434 `common_get_device_memory_data` (common/fit.cpp) loads a model with `no_alloc`: it reads the header,
checks that the tensors lie inside the file, and reads none of them.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from deployer.errors import ModelFileError
from deployer.models import gguf
from deployer.models.architecture import architecture_name
from deployer.models.gguf_names import part_names
from deployer.models.gguf_types import GGML_TYPES
from deployer.models.local import joined
from deployer.models.opening import opened
from deployer.models.remote import windows
from deployer.models.source import ByteSource, FileSource
from deployer.types import ModelVariant

_COPY_BYTES = 4 << 20
_STRING, _U32 = 8, 4
_NUMBERS = {kind.name: number for number, kind in GGML_TYPES.items()}
_KEPT_TOKENIZER_KEYS = frozenset({"tokenizer.ggml.token_type_count"})  # a row count of BERT's, not of the vocabulary


class Skeleton(msgspec.Struct, frozen=True, kw_only=True):
    """Files that stand for a model: `paths[0]` is given to the engine, the others are its further parts."""

    paths: tuple[Path, ...]
    header: gguf.GgufHeader

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding; 0 where the model has none."""
        return next((item.shape[-1] for item in self.header.tensors if item.name == "token_embd.weight"), 0)


class _Copied:
    """A source whose bytes are written to the same place of a file as they are read, forward only."""

    def __init__(self, source: ByteSource, descriptor: int) -> None:
        self.label, self.size = source.label, source.size
        self._source, self._descriptor = source, descriptor
        self._end = 0
        self._skipped: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        """See ByteSource."""
        if offset > self._end:
            self._skipped.append((self._end, offset))
        data = self._source.read_at(offset, length)
        os.pwrite(self._descriptor, data, offset)
        self._end = max(self._end, offset + len(data))
        return data

    def copy_skipped(self, end: int) -> None:
        """Read what the reader of the header passed over (long arrays) before byte `end`."""
        for start, stop in (*self._skipped, (self._end, end)):
            for at in range(start, stop, _COPY_BYTES):
                os.pwrite(self._descriptor, self._source.read_at(at, min(_COPY_BYTES, stop - at)), at)


def write_header(variant: ModelVariant, store: Path, folder: Path) -> Skeleton:
    """All parts of a GGUF variant in `folder`, by names of ours; from the hub only the headers are read.

    Raises HubError, BadInputError, ModelFileError, OSError.
    """
    with opened(variant, store) as sources:
        names = part_names(f"model-00001-of-{len(sources):05d}.gguf") if len(sources) > 1 else ("model.gguf",)
        return write_skeleton(sources, [folder / name for name in names])


def write_skeleton(sources: Sequence[ByteSource], paths: Sequence[Path]) -> Skeleton:
    """Read the header of every part and write it to its path; what was not read is a hole. Raises ModelFileError.

    OSError when a path exists or the file system cannot hold a file of that length.
    """
    parts = zip(sources, paths, windows(len(sources)), strict=True)
    headers = [_write(source, path, window) for source, path, window in parts]
    return Skeleton(paths=tuple(paths), header=joined(headers, len(headers)))


def write_narrow(skeleton: Skeleton, rows: int, path: Path) -> None:
    """The same model with `rows` words and no tokenizer, as one file. Raises ModelFileError, OSError.

    All tensors keep their shape but those with a row for each word: the embedding, the output and its bias.
    """
    header = skeleton.header
    tensors = [_narrowed(tensor, skeleton.vocabulary, rows) for tensor in header.tensors]
    name = architecture_name(header)
    own = (_pair("tokenizer.ggml.model", _STRING, _text("no_vocab")), _pair(f"{name}.vocab_size", _U32, _u32(rows)))
    with FileSource(skeleton.paths[0]) as source:
        kept = [source.read_at(start, end - start) for start, end in _kept_spans(header, f"{name}.vocab_size")]
    infos, end = _infos(tensors, header.alignment)
    counts = struct.pack("<IQQ", header.version, len(tensors), len(kept) + len(own))
    head = b"".join((b"GGUF", counts, *kept, *own, *infos))
    with path.open("xb") as file:
        file.write(head)
        file.truncate(_padded(len(head), header.alignment) + end)


def _write(source: ByteSource, path: Path, window: int) -> gguf.GgufHeader:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        copied = _Copied(source, descriptor)
        header = gguf.read_header(copied, window=window)
        copied.copy_skipped(header.data_offset)
        os.ftruncate(descriptor, source.size)
    finally:
        os.close(descriptor)
    return header


def _kept_spans(header: gguf.GgufHeader, replaced: str) -> Iterator[tuple[int, int]]:
    for key, span in header.spans.items():
        of_tokenizer = key.startswith("tokenizer.") and key not in _KEPT_TOKENIZER_KEYS
        if not of_tokenizer and not key.startswith("split.") and key != replaced:
            yield span


def _narrowed(tensor: gguf.GgufTensor, vocabulary: int, rows: int) -> gguf.GgufTensor:
    if tensor.name.startswith("blk.") or not tensor.shape or tensor.shape[-1] != vocabulary:
        return tensor
    if len(tensor.shape) == 1 and tensor.type != "F32":
        raise ModelFileError(f"{tensor.name}: a bias that is not F32", hint="measure with the whole vocabulary")
    shape = (*tensor.shape[:-1], rows)
    return msgspec.structs.replace(tensor, shape=shape, bytes=tensor.bytes // vocabulary * rows)


def _infos(tensors: Sequence[gguf.GgufTensor], alignment: int) -> tuple[list[bytes], int]:
    """Tensor infos one after the other, and the length of the data that they describe."""
    infos, offset = [], 0
    for tensor in tensors:
        shape = b"".join(struct.pack("<Q", side) for side in tensor.shape)
        place = struct.pack("<IQ", _NUMBERS[tensor.type], offset)
        infos.append(_text(tensor.name) + _u32(len(tensor.shape)) + shape + place)
        offset = _padded(offset + tensor.bytes, alignment)
    return infos, offset


def _padded(length: int, alignment: int) -> int:
    return -(-length // alignment) * alignment


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + _u32(kind) + value


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)
