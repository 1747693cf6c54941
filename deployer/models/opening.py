"""The bytes of a GGUF variant, part by part: from this machine, or from the hub by range."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployer.errors import BadInputError
from deployer.models import kept
from deployer.models.gguf_names import part_names
from deployer.models.hub_files import HubFiles
from deployer.models.kept import KeptSource
from deployer.models.local import package_path
from deployer.models.names import printable
from deployer.models.reference import FORMS, HubReference, PackageReference, PathReference, parse_reference
from deployer.models.remote import RemoteSource
from deployer.models.selection import here, select
from deployer.models.source import ByteSource, FileSource
from deployer.models.store import Repository, RepoStore
from deployer.types import ModelVariant


@contextmanager
def opened(variant: ModelVariant, store: Path) -> Iterator[tuple[ByteSource, ...]]:
    """Sources of all parts, in order; what is read from the hub is kept when the block ends without an error.

    Raises HubError, BadInputError.
    """
    match parse_reference(variant.source):
        case HubReference() as reference:
            wanted = variant.files or ((reference.file,) if reference.file else ())
            found = here(store, reference, wanted, variant.format)
            if found is None:
                place = RepoStore.of(store, reference.repo)
                repository = kept.describe(place, reference.repo, reference.revision)
                names = select(repository.files, wanted, variant.format)
                with remote_parts(place, repository, names) as parts:
                    yield parts
                return
        case PackageReference() as reference:
            found = package_path(reference)
        case PathReference(path=path):
            found = path
        case _:
            raise BadInputError(f"{printable(variant.source)}: names no file", hint=FORMS)
    with ExitStack() as stack:
        yield tuple(stack.enter_context(FileSource(found.parent / name)) for name in part_names(found.name))


@contextmanager
def remote_parts(place: RepoStore, repository: Repository, names: Sequence[str]) -> Iterator[tuple[KeptSource, ...]]:
    """Sources of files of one commit over one connection, kept when the block ends without an error."""
    files = {file.name: file for file in repository.files}
    with HubFiles(repository.repo, repository.commit) as connection:
        parts = tuple(
            KeptSource(RemoteSource(connection, files[name]), place, repository.commit, name) for name in names
        )
        yield parts
    for part in parts:
        part.keep()
