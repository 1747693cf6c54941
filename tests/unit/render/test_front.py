"""The gateway before an engine: what it lets through is what the plan says, whatever somebody writes into a plan."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from deployer import execution
from deployer.decide import plan_hash
from deployer.errors import BadInputError
from deployer.render import render
from deployer.types import Plan, PlanGateway
from tests.unit.render import plans

FRONT = PlanGateway(
    why="Ollama has no API key",
    image="docker.io/library/haproxy:3.2",
    routes=("GET /v1/models", "POST /v1/chat/completions", "GET /api/ps"),
    lists=True,
)


def behind(**changes: Any) -> Plan:
    return plans.plan(engine="ollama", gateway=msgspec.structs.replace(FRONT, **changes))


def services(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(render(plan).files["compose.yaml"])
    return document


def test_only_the_gateway_is_published_and_only_it_has_the_key() -> None:
    document = services(behind())
    engine, front = document["services"]["engine"], document["services"]["llm"]
    assert "ports" not in engine
    assert engine["networks"] == ["engine"]
    assert engine["secrets"] == []
    assert front["ports"] == ["127.0.0.1:8000:8080"]
    assert front["networks"] == ["llm", "engine"]
    assert front["secrets"] == ["api_key"]
    assert document["networks"] == {"llm": {"driver": "bridge"}, "engine": {"driver": "bridge", "internal": True}}
    assert "io.deployer.name" not in front["labels"]
    assert front["labels"]["io.deployer.gateway"] == engine["labels"]["io.deployer.name"]


def test_both_are_locked_down_alike() -> None:
    for service in services(behind())["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "65532:65532"
        assert service["pull_policy"] == "never"
        assert service["restart"] == "on-failure:3"
        assert service["mem_limit"] == service["memswap_limit"]
        assert service["pids_limit"] > 0
        assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}


def test_an_engine_with_a_key_of_its_own_gets_it_and_the_header() -> None:
    with_key = behind(passes_key=True)
    assert services(with_key)["services"]["engine"]["secrets"] == ["api_key"]
    assert "del-header Authorization" not in render(with_key).files["haproxy.cfg"]
    assert "del-header Authorization" in render(behind()).files["haproxy.cfg"]


def test_the_image_is_content_once_it_is_known() -> None:
    image_id, digest = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
    assert services(behind())["services"]["llm"]["image"] == "docker.io/library/haproxy:3.2"
    assert services(behind(image_id=image_id))["services"]["llm"]["image"] == image_id
    pulled = services(behind(image_id=image_id, digest=digest))["services"]["llm"]["image"]
    assert pulled == f"docker.io/library/haproxy@{digest}"


def test_every_answer_is_json_in_the_form_of_openai() -> None:
    text = render(behind()).files["haproxy.cfg"]
    answers = [json.loads(found) for found in re.findall(r"string '(.*?)'", text)]
    assert len(answers) >= 6
    assert all(set(answer["error"]) == {"message", "type", "param", "code"} for answer in answers if "error" in answer)
    assert [answer["data"][0]["id"] for answer in answers if "data" in answer] == ["qwen"]
    assert [answer["id"] for answer in answers if answer.get("object") == "model"] == ["qwen"]


def test_a_page_in_a_browser_may_ask_and_gets_nothing_without_the_key() -> None:
    rules = [line.strip() for line in render(behind()).files["haproxy.cfg"].splitlines()]
    preflight = next(place for place, line in enumerate(rules) if line.endswith("if METH_OPTIONS"))
    key = next(place for place, line in enumerate(rules) if "return status 401" in line)
    assert preflight < key
    assert 'hdr Access-Control-Allow-Headers "Authorization, *"' in rules[preflight]
    assert 'http-after-response set-header Access-Control-Allow-Origin "*"' in rules
    assert "Access-Control-Allow-Credentials" not in "".join(rules)  # no cookie is ever sent along


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("routes", ("POST /v1/chat/completions /api/pull",)),
        ("routes", ("POST /v1/x\n    http-request allow",)),
        ("routes", ("DELETE /api/delete",)),
        ("routes", ("POST /v1/../api/pull",)),
        ("routes", ("POST /",)),
        ("routes", ("GET /v1/models",)),
        ("why", "x\nfrontend open"),
        ("why", "'"),
        ("image", "haproxy:3.2 --privileged"),
        ("image_id", "latest"),
        ("max_body_bytes", 0),
    ],
)
def test_what_cannot_stand_in_the_file_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadInputError, match="gateway"):
        render(behind(**{field: value}))


def test_dots_in_a_path_are_names_and_not_a_way_up() -> None:
    assert "may_post path /v1/a.b" in render(behind(routes=("POST /v1/a.b",))).files["haproxy.cfg"]


def test_files_and_the_store_are_mounted_where_the_plan_says() -> None:
    plan = msgspec.structs.replace(behind(), files={"Modelfile": "FROM /m\n"}, store="/var/tmp", writable=("/var/tmp",))
    bundle, engine = render(plan), services(plan)["services"]["engine"]
    assert bundle.files["Modelfile"] == "FROM /m\n"
    mounts = {mount["target"]: mount for mount in engine["volumes"]}
    assert mounts["/run/deployer/Modelfile"]["read_only"] is True
    assert mounts["/var/tmp"] == {"type": "volume", "source": "store", "target": "/var/tmp"}
    assert not any(line.startswith("/var/tmp:") for line in engine["tmpfs"])


@pytest.mark.parametrize("name", ["Dockerfile", "../x", "compose.yaml", "a b", "launch.py"])
def test_a_file_cannot_take_the_place_of_another(name: str) -> None:
    with pytest.raises(BadInputError, match="files"):
        render(msgspec.structs.replace(behind(), files={name: "x"}))


def test_a_store_elsewhere_is_refused() -> None:
    with pytest.raises(BadInputError, match="store"):
        render(msgspec.structs.replace(behind(), store="/etc"))


def test_the_gateway_is_part_of_what_the_plan_is() -> None:
    assert plan_hash(behind()) != plan_hash(behind(max_body_bytes=1))
    assert plan_hash(behind()) != plan_hash(msgspec.structs.replace(behind(), gateway=None))


def test_compose_lint_finds_nothing(tmp_path: Path) -> None:
    for name, text in render(behind(digest="sha256:" + "cd" * 32)).files.items():
        (tmp_path / name).write_text(text)
    argv = [sys.executable, "-m", "compose_lint", "check", "--format", "json", "--fail-on", "low"]
    found = execution.run([*argv, str(tmp_path / "compose.yaml")], timeout_s=60, cwd=tmp_path)
    assert json.loads(found.stdout)["findings"] == []
