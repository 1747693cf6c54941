"""What the names of GGUF files say: parts of a split set, quantization, companions that are no model."""

import re
from collections.abc import Sequence

from deployer.errors import ModelFileError
from deployer.models.gguf_types import FILE_TYPES
from deployer.models.names import printable, slug

MAX_PARTS = 1000
_KNOWN = frozenset(FILE_TYPES.values())
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_PRECISION = re.compile(r"(?<![a-z0-9])(?:bf16|fp?16|q8_0|fp?32)(?![a-z0-9])")
_PREFERRED = ("f16", "fp16", "bf16", "q8_0", "f32", "fp32")
_QUANTIZATION = re.compile(
    r"[._-]((?:UD[._-])?(?:I?Q\d[A-Za-z0-9_]*|TQ\d_\d|MXFP4[A-Z_]*|NVFP4|BF16|F16|F32|FP16|FP32))$", re.IGNORECASE
)


def gguf_sets(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """GGUF models among file names: first file to all its files. Vision projectors and importance data are left out."""
    models = [name for name in names if name.lower().endswith(".gguf") and not _is_companion(name)]
    sets = {part_names(name)[0]: part_names(name) for name in models}
    return {first: parts for first, parts in sets.items() if set(parts) <= set(names) or len(parts) == 1}


def part_names(name: str) -> tuple[str, ...]:
    """All files of the set that `name` belongs to, in order; just `name` when it is not split."""
    folder, slash, last = name.rpartition("/")
    match = _PART.fullmatch(last)
    if match is None:
        return (name,)
    count = int(match["count"])
    if not 1 <= int(match["number"]) <= count <= MAX_PARTS:
        raise ModelFileError(
            f"{printable(name)}: part numbers make no sense", hint="rename the file, or download it again"
        )
    stem = f"{folder}{slash}{match['stem']}"
    return tuple(f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def named_quantization(name: str) -> str | None:
    """Quantization that a file name promises (`x-Q4_K_M.gguf`, `x.Q4_1.gguf`), or None."""
    match = _PART.fullmatch(name)
    stem = match["stem"] if match else re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)
    found = _QUANTIZATION.search(stem)
    return None if found is None else re.sub(r"^FP", "F", found[1].upper().replace("UD_", "UD-"))


def known_quantization(label: str) -> str:
    """The quantization that llama.cpp names, nearest to what a file name says: `UD-Q4_K_XL` is a Q4_K_M in its header.

    Makers of GGUF files add `UD-`, `_L` and `_XL` for mixtures with a few larger tensors. `unknown` when there is none.
    """
    plain = label.upper().removeprefix("UD-")
    base = plain.removesuffix("_XL").removesuffix("_L")
    tried = (plain, f"{base}_M", base, base.replace("_K", "_0"))
    return next((name for name in tried if name in _KNOWN), "unknown")


def model_name(name: str) -> str:
    """A short name for a model, from the name of its file without part number, ending and quantization."""
    match = _PART.fullmatch(name)
    stem = match["stem"] if match else re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)
    return slug(_QUANTIZATION.sub("", stem))


def _is_companion(name: str) -> bool:
    return is_projector(name) or "imatrix" in name.rpartition("/")[2].lower()


def is_projector(name: str) -> bool:
    """Whether a file name is one of a projector (`mmproj-F16.gguf`, `model-mmproj.gguf`)."""
    last = name.rpartition("/")[2].lower()
    return "mmproj" in last and last.endswith(".gguf")


def projector_for(names: Sequence[str], model: str) -> str | None:
    """The projector of a repository that belongs to a model's file, or None where there is none.

    Of those in the model's folder or the nearest one above it, the most exact that every GPU computes with: F16 before
    BF16, Q8_0 and F32. Where they lie: llama.cpp common/download.cpp `find_best_mmproj`.
    """
    folder = model.rpartition("/")[0]
    fitting = [name for name in names if is_projector(name) and _holds(name.rpartition("/")[0], folder)]
    return min(fitting, key=lambda name: (-name.count("/"), _precision(name), name), default=None)


def _holds(above: str, folder: str) -> bool:
    return not above or f"{folder}/".startswith(f"{above}/")


def _precision(name: str) -> int:
    found = _PRECISION.search(name.rpartition("/")[2].lower())
    return len(_PREFERRED) if found is None else _PREFERRED.index(found[0])
