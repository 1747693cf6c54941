"""A model that is on this machine: one GGUF file or set, a folder of safetensors, or a file of a Python package."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, ModelFileError
from deployer.models import architecture, gguf, hf_config
from deployer.models.gguf_names import gguf_sets, is_projector, model_name, part_names
from deployer.models.names import printable, slug
from deployer.models.projector import projector_beside
from deployer.models.reference import FORMS, PackageReference
from deployer.models.safetensors_files import folder_weights
from deployer.models.selection import model_files
from deployer.paths import is_special
from deployer.types import Architecture, ModelSpec, ModelVariant, WeightLayout

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth"})


def from_path(path: Path) -> ModelSpec:
    """A `.gguf` file (any part of a split set) or a model folder. Raises BadInputError, ModelFileError."""
    if not path.exists():
        looks_like_a_repository = str(path).count("/") == 1 and not path.is_absolute()
        hint = f"for a model on the hub write hf:{path}" if looks_like_a_repository else FORMS
        raise BadInputError(f"{printable(str(path))}: no such file or folder", hint=printable(hint, 300))
    if is_special(path):
        raise BadInputError(f"{printable(str(path))}: not a regular file", hint="give a .gguf file or a model folder")
    if path.is_dir():
        return from_folder(path.resolve())
    files = part_names(path.name)
    # A link (as the cache of huggingface_hub makes them) is followed, so that mounting the file's folder works.
    found = (path.resolve(),) if len(files) == 1 else tuple(path.parent.resolve() / name for name in files)
    # A projector lies beside the link, not beside what it leads to.
    return with_projector(gguf_spec(found, names=files, source=str(found[0])), path.parent.resolve())


def with_projector(spec: ModelSpec, folder: Path) -> ModelSpec:
    """The spec with the projector that lies in `folder`, if there is one for this model."""
    found = projector_beside(folder, spec.architecture.embedding)
    if found is None:
        return spec
    variants = tuple(msgspec.structs.replace(variant, projector=found) for variant in spec.variants)
    return msgspec.structs.replace(spec, variants=variants)


def from_package(reference: PackageReference) -> ModelSpec:
    """A file that an installed package brought; the package is not imported. Raises BadInputError, ModelFileError."""
    path = package_path(reference)
    return gguf_spec((path,), names=(path.name,), source=f"package:{reference.module}/{reference.file}")


def package_path(reference: PackageReference) -> Path:
    """Where the file of a package is. `find_spec` of a top-level name runs no code of the package."""
    from importlib.util import find_spec

    try:
        spec = find_spec(reference.module)
    except ValueError:
        spec = None
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise BadInputError(
            f"no Python package {reference.module!r} is installed beside deployer",
            hint=f"pip install the package that has the module {reference.module}, in deployer's environment",
        )
    path = next((found for folder in folders if (found := Path(folder) / reference.file).is_file()), None)
    if path is None:
        raise BadInputError(
            f"the package {reference.module!r} has no file {printable(reference.file)!r}",
            hint=f"look into {printable(str(next(iter(folders))), 200)}",
        )
    return path.resolve()


def from_folder(folder: Path) -> ModelSpec:
    """A folder with exactly one GGUF model, or with config.json and safetensors files."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    sets = gguf_sets(names)
    label = printable(str(folder), 200)
    if len(sets) == 1:
        files = next(iter(sets.values()))
        spec = gguf_spec(tuple(folder / name for name in files), names=files, source=str(folder / files[0]))
        return with_projector(spec, folder)
    if sets:
        raise BadInputError(
            f"{label} holds {len(sets)} GGUF models: {printable(', '.join(sets), 300)}", hint="name one of the files"
        )
    weights = tuple(name for name in model_files(names) if name.endswith(".safetensors"))
    if "config.json" in names and weights:
        return safetensors_spec(folder, weights)
    raise _no_model(label, names)


def read_gguf(paths: Sequence[Path]) -> gguf.GgufHeader:
    """Header of a model in one or more files: keys of the first, tensors of all. Raises ModelFileError."""
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ModelFileError(
            f"{printable(str(paths[0].parent), 200)}: {len(missing)} of {len(paths)} parts are missing:"
            f" {printable(', '.join(missing), 200)}",
            hint="download all parts into one folder",
        )
    return joined([gguf.read_file(path) for path in paths], len(paths))


def joined(headers: Sequence[gguf.GgufHeader], parts: int) -> gguf.GgufHeader:
    """One header for a model in `parts` files: keys of the first, tensors of all."""
    count = headers[0].metadata.get("split.count", 1)
    if count != parts:
        raise ModelFileError(
            f"{headers[0].label}: says it is one of {printable(repr(count))} parts, its name says {parts}",
            hint="keep the part numbers in the file names",
        )
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    return msgspec.structs.replace(headers[0], tensors=tensors)


def gguf_spec(paths: Sequence[Path], *, names: Sequence[str], source: str) -> ModelSpec:
    """The spec of a GGUF model on this machine, with exact weights."""
    header = read_gguf(paths)
    numbers = architecture.architecture(header)
    variant = ModelVariant(
        format="gguf",
        quantization=architecture.quantization(header),
        source=source,
        files=tuple(names),
        size_bytes=sum(path.stat().st_size for path in paths),
        weights=architecture.weight_layout(header, numbers.layers),
        path=str(paths[0]),
        present=True,
    )
    return spec_of_header(header, numbers, name=model_name(names[0]), variants=(variant,), source=source)


def spec_of_header(
    header: gguf.GgufHeader, numbers: Architecture, *, name: str, variants: tuple[ModelVariant, ...], source: str
) -> ModelSpec:
    """A spec with title, license and size as the header states them."""
    count = architecture.parameters(header)
    title = header.metadata.get("general.name") or name
    licence = header.metadata.get("general.license")
    return ModelSpec(
        name=name,
        title=f"{printable(str(title))} ({architecture.size_label(count)})",
        architecture=numbers,
        parameters=count,
        variants=variants,
        license=printable(licence) if isinstance(licence, str) else None,
        embedding=architecture.is_embedding(header) or architecture.is_reranker(header),
        source=source,
        reranker=architecture.is_reranker(header),
    )


def safetensors_spec(folder: Path, weights: Sequence[str]) -> ModelSpec:
    """The spec of a transformers model on this machine, with exact weights."""
    label = printable(str(folder), 200)
    if links := [name for name in weights if (folder / name).is_symlink()]:
        raise BadInputError(
            f"{label}: {printable(links[0])} is a link out of the folder, which a container cannot follow",
            hint="use the hf: reference of the model, or: hf download REPO --local-dir DIR",
        )
    config = hf_config.parse_config(_read_bounded(folder / "config.json", label), label)
    refuse_code_beside(folder, label, config)
    read = folder_weights(folder, weights, config.architecture.layers, config.bits)
    variant = ModelVariant(
        format=config.format,
        quantization=config.quantization,
        source=str(folder),
        files=tuple(weights),
        size_bytes=sum((folder / name).stat().st_size for name in weights),
        weights=read.layout,
        path=str(folder),
        present=True,
    )
    return ModelSpec(
        name=slug(folder.name),
        title=f"{printable(folder.name)} ({architecture.size_label(read.parameters)})",
        architecture=config.architecture,
        parameters=read.parameters,
        variants=(variant,),
        embedding=config.embedding,
        source=str(folder),
        reranker=config.reranker,
    )


def exact_weights(variant: ModelVariant) -> WeightLayout | None:
    """Weights of a variant whose bytes are here, from its own files; None when they cannot say."""
    if not variant.present or variant.path is None:
        return None
    path = Path(variant.path)
    if variant.format != "gguf":
        return from_folder(path).variants[0].weights
    header = read_gguf([path.parent / Path(name).name for name in part_names(path.name)])
    return architecture.weight_layout(header, architecture.architecture(header).layers)


def refuse_code_beside(folder: Path, label: str, config: hf_config.Config) -> None:
    """Raise ModelFileError when tokenizer_config.json asks for code, or when code that config.json names lies here."""
    path = folder / "tokenizer_config.json"
    if path.is_file():
        hf_config.refuse_tokenizer_code(_read_bounded(path, label), f"{label}: {path.name}")
    if config.names_code and (code := sorted(entry.name for entry in folder.glob("*.py"))):
        raise ModelFileError(
            f"{label}: config.json names Python code, and it lies beside it: {printable(', '.join(code), 200)}",
            hint="remove the .py files: the engine has this architecture itself and needs none of them",
        )


def _read_bounded(path: Path, label: str) -> bytes:
    limit = hf_config.MAX_CONFIG_BYTES
    if path.stat().st_size > limit:
        raise ModelFileError(f"{label}: {path.name} is larger than {limit >> 20} MiB", hint="download it again")
    return path.read_bytes()


def _no_model(label: str, names: Sequence[str]) -> BadInputError:
    pickles = [name for name in names if Path(name).suffix.lower() in PICKLES]
    if pickles:
        return ModelFileError(
            f"{label}: the weights are pickle files ({printable(', '.join(pickles[:3]), 200)}), which can run code"
            " when they are loaded",
            hint="use the safetensors or GGUF files of this model",
        )
    if projectors := [name for name in names if is_projector(name)]:
        return BadInputError(
            f"{label}: {printable(projectors[0])} is a projector (it reads pictures for a model), and no model is here",
            hint="put the model's own .gguf file into this folder",
        )
    return BadInputError(f"{label}: neither a GGUF file, nor config.json with *.safetensors files", hint=FORMS)
