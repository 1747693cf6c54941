"""`process.json` is what the process runtime starts."""

import json

import msgspec

from deployer.render import render
from tests.unit.render import plans


def test_it_holds_the_argument_vector_and_how_to_ask_for_health() -> None:
    plan = plans.process()

    found = json.loads(render(plan).files["process.json"])

    assert tuple(found["argv"]) == plan.command
    assert found["environment"] == plan.environment
    assert found["health"] == {"path": "/health", "loading_status": 503, "start_period_s": 120}
    assert (found["address"], found["port"]) == ("127.0.0.1", 8000)
    assert found["limits"] == {"memory_mib": 8192, "pids": 1024, "cpus": 16}
    assert found["plan_hash"] == plan.plan_hash


def test_words_are_kept_as_they_are() -> None:
    words = ("llama-server", "${X}", "$$", "a\nb", "\u202e", "\U0001f600", "")

    found = json.loads(render(msgspec.structs.replace(plans.process(), command=words)).files["process.json"])

    assert tuple(found["argv"]) == words


def test_environment_order_changes_nothing() -> None:
    one = plans.process()
    first = msgspec.structs.replace(one, environment={"A": "1", "B": "2"})
    second = msgspec.structs.replace(one, environment={"B": "2", "A": "1"})

    assert render(first) == render(second)
