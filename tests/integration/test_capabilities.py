"""What each real engine can do: as stored in capabilities/*.json, which docs/capabilities.md is made from.

`DEPLOYER_STORE=1 pytest -m integration tests/integration/test_capabilities.py` stores what is found instead.
"""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import free_port
from tests.integration.served import Served
from tests.integration.three import CAPABILITIES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

LIMIT_S = 2000


def checked(served: Served, *args: str) -> dict[str, Any]:
    found = served.deployer("check", *args, "--timeout", "1800", "--json", timeout_s=LIMIT_S)
    return found.ok().json()


def statuses(document: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["status"] for item in document["checks"]}


def stored_document(served: Served, found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a check: nothing that changes from one run to the next but the evidence."""
    kept = {name: found[name] for name in ("format_version", "engine", "context", "complete")}
    checks = [{name: item[name] for name in ("name", "status", "detail")} for item in found["checks"]]
    return {**kept, "engine_version": version(served), "checked": time.strftime("%Y-%m-%d"), "checks": checks}


def version(served: Served) -> str:
    """Of the engine: what an image of the test bed is tagged with, else what was planned."""
    tags = [word.rpartition(":")[2] for word in served.asked if "=deployer-testbed/" in word]
    return tags[0] if tags else str(served.run("plan", *served.asked)["engine_version"])


def test_each_engine_can_do_what_is_stored(each_engine: Served) -> None:
    found = checked(each_engine, each_engine.name)
    path = CAPABILITIES / f"{found['engine']}.json"
    if os.environ.get("DEPLOYER_STORE") == "1":
        text = json.dumps(stored_document(each_engine, found), indent=2, ensure_ascii=False)
        path.write_text(text + "\n")
    assert found["complete"] is True, found
    assert statuses(found) == statuses(json.loads(path.read_text())), found


def test_a_url_is_told_by_what_it_answers(each_engine: Served) -> None:
    from deployer import catalog, health

    client = health.Client(each_engine.document["base_url"], each_engine.key)
    found = health.detect(client, catalog.load_engines())
    assert found is not None
    assert found.engine == each_engine.document["engine"]


def test_no_line_of_a_server_that_serves_would_have_ended_the_wait_for_it(each_engine: Served) -> None:
    from deployer import catalog

    final = [item for item in catalog.load_engine(each_engine.document["engine"]).failures if item.final]
    lines = each_engine.logs().splitlines()
    assert final
    assert len(lines) > 5
    assert [line for line in lines if any(re.search(item.pattern, line) for item in final)] == []


def test_a_server_that_is_not_there_is_said_before_anything_is_checked(deployer: Any, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-key")
    url = f"http://127.0.0.1:{free_port()}"
    document = deployer("check", "--url", url, "--key-file", str(key), "--json").exited(3).json()
    assert document["error"]["kind"] == "precondition"
    assert document["error"]["message"] == f"nothing answers at {url}: connection refused"
