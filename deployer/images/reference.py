"""Names of images, as Docker reads them.

Grammar: github.com/distribution/reference, reference.go and normalize.go: a first part with a dot, a colon or the
word `localhost` is a registry; without one it is docker.io, and a single word there lives in `library/`.
"""

import re

import msgspec

from deployer.errors import BadInputError

DOCKER_HUB = "docker.io"
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_NAME = 255


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed name. With a digest the tag says nothing; with neither, the tag is `latest`."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def selector(self) -> str:
        """What the registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> str:
        """The name that always means the same bytes, for `docker pull`."""
        return f"{self.name}@{digest}"


def parse_reference(text: str) -> ImageReference:
    """Split `[registry/]repository[:tag][@sha256:…]`. BadInputError when Docker would not take it either."""
    rest, at, digest = text.partition("@")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    registry, repository = _split(head)
    good = (
        not _DIGEST.fullmatch(text)
        and _HOST.fullmatch(registry)
        and _REPOSITORY.fullmatch(repository)
        and len(head) <= _MAX_NAME
        and (not colon or not head or "/" in rest.rpartition(":")[2] or _TAG.fullmatch(tag))
        and (not at or _DIGEST.fullmatch(digest))
    )
    if not good:
        raise BadInputError(
            f"{text!r} is not the name of an image",
            hint="write it as `registry/repository:tag` or `registry/repository@sha256:…`, in lower case",
        )
    return ImageReference(
        registry=registry,
        repository=repository,
        tag=tag or (None if digest else "latest"),
        digest=digest or None,
    )


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = ("docker.io" if first == "index.docker.io" else first), rest
    else:
        registry, repository = DOCKER_HUB, name
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository
