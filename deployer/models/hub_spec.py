"""A model of the hub: from what the store has of it, else from the hub's listing and a header read over the network."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from deployer.errors import HubError
from deployer.models import architecture, gguf, hf_config, kept, local
from deployer.models.gguf_names import gguf_sets, known_quantization, model_name, named_quantization
from deployer.models.hub_projector import with_projectors
from deployer.models.hub_weights import read_each, remote_weights
from deployer.models.names import printable, slug
from deployer.models.opening import remote_parts
from deployer.models.reference import HubReference
from deployer.models.remote import windows
from deployer.models.selection import model_files, variant_path
from deployer.models.store import Manifest, Repository, RepoStore
from deployer.types import ModelSpec, ModelVariant

_TOKENIZER = "tokenizer_config.json"


def from_hub(reference: HubReference, store: Path) -> ModelSpec:
    """Spec of a hub repository, with one variant for each GGUF model in it, or one of safetensors.

    `file` picks one, by name or by quantization. What is in the store is read from there, without the network.
    Raises HubError, ModelFileError.
    """
    place = RepoStore.of(store, reference.repo)
    manifest = place.find(reference.revision)
    if manifest is not None and (spec := _from_store(reference, place, manifest)) is not None:
        return spec
    repository = kept.describe(place, reference.repo, reference.revision)
    names = [file.name for file in repository.files]
    if sets := gguf_sets(names):
        return _gguf_spec(_chosen(reference, sets), place, repository, manifest)
    return _safetensors_spec(place, repository, model_files(names), manifest)


def _from_store(reference: HubReference, place: RepoStore, manifest: Manifest) -> ModelSpec | None:
    """The spec when at least one of its variants is complete here, else None."""
    repository = manifest.repository
    names = [file.name for file in repository.files]
    if sets := gguf_sets(names):
        chosen = _chosen(reference, sets)
        if any(place.complete(manifest, parts) for parts in chosen.values()):
            return _gguf_spec(chosen, place, repository, manifest)
        return None
    if not place.complete(manifest, files := model_files(names)):
        return None
    return _safetensors_spec(place, repository, files, manifest)


def _chosen(reference: HubReference, sets: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The sets that `file` names: by a file of the set, or by quantization; all when it names none."""
    if reference.file is None:
        return dict(sets)
    wanted = reference.file
    chosen = {first: parts for first, parts in sets.items() if wanted in parts}
    chosen = chosen or {first: parts for first, parts in sets.items() if _label(first).lower() == wanted.lower()}
    if not chosen:
        raise HubError(
            f"hf:{reference.repo} has no {printable(wanted)!r}; it has: {printable(', '.join(sets), 600)}",
            hint=f"write hf:{reference.repo}:FILE, or a quantization for FILE",
            details={"files": list(sets)},
        )
    return chosen


def _gguf_spec(
    sets: Mapping[str, tuple[str, ...]], place: RepoStore, repository: Repository, manifest: Manifest | None
) -> ModelSpec:
    variants = tuple(_variant(place, repository, parts, manifest) for parts in sets.values())
    known = min(variants, key=lambda item: (not item.present, len(item.files), item.size_bytes or 0))
    header = _header(place, repository, known)
    numbers = architecture.architecture(header)
    weights = architecture.weight_layout(header, numbers.layers)
    exact = msgspec.structs.replace(known, weights=weights, quantization=architecture.quantization(header))
    made = tuple(exact if variant is known else variant for variant in variants)
    spec = local.spec_of_header(
        header,
        numbers,
        name=model_name(known.files[0].rpartition("/")[2]),
        variants=with_projectors(made, numbers.embedding, place, repository, manifest),
        source=_source(repository),
    )
    return msgspec.structs.replace(spec, gated=repository.gated, license=repository.license or spec.license)


def _variant(place: RepoStore, repository: Repository, parts: Sequence[str], manifest: Manifest | None) -> ModelVariant:
    files = {file.name: file for file in repository.files}
    return ModelVariant(
        format="gguf",
        quantization=known_quantization(_label(parts[0])),
        source=_source(repository),
        files=tuple(parts),
        size_bytes=sum(files[name].size for name in parts),
        sha256=tuple(files[name].sha256 or "" for name in parts),
        path=str(variant_path(place.folder(repository.commit), parts, "gguf")),
        present=manifest is not None and place.complete(manifest, parts),
    )


def _header(place: RepoStore, repository: Repository, variant: ModelVariant) -> gguf.GgufHeader:
    """Header of all parts, from disk or over the network; keys of the first, tensors of all."""
    if variant.present:
        folder = place.folder(repository.commit)
        return local.read_gguf([folder / name for name in variant.files])
    readers = [partial(gguf.read_header, window=window) for window in windows(len(variant.files))]
    return local.joined(read_each(place, repository, variant.files, readers), len(variant.files))


def _safetensors_spec(
    place: RepoStore, repository: Repository, names: Sequence[str], manifest: Manifest | None
) -> ModelSpec:
    files = {file.name: file for file in repository.files}
    if not names or "config.json" not in files:
        raise HubError(
            f"hf:{repository.repo} has neither GGUF files, nor config.json with safetensors files",
            hint="choose another repository of this model; pickle files (.bin, .pt) are never loaded",
        )
    folder = place.folder(repository.commit)
    present = manifest is not None and place.complete(manifest, names)
    size = sum(files[name].size for name in names if name.endswith(".safetensors"))
    found = local.from_folder(folder) if present else _spec_of_headers(place, repository, names)
    variant = msgspec.structs.replace(
        found.variants[0],
        source=_source(repository),
        files=tuple(names),
        size_bytes=size,
        sha256=tuple(files[name].sha256 or "" for name in names),
        path=str(folder),
        present=present,
    )
    return msgspec.structs.replace(
        found,
        name=slug(repository.repo.partition("/")[2]),
        title=repository.repo,
        variants=(variant,),
        license=repository.license,
        gated=repository.gated,
        source=_source(repository),
    )


def _spec_of_headers(place: RepoStore, repository: Repository, names: Sequence[str]) -> ModelSpec:
    """From config.json and the headers of the weights: exact bytes, none of the weights themselves."""
    label = f"hf:{repository.repo}"
    config = hf_config.parse_config(_small_file(place, repository, "config.json"), label)
    if _TOKENIZER in names:
        hf_config.refuse_tokenizer_code(_small_file(place, repository, _TOKENIZER), f"{label}: {_TOKENIZER}")
    files = [name for name in names if name.endswith(".safetensors")]
    read = remote_weights(place, repository, files, config.architecture.layers, config.bits)
    variant = ModelVariant(
        format=config.format, quantization=config.quantization, source="", files=(), weights=read.layout
    )
    return ModelSpec(
        name="",
        title="",
        architecture=config.architecture,
        parameters=read.parameters,
        variants=(variant,),
        embedding=config.embedding,
        reranker=config.reranker,
    )


def _small_file(place: RepoStore, repository: Repository, name: str) -> bytes:
    with remote_parts(place, repository, (name,)) as (part,):
        if part.size > hf_config.MAX_CONFIG_BYTES:
            raise HubError(f"{part.label}: is too large", hint="choose another repository")
        return part.read_at(0, part.size)


def _source(repository: Repository) -> str:
    return f"hf:{repository.repo}@{repository.commit}"


def _label(file: str) -> str:
    return named_quantization(file.rpartition("/")[2]) or ""
