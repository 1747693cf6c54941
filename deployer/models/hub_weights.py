"""Headers of files on the hub, by range and several files at a time; the weights of a safetensors model from them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deployer.errors import HubError
from deployer.models.opening import remote_parts
from deployer.models.safetensors import broken, read_tensors
from deployer.models.safetensors_files import INDEX, MAX_INDEX_BYTES, indexed
from deployer.models.safetensors_weights import Weights, weights_of
from deployer.models.source import ByteSource
from deployer.models.store import Repository, RepoStore

Read = TypeVar("Read")
MAX_FILES = 1024
CONNECTIONS = 8


def remote_weights(place: RepoStore, repository: Repository, names: Sequence[str], layers: int, bits: int) -> Weights:
    """Exact weights: one or two requests a file, none for what was asked before.

    Raises HubError, ModelFileError.
    """
    used = _remote_index(place, repository, names)
    tables = read_each(place, repository, used, [read_tensors] * len(used))
    return weights_of(zip(used, tables, strict=True), layers, bits)


def read_each(
    place: RepoStore, repository: Repository, names: Sequence[str], readers: Sequence[Callable[[ByteSource], Read]]
) -> list[Read]:
    """What each reader makes of its file, in order; the first error ends all. Raises HubError, ModelFileError."""
    if len(names) > MAX_FILES:
        raise HubError(f"hf:{repository.repo}: {len(names)} files of one model", hint="choose another repository")

    def read(pair: tuple[str, Callable[[ByteSource], Read]]) -> Read:
        # A connection of its own: a session of requests is not made for several threads.
        with remote_parts(place, repository, (pair[0],)) as (part,):
            return pair[1](part)

    pool = ThreadPoolExecutor(max_workers=min(CONNECTIONS, len(names)))
    try:
        return list(pool.map(read, zip(names, readers, strict=True)))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _remote_index(place: RepoStore, repository: Repository, names: Sequence[str]) -> tuple[str, ...]:
    file = next((file for file in repository.files if file.name == INDEX), None)
    if file is None:
        return tuple(names)
    label = f"hf:{repository.repo}: {INDEX}"
    if file.size > MAX_INDEX_BYTES:
        raise broken(label, f"larger than {MAX_INDEX_BYTES >> 20} MiB")
    with remote_parts(place, repository, (INDEX,)) as (part,):
        return indexed(part.read_at(0, file.size), names, label)
