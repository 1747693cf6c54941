"""Plan to `compose.yaml`: a value tree, the text the template prints from it, and a proof that both say the same."""

import ipaddress
from typing import Any

import deployer
from deployer.errors import BadInputError
from deployer.render.copies import copy_label, copy_plans, copy_service
from deployer.render.devices import CACHE_FOLDER, DeviceAccess, device_access
from deployer.render.front import INSIDE, front_service
from deployer.render.jinja import render_template
from deployer.render.launch import LAUNCH_FILE, LAUNCH_PATH, launched
from deployer.render.readback import check_yaml
from deployer.render.refuse import refuse_unsafe
from deployer.types import Plan
from deployer.types.address import in_url

SERVICE = "llm"
_KEY, _CONFIG = "api_key", "api_key_config"
_CONFIG_FILE = "api_key.yaml"
_CACHE_VOLUME = "cuda-cache"
_MODELS = "/models"
_FILES = "/run/deployer"
_STORE = "store"
_OFFLINE = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_SLOW_S = 300
_SCRATCH = "/tmp"  # noqa: S108 - the container's own tmpfs


def render_compose(plan: Plan) -> str:
    """Text of `compose.yaml`. Raises BadInputError for a value that cannot stand in it; a mismatch is a bug."""
    refuse_unsafe(plan)
    tree = compose_tree(plan)
    first, *others = _engines(plan)
    text = render_template(
        "compose.yaml.j2",
        plan=plan,
        version=deployer.__version__,
        tree=tree,
        engine_service=first,
        service=tree["services"][first],
        others={name: tree["services"][name] for name in others},
        devices=copy_plans(plan),
        gateway=plan.gateway,
        front=tree["services"][SERVICE],
        command_lines=_flag_lines(launched(plan)[1:]),
        pinned=plan.image.digest is not None or plan.image.image_id is not None,
        loopback=ipaddress.ip_address(plan.address).is_loopback,
        root=plan.container_user.startswith("0:"),
    )
    check_yaml(text, tree, "compose.yaml")
    return text


def compose_tree(plan: Plan) -> dict[str, Any]:
    """The file's content as values, before any text. `$` stands for itself here."""
    publish = f"{in_url(plan.address)}:{plan.port}"
    services = {name: _service(one) for name, one in _engines(plan).items()}
    networks: dict[str, Any] = {SERVICE: {"driver": "bridge"}}
    for number, name in enumerate(services if plan.copies > 1 else (), start=1):
        services[name]["labels"] |= copy_label(number, plan)
    if plan.gateway is None:
        services[SERVICE]["ports"] = [f"{publish}:{plan.container_port}"]
    else:
        services[SERVICE] = front_service(plan, plan.gateway, publish)
        networks[INSIDE] = {"driver": "bridge", "internal": True}
    tree: dict[str, Any] = {
        "name": f"deployer-{plan.name}",
        "services": services,
        "networks": networks,
        "secrets": {_KEY: {"file": plan.key_file}},
    }
    if plan.key_config is not None:
        tree["secrets"][_CONFIG] = {"file": plan.key_config}
    if _volume(plan) is not None:
        tree["volumes"] = {_volume(plan): {}}
    return tree


def _engine_network(plan: Plan) -> str:
    """With a gateway, that one is what is reached, under the name that the engine has without one."""
    return SERVICE if plan.gateway is None else INSIDE


def _engines(plan: Plan) -> dict[str, Plan]:
    """Each service of an engine, and the plan as it is for that one: with its own devices."""
    if plan.copies == 1:
        return {_engine_network(plan): plan}
    return {copy_service(number): one for number, one in enumerate(copy_plans(plan), start=1)}


def _volume(plan: Plan) -> str | None:
    """The one volume, on the folder where every user of an image may write: its own copy of the model, or a cache."""
    if plan.store is not None:
        return _STORE
    return _CACHE_VOLUME if _keeps_cache(plan) else None


def _secrets(plan: Plan) -> list[Any]:
    """The engine gets no key that it has no use for."""
    if plan.gateway is not None and not plan.gateway.passes_key:
        return []
    return [_KEY] if plan.key_config is None else [_KEY, {"source": _CONFIG, "target": _CONFIG_FILE}]


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
    access, words = device_access(plan), launched(plan)
    return {
        "image": image_name(plan),
        "pull_policy": "never",
        "entrypoint": [words[0]],
        "command": list(words[1:]),
        "environment": dict(sorted((_OFFLINE | {"HOME": _SCRATCH} | access.environment | plan.environment).items())),
        "networks": [_engine_network(plan)],
        "secrets": _secrets(plan),
        "volumes": _volumes(plan),
        "user": plan.container_user,
        "read_only": True,
        "tmpfs": [f"{_SCRATCH}:rw,noexec,nosuid,nodev,size=1g,mode=1777", *_caches(plan)],
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


def _caches(plan: Plan) -> list[str]:
    """Folders that the engine writes compiled code to and loads it from, unless a volume lies there."""
    kept = {CACHE_FOLDER if plan.store is None else plan.store} if _volume(plan) is not None else set()
    return [f"{folder}:rw,exec,nosuid,nodev,size=4g,mode=1777" for folder in plan.writable if folder not in kept]


def _volumes(plan: Plan) -> list[dict[str, Any]]:
    sources = _model_mounts(plan)
    if plan.launcher:
        sources[LAUNCH_PATH] = f"./{LAUNCH_FILE}"
    sources |= {f"{_FILES}/{name}": f"./{name}" for name in plan.files}
    mounts: list[dict[str, Any]] = [
        {
            "type": "bind",
            "source": source,
            "target": target,
            "read_only": True,
            "bind": {"create_host_path": False},
        }
        for target, source in sources.items()
    ]
    if (volume := _volume(plan)) is not None:
        mounts.append({"type": "volume", "source": volume, "target": plan.store or CACHE_FOLDER})
    return mounts


def _model_mounts(plan: Plan) -> dict[str, str]:
    """Path in the container to path on the host: the file, every part of a split GGUF, or the whole folder.

    A projector is mounted beside the file.
    """
    path = plan.model.path.rstrip("/")
    if not path.endswith(".gguf"):
        return {_MODELS: path}
    folder, _, file = path.rpartition("/")
    parts = [part.rpartition("/")[2] for part in plan.model.files] if len(plan.model.files) > 1 else [file]
    projector = plan.model.projector
    reading = {} if projector is None else {f"{_MODELS}/{projector.rpartition('/')[2]}": projector}
    return {f"{_MODELS}/{part}": f"{folder}/{part}" for part in parts} | reading


def _keeps_cache(plan: Plan) -> bool:
    return plan.image.ptx_only and bool(plan.devices)


def _ceilings(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if plan.limits.memory_mib is not None:
        found |= {"mem_limit": f"{plan.limits.memory_mib}m", "memswap_limit": f"{plan.limits.memory_mib}m"}
    if plan.limits.cpus is not None:
        found["cpus"] = plan.limits.cpus
    if plan.shm_mib is not None:
        found["shm_size"] = f"{plan.shm_mib}m"
    if plan.ulimits:
        found["ulimits"] = dict(sorted(plan.ulimits.items()))
    return found


def _devices(access: DeviceAccess) -> dict[str, Any]:
    found: dict[str, Any] = {} if access.runtime is None else {"runtime": access.runtime}
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
    curl = ("curl", "--fail", "--silent", "--output", "/dev/null", "--max-time", "4", url)
    return {
        "test": ["CMD", *(plan.health.test or curl)],
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": f"{plan.start_period_s}s",
        "start_interval": "200ms" if plan.start_period_s < _SLOW_S else "2s",
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
