"""What makes two plans the same."""

import hashlib
import json

import msgspec

from deployer.types import Plan

_RUNS = (
    *("name", "host_fingerprint", "engine", "engine_version", "devices", "settings", "command", "environment"),
    *("runtime", "address", "port", "container_port", "container_user", "device_groups", "key_file", "health"),
    *("limits", "start_period_s", "key_variable", "setup", "writable", "shm_mib", "ulimits"),
)
_IF_SAID = ("key_config", "launcher", "files", "store", "gateway")
"""Fields that count only where they say something, so that a release from before them is still the same."""

_IMAGE = ("profile", "accelerator", "recipe", "digest", "image_id", "dockerfile", "build_args", "ptx_only")
_MODEL = ("ref", "format", "quantization", "files", "path")
_MODEL_IF_SAID = ("projector",)


def plan_hash(plan: Plan) -> str:
    """SHA-256, in hex, of what decides the running server, as canonical JSON (sorted keys, no blanks).

    Left out is what may differ between two looks at the same host: memory free now, scores, refusals, warnings, and
    whether the image was pulled, built or verified before.
    """
    document = msgspec.to_builtins(plan)
    covered = {
        **{field: document[field] for field in _RUNS},
        **{field: document[field] for field in _IF_SAID if document[field]},
        "image": {field: document["image"][field] for field in _IMAGE},
        "model": {
            **{field: document["model"][field] for field in _MODEL},
            **{field: document["model"][field] for field in _MODEL_IF_SAID if document["model"][field]},
        },
    }
    text = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
