"""What a registry says of an image, before any layer is pulled: its digest, and what its config claims.

Media types: github.com/opencontainers/image-spec (manifest.md, image-index.md) and Docker's schema 2.
"""

import hashlib
import platform
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from deployer.errors import BadInputError, ImageUnavailableError, VerificationError
from deployer.images.deadline import within
from deployer.images.engine import EngineSettings
from deployer.images.inspect import environment_of
from deployer.images.reference import ImageReference, parse_reference
from deployer.images.transport import HINTS, Answer, Conversation, endpoints

_INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFEST = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_ACCEPT = ", ".join((*_INDEX, *_MANIFEST))
_MANIFEST_BYTES = 4 * 1024 * 1024
_CONFIG_BYTES = 8 * 1024 * 1024
_MIB = 1024 * 1024
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_GIVES_MOST = ("unauthorised", "not-found")

T = TypeVar("T")


class RegistryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`digest`, or why there is none: `cause` for programs, `error` and `hint` for people.

    Causes: unreachable, tls, not-found, unauthorised, rate-limited, broken. `in_helper`: the docker command may know a
    login that this one cannot read.
    """

    digest: str | None
    cause: str | None = None
    error: str | None = None
    hint: str = ""
    in_helper: bool = False


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the config blob claims. `digest` is that of the name (of the index where there is one)."""

    digest: str
    architecture: str | None
    environment: dict[str, str]
    labels: dict[str, str]
    download_mib: int

    @property
    def cuda(self) -> str | None:
        """The CUDA version of the image (`CUDA_VERSION`, set by the `nvidia/cuda` base images)."""
        return self.environment.get("CUDA_VERSION")

    @property
    def cuda_requirement(self) -> str | None:
        """`NVIDIA_REQUIRE_CUDA`: what the image asks of the driver."""
        return self.environment.get("NVIDIA_REQUIRE_CUDA")


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""


class _Descriptor(msgspec.Struct, frozen=True):
    digest: str
    size: int = 0
    platform: _Platform | None = None


class _Manifest(msgspec.Struct, frozen=True):
    manifests: tuple[_Descriptor, ...] = ()
    config: _Descriptor | None = None
    layers: tuple[_Descriptor, ...] = ()


class _Inner(msgspec.Struct, frozen=True, rename={"environment": "Env", "labels": "Labels"}):
    environment: list[str] | None = None
    labels: dict[str, str] | None = None


class _Config(msgspec.Struct, frozen=True):
    architecture: str | None = None
    config: _Inner | None = None


def registry_digest(reference: str, timeout_s: float = 5, settings: EngineSettings | None = None) -> RegistryAnswer:
    """Ask which digest a name has now. Never raises for what the registry does; ends within `timeout_s`.

    BadInputError when the name cannot be read.
    """
    parsed = parse_reference(reference)
    try:
        return RegistryAnswer(digest=_ask(parsed, timeout_s, settings, lambda talk: _resolve(talk, parsed)))
    except ImageUnavailableError as error:
        return RegistryAnswer(
            digest=None,
            cause=str(error.details.get("cause")),
            error=error.message,
            hint=error.hint,
            in_helper=bool(error.details.get("in_helper")),
        )


def registry_config(
    reference: str, *, architecture: str | None = None, timeout_s: float = 10, settings: EngineSettings | None = None
) -> ImageConfig:
    """Read the config of a name for this machine's architecture (`amd64`, `arm64`); no layer is pulled.

    ImageUnavailableError with `details["cause"]` (also `wrong-platform`); VerificationError when a document is not
    what its digest says.
    """
    parsed = parse_reference(reference)
    wanted = architecture or _MACHINES.get(platform.machine(), platform.machine())
    return _ask(parsed, timeout_s, settings, lambda talk: _read_config(talk, parsed, wanted))


def _ask(
    reference: ImageReference, timeout_s: float, settings: EngineSettings | None, question: Callable[[Conversation], T]
) -> T:
    deadline = time.monotonic() + timeout_s
    try:
        return within(timeout_s, lambda: _first(reference, deadline, settings or EngineSettings(), question))
    except TimeoutError:
        raise ImageUnavailableError(
            f"registry {reference.registry}: it did not answer within {timeout_s:g} s",
            hint=HINTS["unreachable"],
            details={"cause": "unreachable"},
        ) from None


def _first(
    reference: ImageReference, deadline: float, settings: EngineSettings, question: Callable[[Conversation], T]
) -> T:
    """The first endpoint that answers; else the failure that says most."""
    failures = []
    for endpoint in endpoints(reference, settings):
        talk = Conversation(endpoint, reference.repository, settings, deadline)
        try:
            return question(talk)
        except ImageUnavailableError as error:
            failures.append(error)
        finally:
            talk.close()
    raise max(failures, key=lambda error: error.details.get("cause") in _GIVES_MOST)


def _resolve(talk: Conversation, reference: ImageReference) -> str:
    answer = talk.ask("HEAD", f"manifests/{reference.selector}", _ACCEPT, _MANIFEST_BYTES)
    digest = answer.headers.get("docker-content-digest")
    if digest is None:
        return _digest_of(talk.ask("GET", f"manifests/{reference.selector}", _ACCEPT, _MANIFEST_BYTES))
    return _checked(digest, reference)


def _read_config(talk: Conversation, reference: ImageReference, architecture: str) -> ImageConfig:
    first = talk.ask("GET", f"manifests/{reference.selector}", _ACCEPT, _MANIFEST_BYTES)
    digest = _digest_of(first)
    if reference.digest not in {None, digest}:
        raise _not_as_promised(reference.name, reference.digest or "", digest)
    manifest = _decode(first.body, _Manifest, reference)
    if manifest.manifests:
        manifest = _decode(_content(talk, reference, _for(manifest, reference, architecture)), _Manifest, reference)
    if manifest.config is None:
        raise _broken(reference)
    config = _decode(_content(talk, reference, manifest.config, "blobs"), _Config, reference)
    inner = config.config or _Inner()
    return ImageConfig(
        digest=digest,
        architecture=config.architecture,
        environment=environment_of(inner.environment),
        labels=inner.labels or {},
        download_mib=-(-sum(max(0, layer.size) for layer in manifest.layers) // _MIB),
    )


def _for(manifest: _Manifest, reference: ImageReference, architecture: str) -> _Descriptor:
    found = [item for item in manifest.manifests if item.platform is not None and item.platform.os == "linux"]
    for item in found:
        if item.platform is not None and item.platform.architecture == architecture:
            return item
    offered = ", ".join(sorted({item.platform.architecture for item in found if item.platform})) or "none"
    raise ImageUnavailableError(
        f"{reference.name} has no image for linux/{architecture}; it has: {offered}",
        hint="choose another image, or build it on this machine",
        details={"cause": "wrong-platform"},
    )


def _content(talk: Conversation, reference: ImageReference, descriptor: _Descriptor, kind: str = "manifests") -> bytes:
    wanted = _checked(descriptor.digest, reference)
    limit = _CONFIG_BYTES if kind == "blobs" else _MANIFEST_BYTES
    answer = talk.ask("GET", f"{kind}/{wanted}", _ACCEPT if kind == "manifests" else "*/*", limit)
    if _digest_of(answer) != wanted:
        raise _not_as_promised(reference.name, wanted, _digest_of(answer))
    return answer.body


def _decode(body: bytes, kind: type[T], reference: ImageReference) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _broken(reference) from error


def _checked(digest: str, reference: ImageReference) -> str:
    try:
        parse_reference(reference.at(digest))
    except BadInputError as error:
        raise _broken(reference) from error
    return digest


def _digest_of(answer: Answer) -> str:
    return f"sha256:{hashlib.sha256(answer.body).hexdigest()}"


def _broken(reference: ImageReference) -> ImageUnavailableError:
    return ImageUnavailableError(
        f"registry {reference.registry}: its description of {reference.repository} cannot be read",
        hint=HINTS["broken"],
        details={"cause": "broken"},
    )


def _not_as_promised(name: str, wanted: str, found: str) -> VerificationError:
    return VerificationError(
        f"{name}: the registry gave {found} where {wanted} was asked for",
        hint="do not use this registry until its owner has explained it",
        details={"expected": wanted, "found": found},
    )
