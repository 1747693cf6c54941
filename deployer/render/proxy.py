"""What every proxy of ours has in common: how it is started, how closed its container is, and its answers' form."""

import json
from typing import Any

FOLDER = "/usr/local/etc/haproxy"
CONFIG = "haproxy.cfg"


def locked_down(image: str, user: str, *, memory_mib: int) -> dict[str, Any]:
    """Keys of a Compose service that runs HAProxy with `CONFIG`: not root, nothing can be changed, ceilings."""
    limit = f"{memory_mib}m"
    return {
        "image": image,
        "pull_policy": "never",
        "entrypoint": ["haproxy"],
        "command": ["-db", "-f", f"{FOLDER}/{CONFIG}"],
        "user": user,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": limit,
        "memswap_limit": limit,
        "pids_limit": 64,
        "logging": {"driver": "local", "options": {"max-size": "20m", "max-file": "5"}},
        "init": True,
        "stop_grace_period": "30s",
        "restart": "on-failure:3",
    }


def mounted(name: str, folder: str = FOLDER) -> dict[str, Any]:
    """A file beside the Compose file, read-only in a folder of the container."""
    return {
        "type": "bind",
        "source": f"./{name}",
        "target": f"{folder}/{name}",
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def error_json(message: str, kind: str, code: str | None) -> str:
    """An error in OpenAI's form, on one line."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def model_json(name: str) -> str:
    """What `GET /v1/models/NAME` answers, on one line."""
    return json.dumps(_model(name))


def models_json(names: tuple[str, ...]) -> str:
    """What `GET /v1/models` answers, on one line."""
    return json.dumps({"object": "list", "data": [_model(name) for name in names]})


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "deployer"}
