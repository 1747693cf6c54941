"""A gateway to its files: `compose.yaml`, `haproxy.cfg` and the answers that it gives itself. Pure.

Values that stand in `haproxy.cfg` are names, ports and numbers of a narrow form, checked before and read back after.
"""

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

import deployer
from deployer.errors import BadInputError, DeployerError
from deployer.render.jinja import render_template
from deployer.render.proxy import CONFIG, FOLDER, error_json, locked_down, model_json, models_json, mounted
from deployer.render.readback import check_yaml
from deployer.types import Bundle
from deployer.types.address import in_url
from deployer.types.several import GatewayPlan

SERVICE = "gateway"
CONTAINER_PORT = 8080
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
)
"""What is passed on, by POST; all of them name their model in the body."""

MAX_CONNECTIONS = 200
HEAD_BYTES = 48_576
"""Room in a buffer beside the body: the request's head."""

_OWN_MIB = 128
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_HOST = re.compile(r"[a-z0-9][a-z0-9_.-]{0,120}")
_SERVER = re.compile(
    r"^backend model-(\S+)\n    server llm (\S+):(\d+) resolvers docker init-addr libc,none$", re.MULTILINE
)
_KNOWN = re.compile(r"^    acl is_known var\(txn\.model\) -m str (.*)$", re.MULTILINE)


def render_gateway(gateway: GatewayPlan, keys: str) -> Bundle:
    """Files by name. `keys` is a digest of what the servers' keys are: other keys are other files.

    Raises BadInputError for a value that cannot stand in them; a mismatch is a bug.
    """
    _refuse_unsafe(gateway)
    files = {**_answers(gateway), CONFIG: _config(gateway)}
    everything = json.dumps([_compose(gateway, files, ""), files, keys], sort_keys=True)
    digest = hashlib.sha256(everything.encode()).hexdigest()
    return Bundle(files={"compose.yaml": _compose(gateway, files, digest), **files})


def gateway_hash(bundle: Bundle) -> str:
    """What the container's label says when it runs these files."""
    found = re.search(r'"io\.deployer\.plan": "([0-9a-f]{64})"', bundle.files["compose.yaml"])
    return "" if found is None else found[1]


def _compose(gateway: GatewayPlan, files: dict[str, str], digest: str) -> str:
    networks: dict[str, Any] = {SERVICE: {"driver": "bridge"}}
    networks |= {route.model: {"name": route.network, "external": True} for route in gateway.routes}
    tree: dict[str, Any] = {
        "name": f"deployer-{gateway.name}",
        "services": {SERVICE: _service(gateway, files, digest)},
        "networks": networks,
        "secrets": {"api_key": {"file": gateway.key_file}, "backend_keys": {"file": gateway.backend_keys}},
    }
    text = render_template(
        "gateway.yaml.j2",
        version=deployer.__version__,
        models=gateway.models,
        tree=tree,
        service=tree["services"][SERVICE],
        loopback=ipaddress.ip_address(gateway.address).is_loopback,
    )
    check_yaml(text, tree, "compose.yaml")
    return text


def _service(gateway: GatewayPlan, files: dict[str, str], digest: str) -> dict[str, Any]:
    buffers_mib = 2 * MAX_CONNECTIONS * _buffer_bytes(gateway) // (1024 * 1024)
    closed = locked_down(gateway.image_id or gateway.image, gateway.container_user, memory_mib=_OWN_MIB + buffers_mib)
    return closed | {
        "ports": [f"{in_url(gateway.address)}:{gateway.port}:{CONTAINER_PORT}"],
        "networks": [SERVICE, *(route.model for route in gateway.routes)],
        "secrets": ["api_key", "backend_keys"],
        "volumes": [mounted(name) for name in sorted(files)],
        "labels": {
            "io.deployer.name": gateway.name,
            "io.deployer.plan": digest,
            "io.deployer.version": deployer.__version__,
        },
    }


def _config(gateway: GatewayPlan) -> str:
    text = render_template(
        "haproxy.cfg.j2",
        version=deployer.__version__,
        models=gateway.models,
        routes=gateway.routes,
        one=model_json("%[var(txn.named)]"),
        paths=PATHS,
        folder=FOLDER,
        container_port=CONTAINER_PORT,
        max_connections=MAX_CONNECTIONS,
        max_body_bytes=gateway.max_body_bytes,
        buffer_bytes=_buffer_bytes(gateway),
    )
    _check_config(text, gateway)
    return text


def _buffer_bytes(gateway: GatewayPlan) -> int:
    return gateway.max_body_bytes + HEAD_BYTES


def _check_config(text: str, gateway: GatewayPlan) -> None:
    """Raise DeployerError (a bug) unless the text names exactly these models and servers."""
    servers = [(model, host, int(port)) for model, host, port in _SERVER.findall(text)]
    wanted = [(route.model, route.host, route.port) for route in gateway.routes]
    known = [match.split() for match in _KNOWN.findall(text)]
    if servers != wanted or known != [list(gateway.models)] or text.count("\nbackend ") != len(wanted):
        raise DeployerError("the rendered haproxy.cfg does not say what the plan says", details={"read_back": servers})


def _answers(gateway: GatewayPlan) -> dict[str, str]:
    """What the gateway says itself, in OpenAI's form."""
    limit = f"the request is longer than {gateway.max_body_bytes} bytes"
    asked = f"the request names no model, or none that is served here: {', '.join(gateway.models)}"
    errors = {
        "400.json": ("the request cannot be read", "invalid_request_error", None),
        "401.json": ("missing or wrong API key", "invalid_request_error", "invalid_api_key"),
        "404.json": ("there is nothing here", "invalid_request_error", "not_found"),
        "413.json": (limit, "invalid_request_error", "request_too_large"),
        "503.json": ("the server of this model does not answer", "server_error", "unavailable"),
        "unknown_model.json": (asked, "invalid_request_error", "model_not_found"),
    }
    files = {name: error_json(*words) + "\n" for name, words in errors.items()}
    return files | {"models.json": models_json(gateway.models) + "\n"}


def _refuse_unsafe(gateway: GatewayPlan) -> None:
    for field, text, pattern in _patterns(gateway):
        if pattern.fullmatch(text) is None:
            raise BadInputError(f"gateway: {field} {text!a} cannot be used", hint="correct deployer.yaml")
    if tuple(route.model for route in gateway.routes) != gateway.models or not gateway.models:
        raise BadInputError("gateway: every model needs a server", hint="correct deployer.yaml")


def _patterns(gateway: GatewayPlan) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    yield "name", gateway.name, _NAME
    for route in gateway.routes:
        yield "model", route.model, _NAME
        yield "host", route.host, _HOST
        yield "network", route.network, _HOST
