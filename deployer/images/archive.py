"""The archive that `docker save` writes of one image: examined without unpacking, and handed to the Engine.

Two forms, often in one: the OCI layout (`blobs/sha256/…`, index.json; Docker Engine from 25 on), and Docker's own
(`<sha256>.json`, `<id>/layer.tar`). manifest.json is in both.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from deployer.errors import PreconditionError, VerificationError
from deployer.images.engine import engine
from deployer.images.inspect import LocalImage, inspect_image
from deployer.images.tar_stream import Content, Readable, broken, members

SAVE_TIMEOUT_S = LOAD_TIMEOUT_S = 3600
MAX_DOCUMENT_BYTES = 4 << 20
CHUNK = 1 << 20
_BLOB = re.compile(r"(?:blobs/sha256/(?P<blob>[0-9a-f]{64})|(?P<config>[0-9a-f]{64})\.json)")
_OTHER = re.compile(r"manifest\.json|index\.json|oci-layout|blobs(?:/sha256)?|[0-9a-f]{64}(?:/[\w.]+)?")
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class ArchiveFacts(msgspec.Struct, frozen=True):
    """`sha256` of the whole archive; `ids` by which the Engine may call the image, each proven by the content."""

    sha256: str
    ids: tuple[str, ...]


class _Entry(msgspec.Struct, rename="pascal"):
    config: str
    repo_tags: tuple[str, ...] | None = None


class _Descriptor(msgspec.Struct):
    digest: str
    annotations: dict[str, str] = {}


class _Index(msgspec.Struct):
    manifests: tuple[_Descriptor, ...] = ()


class Hashed:
    """A stream that knows the sha256 of all that was read of it."""

    def __init__(self, source: Readable) -> None:
        self._source, self._sha256 = source, hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """See Readable."""
        data = self._source.read(size)
        self._sha256.update(data)
        return data

    def skip(self, size: int, /) -> None:
        """See Readable: what is passed is hashed too."""
        while size > 0 and (data := self.read(min(size, CHUNK))):
            size -= len(data)

    def digest(self) -> str:
        """Read to the end, and return the sha256 in hex."""
        while self.read(CHUNK):
            pass
        return self._sha256.hexdigest()


def save(image_id: str) -> Iterator[bytes]:
    """The archive of one image, as the Engine writes it; without names, so that loading it renames nothing."""
    with engine(timeout_s=SAVE_TIMEOUT_S) as client:
        yield from client.api.get_image(image_id, chunk_size=CHUNK)


def examine(source: Readable, size: int) -> ArchiveFacts:
    """Read an archive of `size` bytes once, and prove that it is one image, without a name, whose blobs are sound.

    VerificationError for anything else: a name in it would take that name from an image that is here.
    """
    stream = Hashed(source)
    blobs, documents = set[str](), dict[str, bytes]()
    for member, content in members(stream, size):
        found, name = _BLOB.fullmatch(member.name.rstrip("/")), member.name.rstrip("/")
        if found is not None and not (member.is_folder or member.is_link):
            blobs.add(_proven(found["blob"] or found["config"], content))
        elif name in ("manifest.json", "index.json"):
            documents[name] = _document(name, content, member.size)
        elif not _OTHER.fullmatch(name):
            raise broken(f"it holds {name[:80]!r}, which no image has")
    ids = (*_configs(documents), *_manifests(documents))
    proven = tuple(dict.fromkeys(f"sha256:{item}" for item in ids if item in blobs))
    if not proven:
        raise broken("it holds no image")
    return ArchiveFacts(stream.digest(), proven)


def load(chunks: Iterator[bytes], facts: ArchiveFacts) -> LocalImage:
    """Hand an examined archive to the Engine and return the image. PreconditionError when it does not take it."""
    import docker.errors

    with engine(timeout_s=LOAD_TIMEOUT_S) as client:
        try:
            body: Any = chunks  # any iterable of bytes, sent as it comes
            loaded = client.images.load(body)
        except docker.errors.ImageLoadError as error:
            raise PreconditionError(
                f"Docker does not load the image: {str(error)[:300]}", hint="docker info"
            ) from error
    for image_id in (*facts.ids, *(str(image.id) for image in loaded)):
        if (found := inspect_image(image_id)) is not None:
            return found
    raise VerificationError("the image was loaded, and the Engine does not have it", hint="run the command again")


def _proven(expected: str, content: Content) -> str:
    sha256 = hashlib.sha256()
    for chunk in content.chunks(CHUNK):
        sha256.update(chunk)
    if sha256.hexdigest() != expected:
        raise broken(f"the content of {expected[:12]}… is another")
    return expected


def _document(name: str, content: Content, size: int) -> bytes:
    if size > MAX_DOCUMENT_BYTES:
        raise broken(f"{name} has {size} bytes")
    return content.read(size)


def _configs(documents: dict[str, bytes]) -> Iterator[str]:
    """The image that manifest.json names."""
    try:
        entries = msgspec.json.decode(documents.get("manifest.json", b"[]"), type=tuple[_Entry, ...])
    except msgspec.DecodeError as error:
        raise broken(f"manifest.json cannot be read: {error}") from None
    if len(entries) != 1:
        raise broken(f"it holds {len(entries)} images")
    if entries[0].repo_tags:
        raise broken(f"it would give the name {entries[0].repo_tags[0][:120]!r} to its image")
    yield entries[0].config.removesuffix(".json").rpartition("/")[2]


def _manifests(documents: dict[str, bytes]) -> Iterator[str]:
    """The image that index.json names, as the containerd image store calls it."""
    try:
        index = msgspec.json.decode(documents.get("index.json", b"{}"), type=_Index)
    except msgspec.DecodeError as error:
        raise broken(f"index.json cannot be read: {error}") from None
    for item in index.manifests:
        if named := next((item.annotations[key] for key in _NAMES if key in item.annotations), None):
            raise broken(f"it would give the name {named[:120]!r} to its image")
        yield item.digest.removeprefix("sha256:")
