"""Plan to `compose.yaml`: a value tree, the text the template prints from it, and a proof that both say the same."""

import ipaddress
from typing import Any

import deployer
from deployer.errors import BadInputError
from deployer.render.devices import CACHE_FOLDER, DeviceAccess, device_access
from deployer.render.jinja import render_template
from deployer.render.readback import check_yaml
from deployer.render.refuse import refuse_unsafe
from deployer.types import Plan

SERVICE = "llm"
_KEY = "api_key"
_CACHE_VOLUME = "cuda-cache"
_MODELS = "/models"
_OFFLINE = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_SCRATCH = "/tmp"  # noqa: S108 - the container's own tmpfs


def render_compose(plan: Plan) -> str:
    """Text of `compose.yaml`. Raises BadInputError for a value that cannot stand in it; a mismatch is a bug."""
    refuse_unsafe(plan)
    tree = compose_tree(plan)
    text = render_template(
        "compose.yaml.j2",
        plan=plan,
        version=deployer.__version__,
        tree=tree,
        service=tree["services"][SERVICE],
        command_lines=_flag_lines(plan.command[1:]),
        pinned=plan.image.digest is not None or plan.image.image_id is not None,
        loopback=ipaddress.ip_address(plan.address).is_loopback,
        root=plan.container_user.startswith("0:"),
    )
    check_yaml(text, tree, "compose.yaml")
    return text


def compose_tree(plan: Plan) -> dict[str, Any]:
    """The file's content as values, before any text. `$` stands for itself here."""
    tree: dict[str, Any] = {
        "name": f"deployer-{plan.name}",
        "services": {SERVICE: _service(plan)},
        "networks": {SERVICE: {"driver": "bridge"}},
        "secrets": {_KEY: {"file": plan.key_file}},
    }
    if _keeps_cache(plan):
        tree["volumes"] = {_CACHE_VOLUME: {}}
    return tree


def image_name(plan: Plan) -> str:
    """What Docker is asked for: registry digest, else local image id, else the name before it is pinned.

    Raises BadInputError when the plan has no image at all (a local program).
    """
    image = plan.image
    if image.reference is not None and image.digest is not None:
        return f"{_repository(image.reference)}@{image.digest}"
    if image.image_id is not None:
        return image.image_id
    if image.reference is not None:
        return image.reference
    if image.dockerfile is not None:
        return f"deployer/{plan.engine}:{image.profile}"
    raise BadInputError(
        f"plan: image {image.profile} is a local program, not a container image", hint="use --runtime process"
    )


def _service(plan: Plan) -> dict[str, Any]:
    if not plan.command:
        raise BadInputError("plan: command: nothing to start", hint="make the plan again: deployer plan MODEL")
    access = device_access(plan)
    return {
        "image": image_name(plan),
        "pull_policy": "never",
        "entrypoint": [plan.command[0]],
        "command": list(plan.command[1:]),
        "environment": dict(sorted((_OFFLINE | {"HOME": _SCRATCH} | access.environment | plan.environment).items())),
        "ports": [f"{_bracketed(plan.address)}:{plan.port}:{plan.container_port}"],
        "networks": [SERVICE],
        "secrets": [_KEY],
        "volumes": _volumes(plan),
        "user": plan.container_user,
        "read_only": True,
        "tmpfs": [f"{_SCRATCH}:rw,noexec,nosuid,nodev,size=1g,mode=1777"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": plan.limits.pids,
        "init": True,
        "stop_grace_period": "30s",
        "restart": "on-failure:3",
        "logging": {"driver": "local", "options": {"max-size": "20m", "max-file": "5"}},
        "healthcheck": _healthcheck(plan),
        "labels": {
            "io.deployer.name": plan.name,
            "io.deployer.plan": plan.plan_hash,
            "io.deployer.version": deployer.__version__,
        },
    } | (_ceilings(plan) | _devices(access))


def _volumes(plan: Plan) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {
            "type": "bind",
            "source": source,
            "target": target,
            "read_only": True,
            "bind": {"create_host_path": False},
        }
        for target, source in _model_mounts(plan).items()
    ]
    if _keeps_cache(plan):
        mounts.append({"type": "volume", "source": _CACHE_VOLUME, "target": CACHE_FOLDER})
    return mounts


def _model_mounts(plan: Plan) -> dict[str, str]:
    """Path in the container to path on the host: the file, every part of a split GGUF, or the whole folder."""
    path = plan.model.path.rstrip("/")
    if not path.endswith(".gguf"):
        return {_MODELS: path}
    folder, _, file = path.rpartition("/")
    parts = [part.rpartition("/")[2] for part in plan.model.files] if len(plan.model.files) > 1 else [file]
    return {f"{_MODELS}/{part}": f"{folder}/{part}" for part in parts}


def _keeps_cache(plan: Plan) -> bool:
    return plan.image.ptx_only and bool(plan.devices)


def _ceilings(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if plan.limits.memory_mib is not None:
        found |= {"mem_limit": f"{plan.limits.memory_mib}m", "memswap_limit": f"{plan.limits.memory_mib}m"}
    if plan.limits.cpus is not None:
        found["cpus"] = plan.limits.cpus
    return found


def _devices(access: DeviceAccess) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if access.paths:
        found["devices"] = [f"{path}:{path}" for path in access.paths]
    if access.groups:
        found["group_add"] = list(access.groups)
    if access.nvidia_ids:
        request = {"driver": "nvidia", "device_ids": list(access.nvidia_ids), "capabilities": ["gpu"]}
        found["deploy"] = {"resources": {"reservations": {"devices": [request]}}}
    return found


def _healthcheck(plan: Plan) -> dict[str, Any]:
    url = f"http://127.0.0.1:{plan.container_port}{plan.health.path}"
    return {
        "test": ["CMD", "curl", "--fail", "--silent", "--output", "/dev/null", "--max-time", "4", url],
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": f"{plan.start_period_s}s",
        "start_interval": "200ms",
    }


def _flag_lines(words: tuple[str, ...]) -> list[list[str]]:
    """Each flag with its values on one line, for a reader."""
    lines: list[list[str]] = []
    for word in words:
        if word.startswith("-") or not lines:
            lines.append([word])
        else:
            lines[-1].append(word)
    return lines


def _repository(reference: str) -> str:
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
