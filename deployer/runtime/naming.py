"""Names and labels by which our containers and folders are known."""

import re

from deployer.errors import BadInputError

LABEL_NAME = "io.deployer.name"
LABEL_GATEWAY = "io.deployer.gateway"
"""On the container of the gateway before a deployment: the deployment's name. Its engine has LABEL_NAME."""

LABEL_COPY = "io.deployer.copy"
"""On the containers of several copies of a model: `2/4` is the second of four."""

LABEL_PLAN = "io.deployer.plan"
LABEL_VERSION = "io.deployer.version"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def checked_name(name: str) -> str:
    """Return `name` when it is safe as a Compose project part and as a folder; raises BadInputError."""
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"'{name[:80]!a}' is not a deployment name",
            hint="use lower-case letters, digits, '-' and '_', at most 63 characters",
        )
    return name


def project(name: str) -> str:
    """Compose project of a deployment."""
    return f"deployer-{checked_name(name)}"
