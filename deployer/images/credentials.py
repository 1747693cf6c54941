"""Logins that `docker login` left in plain form in `~/.docker/config.json`. They go to their own registry only."""

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from deployer.images.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_MAX_BYTES = 1024 * 1024


class Login(msgspec.Struct, frozen=True):
    """What is known for a registry. `in_helper`: the docker command may know more, from a credential helper."""

    user: str | None = None
    password: str | None = None
    in_helper: bool = False

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


def login_for(registry: str) -> Login:
    """Return the stored login for a registry; an empty one where there is none or the file cannot be read."""
    config = _config()
    helpers = config.get("credHelpers")
    in_helper = bool(config.get("credsStore")) or (isinstance(helpers, dict) and registry in helpers)
    auths = config.get("auths")
    keys = (_HUB_KEY, DOCKER_HUB) if registry == DOCKER_HUB else (registry, f"https://{registry}")
    for key in keys:
        entry = auths.get(key) if isinstance(auths, dict) else None
        encoded = entry.get("auth") if isinstance(entry, dict) else None
        if isinstance(encoded, str) and encoded:
            return _decoded(encoded, in_helper=in_helper)
    return Login(in_helper=in_helper)


def _config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG")
    path = Path(folder) / "config.json" if folder else Path("~/.docker/config.json").expanduser()
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def _decoded(encoded: str, *, in_helper: bool) -> Login:
    try:
        user, colon, password = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, ValueError):
        return Login(in_helper=in_helper)
    return Login(user, password, in_helper) if colon else Login(in_helper=in_helper)
