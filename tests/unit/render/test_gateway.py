"""The gateway's files: one server a model, no key in them, and nothing a name could change."""

import json
import re
from typing import Any

import msgspec
import pytest
import yaml

from deployer.errors import BadInputError
from deployer.render.gateway import MAX_CONNECTIONS, PATHS, gateway_hash, render_gateway
from deployer.types.several import GatewayPlan, GatewayRoute

replace = msgspec.structs.replace


def route(model: str, **changes: Any) -> GatewayRoute:
    made = GatewayRoute(model=model, host=f"deployer-{model}-llm-1", port=8080, network=f"deployer-{model}_llm")
    return replace(made, **changes)


def gateway(*models: str, **changes: Any) -> GatewayPlan:
    models = models or ("chat", "embed")
    made = GatewayPlan(
        name="gateway",
        base_url="http://127.0.0.1:8000/v1",
        address="127.0.0.1",
        port=8000,
        models=models,
        key_file="/var/lib/deployer/secrets/gateway/api_key",
        backend_keys="/var/lib/deployer/secrets/gateway/backend_keys",
        container_user="65532:65532",
        image="docker.io/library/haproxy:3.2",
        image_id="sha256:" + "a" * 64,
        routes=tuple(route(model) for model in models),
    )
    return replace(made, **changes)


def compose(made: GatewayPlan) -> Any:
    return yaml.safe_load(render_gateway(made, "x").files["compose.yaml"])


def config(made: GatewayPlan) -> str:
    return render_gateway(made, "x").files["haproxy.cfg"]


def test_every_model_has_its_server_and_its_network() -> None:
    text, tree = config(gateway()), compose(gateway())
    for model in ("chat", "embed"):
        assert f"backend model-{model}\n    server llm deployer-{model}-llm-1:8080 resolvers docker" in text
        assert tree["networks"][model] == {"name": f"deployer-{model}_llm", "external": True}
    assert tree["services"]["gateway"]["networks"] == ["gateway", "chat", "embed"]
    listed = json.loads(render_gateway(gateway(), "x").files["models.json"])
    assert [item["id"] for item in listed["data"]] == ["chat", "embed"]


def test_it_is_as_locked_down_as_a_server() -> None:
    service = compose(gateway())["services"]["gateway"]
    assert service["image"] == "sha256:" + "a" * 64
    assert service["pull_policy"] == "never"
    assert service["ports"] == ["127.0.0.1:8000:8080"]
    assert service["user"] == "65532:65532"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] == 64
    assert service["mem_limit"] == service["memswap_limit"]
    assert service["secrets"] == ["api_key", "backend_keys"]
    assert all(mount["read_only"] for mount in service["volumes"])


def test_every_connection_with_two_full_buffers_fits_in_its_memory() -> None:
    made = gateway()
    buffer = int(re.findall(r"tune\.bufsize (\d+)", config(made))[0])
    limit = int(compose(made)["services"]["gateway"]["mem_limit"].removesuffix("m")) * 1024 * 1024
    assert buffer > made.max_body_bytes
    assert 2 * buffer * MAX_CONNECTIONS < limit


def test_rules_stand_in_the_order_that_guards() -> None:
    text = config(gateway())
    places = [text.index(word) for word in ("path /health", "401.json hdr", "models.json if", "404.json unless")]
    places += [text.index(word) for word in ("413.json if", "set-var(txn.model)", "map_str(/run/secrets/backend_keys)")]
    assert places == sorted(places)
    assert f"acl asks_a_model path {' '.join(PATHS)}\n" in text
    assert text.count("use_backend ") == 1


def test_a_page_in_a_browser_may_ask_and_one_model_is_told() -> None:
    text = config(gateway())
    places = [text.index(word) for word in ("if METH_OPTIONS", "req.hdr(x-api-key)", "401.json hdr", "txn.named")]
    assert places == sorted(places)
    assert 'http-after-response set-header Access-Control-Allow-Origin "*"' in text
    (told,) = re.findall(r"lf-string '(.*?)' if", text)
    assert json.loads(told) == {"id": "%[var(txn.named)]", "object": "model", "created": 0, "owned_by": "deployer"}
    assert "{ var(txn.named) -m str chat embed }" in text


def test_the_same_gateway_gives_the_same_bytes_and_other_keys_another_hash() -> None:
    first, again = render_gateway(gateway(), "x"), render_gateway(gateway(), "x")
    assert first == again
    assert len(gateway_hash(first)) == 64
    others = [render_gateway(gateway(), "y"), render_gateway(gateway("chat"), "x")]
    others += [render_gateway(gateway(port=8001), "x"), render_gateway(gateway(container_user="0:0"), "x")]
    assert len({gateway_hash(bundle) for bundle in (first, *others)}) == 5


def test_what_it_says_itself_is_in_openai_s_form() -> None:
    files = render_gateway(gateway(), "x").files
    for name in ("400.json", "401.json", "404.json", "413.json", "503.json", "unknown_model.json"):
        error = json.loads(files[name])["error"]
        assert set(error) == {"message", "type", "param", "code"}
    assert "chat, embed" in files["unknown_model.json"]


def test_open_addresses_carry_a_warning() -> None:
    assert (
        "WARNING: reachable from other machines" in render_gateway(gateway(address="0.0.0.0"), "").files["compose.yaml"]
    )
    six = compose(gateway(address="::1"))["services"]["gateway"]
    assert six["ports"] == ["[::1]:8000:8080"]


@pytest.mark.parametrize("bad", ["a b", "a\nbackend x", "A", "", "-x", "a;b", "${X}", "a'b", "a" * 60])
def test_a_name_that_could_change_the_file_is_refused(bad: str) -> None:
    with pytest.raises(BadInputError, match="gateway: "):
        render_gateway(gateway(bad), "x")
    with pytest.raises(BadInputError, match="gateway: "):
        render_gateway(gateway("chat", routes=(route("chat", host=f"{bad}\x00/"),)), "x")


def test_a_model_without_a_server_is_refused() -> None:
    with pytest.raises(BadInputError, match="every model needs a server"):
        render_gateway(gateway("chat", routes=()), "x")
