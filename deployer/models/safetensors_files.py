"""The weights of a model in safetensors files of a folder, and which files its index names.

Files of a repository that its index does not name (adapters, another packaging of the same weights) are left out.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.errors import ModelFileError
from deployer.models.names import printable
from deployer.models.safetensors import broken, read_tensors
from deployer.models.safetensors_weights import Weights, weights_of
from deployer.models.source import FileSource

INDEX = "model.safetensors.index.json"
MAX_INDEX_BYTES = 32 << 20  # 92,000 tensors of DeepSeek-V3 take 9 MB


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def folder_weights(folder: Path, names: Sequence[str], layers: int, bits: int) -> Weights:
    """Exact weights of the files of a folder. Raises ModelFileError, BadInputError."""
    index = folder / INDEX
    used = indexed(_bounded(index), names, str(index)) if index.is_file() else tuple(names)
    tables = []
    for name in used:
        with FileSource(folder / name) as source:
            tables.append((name, read_tensors(source)))
    return weights_of(tables, layers, bits)


def indexed(data: bytes, names: Sequence[str], label: str) -> tuple[str, ...]:
    """The files that an index names, which must all be there. Raises ModelFileError."""
    try:
        found = {*msgspec.json.decode(data, type=_Index).weight_map.values()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(label, f"cannot be read: {printable(str(error))}") from None
    if missing := sorted(found - {*names}):
        raise broken(label, f"names files that are not there: {printable(', '.join(missing), 200)}")
    if not found:
        raise broken(label, "names no files")
    return tuple(name for name in names if name in found)


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise ModelFileError(f"{path}: larger than {MAX_INDEX_BYTES >> 20} MiB", hint="download it again")
    return path.read_bytes()
