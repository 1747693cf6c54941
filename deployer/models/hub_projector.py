"""Projectors of GGUF models on the hub: which file of the repository, and its numbers from its header alone."""

from functools import partial
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, HubError, ModelFileError
from deployer.models import gguf
from deployer.models.gguf_names import projector_for
from deployer.models.hub_weights import read_each
from deployer.models.projector import projector_in, projector_of
from deployer.models.remote import LATER_WINDOW
from deployer.models.source import ByteSource
from deployer.models.store import Manifest, Repository, RepoStore
from deployer.types import ModelVariant, Projector


def with_projectors(
    variants: tuple[ModelVariant, ...],
    embedding: int,
    place: RepoStore,
    repository: Repository,
    manifest: Manifest | None,
) -> tuple[ModelVariant, ...]:
    """Each variant with the projector of its repository that makes vectors of `embedding` elements, if there is one.

    One that cannot be read counts as none: the model is then served without it. Raises HubError only where no variant
    is on this machine, since the network is then needed anyway.
    """
    names = [file.name for file in repository.files]
    wanted = [projector_for(names, variant.files[0]) for variant in variants]
    needed = not any(variant.present for variant in variants)
    found = {
        name: _read(name, place, repository, manifest, needed=needed)
        for name in dict.fromkeys(wanted)
        if name is not None
    }
    chosen = [found.get(name or "") for name in wanted]
    return tuple(
        msgspec.structs.replace(variant, projector=projector)
        if projector is not None and projector.projection == embedding
        else variant
        for variant, projector in zip(variants, chosen, strict=True)
    )


def _read(
    name: str, place: RepoStore, repository: Repository, manifest: Manifest | None, *, needed: bool
) -> Projector | None:
    path = place.folder(repository.commit) / name
    try:
        if manifest is not None and place.complete(manifest, (name,)):
            return projector_of(path)
        return read_each(place, repository, (name,), (partial(_of_source, path=path),))[0]
    except (BadInputError, ModelFileError):
        return None
    except HubError:
        if needed:
            raise
        return None


def _of_source(source: ByteSource, *, path: Path) -> Projector:
    return projector_in(gguf.read_header(source, window=LATER_WINDOW), path)
