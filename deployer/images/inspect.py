"""What is true of an image on this machine: asked of the Engine, never remembered."""

from typing import Any

import msgspec

from deployer.errors import BadInputError
from deployer.images.engine import engine
from deployer.images.reference import parse_reference

_MIB = 1024 * 1024
_BAD_REQUEST = 400


class LocalImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image on this machine. `id` is its content address; `digests` are `repository@sha256:…` of registries."""

    id: str
    digests: tuple[str, ...]
    tags: tuple[str, ...]
    size_mib: int
    labels: dict[str, str]
    environment: dict[str, str]
    architecture: str | None

    def comes_from(self, reference: str) -> bool:
        """True when a registry has it under this name; the same image may have been pushed elsewhere under another."""
        name = parse_reference(reference).name
        return any(parse_reference(digest).name == name for digest in self.digests)

    @property
    def cuda(self) -> str | None:
        """The CUDA version that the image says it has (set by the `nvidia/cuda` base images)."""
        return self.environment.get("CUDA_VERSION")


def inspect_image(reference: str) -> LocalImage | None:
    """Look up a name, `name@sha256:…` or an image id; None when it is not here.

    PreconditionError when no Engine answers, BadInputError when Docker cannot read the name.
    """
    import docker.errors

    with engine() as client:
        try:
            found: dict[str, Any] = client.images.get(reference).attrs
        except docker.errors.NotFound:
            return None
        except docker.errors.APIError as error:
            if error.status_code != _BAD_REQUEST:
                raise
            raise BadInputError(
                f"{reference!r} is not the name of an image", hint="write it as `registry/repository:tag`"
            ) from error
    return _local_image(found)


def environment_of(pairs: object) -> dict[str, str]:
    """`["A=b"]` as a dict; anything else than text with `=` is left out."""
    if not isinstance(pairs, list):
        return {}
    split = (pair.partition("=") for pair in pairs if isinstance(pair, str) and "=" in pair)
    return {name: value for name, _, value in split}


def _local_image(found: dict[str, Any]) -> LocalImage:
    config = found.get("Config") or {}
    return LocalImage(
        id=found["Id"],
        digests=tuple(found.get("RepoDigests") or ()),
        tags=tuple(found.get("RepoTags") or ()),
        size_mib=-(-int(found.get("Size") or 0) // _MIB),
        labels=dict(config.get("Labels") or {}),
        environment=environment_of(config.get("Env")),
        architecture=found.get("Architecture"),
    )
