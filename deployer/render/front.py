"""The gateway of a plan: `haproxy.cfg`, and the service that runs it before the engine or its copies. Pure.

Values that stand in `haproxy.cfg` are routes, ports and numbers of a narrow form, checked before and read back after.
"""

import re
from typing import Any

import deployer
from deployer.errors import BadInputError, DeployerError
from deployer.render.copies import WAITING, copy_container, copy_service, slots_each
from deployer.render.jinja import render_template
from deployer.render.proxy import CONFIG, error_json, locked_down, model_json, models_json, mounted
from deployer.types import Plan, PlanGateway
from deployer.types.plan import COPIES_PATH

OUTSIDE, INSIDE = "llm", "engine"
"""Service and network of what is reached, and of the engine behind it."""

LABEL = "io.deployer.gateway"
MAX_CONNECTIONS = 1000
_MEMORY_MIB = 128
"""HAProxy holds two buffers of 16 KiB for a connection, and 20 MiB of its own."""

_ROUTE = re.compile(r"(GET|POST) (?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WORDS = re.compile(r"[A-Za-z0-9 ,.:;/_()-]{1,200}")
_SAYS = re.compile(r"^    acl may_(get|post) path (.*)$", re.MULTILINE)
_BACKEND = re.compile(r"^backend (\S+)\n((?:    .*\n)*)", re.MULTILINE)
_SERVER = re.compile(
    r"^    server (\S+) (\S+):(\d+)( track engine/\S+)? resolvers docker init-addr libc,none$", re.MULTILINE
)


def front_service(plan: Plan, gateway: PlanGateway, publish: str) -> dict[str, Any]:
    """The Compose service that is reached from outside; `publish` is `address:port` there.

    Raises BadInputError for a value that cannot stand in a file.
    """
    _refuse_unsafe(gateway)
    return locked_down(front_image(gateway), plan.container_user, memory_mib=_MEMORY_MIB) | {
        "ports": [f"{publish}:{plan.container_port}"],
        "networks": [OUTSIDE, INSIDE],
        "secrets": ["api_key"],
        "volumes": [mounted(CONFIG)],
        "cpus": 1,
        "depends_on": {name: {"condition": "service_started"} for name in _engines(plan)},
        "labels": {LABEL: plan.name, "io.deployer.version": deployer.__version__},
    }


def front_image(gateway: PlanGateway) -> str:
    """What Docker is asked for: registry digest, else local image id, else the name before it is pinned."""
    if gateway.digest is not None:
        folder, slash, last = gateway.image.partition("@")[0].rpartition("/")
        return f"{folder}{slash}{last.partition(':')[0]}@{gateway.digest}"
    return gateway.image_id or gateway.image


def front_config(plan: Plan, gateway: PlanGateway) -> str:
    """Text of `haproxy.cfg`. Raises BadInputError for a value that cannot stand in it; a mismatch is a bug."""
    _refuse_unsafe(gateway)
    get, post = (_paths(gateway, method) for method in ("GET", "POST"))
    text = render_template(
        "front.cfg.j2",
        engine=plan.engine,
        why=gateway.why,
        model=plan.name,
        version=deployer.__version__,
        max_connections=MAX_CONNECTIONS,
        max_body_bytes=gateway.max_body_bytes,
        answers=_answers(plan, gateway),
        port=plan.container_port,
        engines=_engines(plan),
        copies_path=COPIES_PATH if plan.copies > 1 else "",
        slots=slots_each(plan),
        waiting=WAITING,
        health=plan.health.path,
        metrics=plan.health.metrics_path,
        get=[path for path in get if path != "/v1/models"],
        post=post,
        lists=gateway.lists,
        passes_key=gateway.passes_key,
    )
    _check(text, plan, gateway)
    return text


def _engines(plan: Plan) -> dict[str, str]:
    """Container of each engine by its service."""
    if plan.copies == 1:
        return {INSIDE: f"deployer-{plan.name}-{INSIDE}-1"}
    return {copy_service(number): copy_container(plan, number) for number in range(1, plan.copies + 1)}


def _paths(gateway: PlanGateway, method: str) -> list[str]:
    return [path for name, _, path in (route.partition(" ") for route in gateway.routes) if name == method]


def _answers(plan: Plan, gateway: PlanGateway) -> dict[str, str]:
    """What the gateway says itself; none holds a quote that would end its place in the file."""
    refused = "invalid_request_error"
    limit = gateway.max_body_bytes
    return {
        "no_key": error_json("missing or wrong API key", refused, "invalid_api_key"),
        "nothing": error_json("there is nothing here", refused, "not_found"),
        "too_long": error_json(f"the request is longer than {limit} bytes", refused, "request_too_large"),
        "unreadable": error_json("the request cannot be read", refused, None),
        "away": error_json(f"{plan.name} does not answer", "server_error", "unavailable"),
        "models": models_json((plan.name,)),
        "model": model_json(plan.name),
    }


def _check(text: str, plan: Plan, gateway: PlanGateway) -> None:
    """Raise DeployerError (a bug) unless the text lets through exactly the plan's routes, to its engine."""
    said = {f"{method.upper()} {path}" for method, paths in _SAYS.findall(text) for path in paths.split()}
    servers = {
        backend: {name: (host, int(port)) for name, host, port, _ in _SERVER.findall(lines)}
        for backend, lines in _BACKEND.findall(text)
    }
    every = {name: (host, plan.container_port) for name, host in _engines(plan).items()}
    wanted = {"engine": every}
    if plan.copies > 1:
        wanted |= {"looks": every} | {name: {"engine": where} for name, where in every.items()}
    count = sum(len(held) for held in wanted.values())
    own = {"GET /v1/models", f"GET /v1/models/{plan.name}"}
    if said != {*gateway.routes, *own} or servers != wanted or text.count("\n    server ") != count:
        raise DeployerError("the rendered haproxy.cfg does not say what the plan says", details={"read_back": servers})


def _refuse_unsafe(gateway: PlanGateway) -> None:
    for field, text, pattern in (
        ("why", gateway.why, _WORDS),
        ("image", gateway.image, _REFERENCE),
        *(("routes", route, _ROUTE) for route in gateway.routes),
        *(("image", digest, _DIGEST) for digest in (gateway.digest, gateway.image_id) if digest is not None),
    ):
        if pattern.fullmatch(text) is None:
            raise BadInputError(
                f"plan: gateway.{field}: {ascii(text)[:120]} does not match {pattern.pattern}",
                hint="make the plan again: deployer plan MODEL --out plan.json",
            )
    if not 0 < gateway.max_body_bytes <= 1 << 40 or not _paths(gateway, "POST"):
        raise BadInputError("plan: gateway: no limit for a body, or no route", hint="make the plan again")
