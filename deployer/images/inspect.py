"""What is true of an image on this machine: asked of the Engine, never remembered."""

from typing import Any, Literal

import msgspec

from deployer.errors import BadInputError
from deployer.images.engine import engine
from deployer.images.reference import parse_reference

Origin = Literal["registry", "here", "unknown"]
RECIPE_LABEL = "io.deployer.recipe"
_MIB = 1024 * 1024
_BAD_REQUEST = 400


class LocalImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image on this machine. `id` is its content address; `digests` are `repository@sha256:…` of registries.

    In Docker's containerd image store every image has such digests, for each of its names, wherever it came from
    (`containerd`). There, an Engine with API 1.53 says from which repositories it was pulled (`pulled_from`, empty for
    what was built or loaded; None: it does not say).
    """

    id: str
    digests: tuple[str, ...]
    tags: tuple[str, ...]
    size_mib: int
    labels: dict[str, str]
    environment: dict[str, str]
    architecture: str | None
    containerd: bool = False
    pulled_from: tuple[str, ...] | None = None

    def origin(self, reference: str) -> Origin:
        """Whether it came from a registry under this name, or is this machine's own: built, loaded, or named so here.

        The same image may have been pushed elsewhere under another name. `unknown` only in the containerd image store.
        """
        name = parse_reference(reference).name
        named = any(parse_reference(digest).name == name for digest in self.digests)
        if not named or not self.containerd:
            return "registry" if named else "here"
        if self.pulled_from is not None:
            return "registry" if any(parse_reference(item).name == name for item in self.pulled_from) else "here"
        return "here" if RECIPE_LABEL in self.labels else "unknown"

    def digest_of(self, reference: str) -> str | None:
        """The digest that it has under this name (`sha256:…`), None where it has none."""
        name = parse_reference(reference).name
        return next((item.partition("@")[2] for item in self.digests if parse_reference(item).name == name), None)

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
    """Fields: moby api/types/image `InspectResponse`; `Identity` of pull requests 51737 and 51862 there."""
    config = found.get("Config") or {}
    digests = tuple(found.get("RepoDigests") or ())
    identity = found.get("Identity")
    pulls = None if identity is None else identity.get("Pull") or ()
    return LocalImage(
        id=found["Id"],
        digests=digests,
        tags=tuple(found.get("RepoTags") or ()),
        size_mib=-(-int(found.get("Size") or 0) // _MIB),
        labels=dict(config.get("Labels") or {}),
        environment=environment_of(config.get("Env")),
        architecture=found.get("Architecture"),
        containerd="Descriptor" in found or any(item.endswith(f"@{found['Id']}") for item in digests),
        pulled_from=None if pulls is None else tuple(item["Repository"] for item in pulls if item.get("Repository")),
    )
