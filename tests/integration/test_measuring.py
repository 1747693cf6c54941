"""What a real server takes beside its estimate, in a container and as a process, and what the next plan learns."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Deployer, free_port

pytestmark = pytest.mark.integration

MODEL = "smollm2-135m-instruct"
WAYS = {"compose": ("--image", "debian"), "process": ("--image", "xllamacpp")}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    assert chosen != "process" or importlib.util.find_spec("xllamacpp") is not None, (
        "xllamacpp is missing: scripts/test"
    )
    return chosen


@pytest.fixture
def run(deployer: Deployer, way: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """A verb on the model, by one runtime, on a port of its own; whatever runs at the end is taken down."""
    words = (MODEL, "--runtime", way, *WAYS[way], "--quant", "Q4_1", "--port", str(free_port()), "--json")

    def asked(verb: str, *more: str) -> dict[str, Any]:
        return deployer(verb, *words, *more).ok().json()

    yield asked
    deployer("down", MODEL, "--yes")


def test_up_measures_and_the_next_plan_learns(run: Callable[..., dict[str, Any]], deployer: Deployer, way: str) -> None:
    before = run("plan")
    assert before["learned"] == 0
    first = run("up", "--yes")
    (row,) = first["measured"]
    assert row["how"] == "resident", row
    assert {"weights", "kv", "compute"} <= set(row["parts"]), row
    assert 0 < row["measured_mib"] <= row["predicted_mib"] + row["margin_mib"], row
    assert row["measured_mib"] > row["parts"]["weights"] + row["parts"]["kv"], row

    again = run("up", "--yes")
    assert (again["changed"], again["release"]) == (False, first["release"])
    assert again["measured"] == first["measured"]

    after = run("plan")
    (device,) = after["memory"]["devices"]
    assert after["learned"] == 1
    assert device["formula"]["measurements"] == 1
    assert device["formula"]["total_mib"] == row["predicted_mib"]
    assert device["total_mib"] >= row["measured_mib"]
    assert any("corrected by 1 measurement here" in reason for reason in after["reasons"])

    status = deployer("status", "--json").ok().json()["deployments"][0]
    assert status["measured"] == first["measured"]
    release = deployer("history", MODEL, "--json").ok().json()["releases"][0]
    seen = release["measured"]["measured"][0]
    assert seen["used_mib"] == row["measured_mib"]
    assert (seen["cgroup_mib"] is None) == (way == "process")
    shown = deployer("fit", "--history").ok().stdout
    assert f"{row['measured_mib']} MiB" in shown


@pytest.mark.parametrize("way", ["process"], indirect=True)
def test_a_server_that_takes_more_than_the_formulas_say_is_left_alone(
    run: Callable[..., dict[str, Any]], deployer: Deployer
) -> None:
    """The index is made to say that it took 4000 MiB more: a plan for it is another, the server is not restarted."""
    first = run("up", "--yes")
    (index,) = (deployer.home / "ledger" / "observations").glob("*.json")
    text = index.read_text()
    (row,) = first["measured"]
    index.write_text(text.replace(f'"used_mib": {row["measured_mib"]}', f'"used_mib": {row["measured_mib"] + 4000}'))
    planned = run("plan")
    assert planned["memory"]["devices"][0]["total_mib"] >= row["measured_mib"] + 4000
    assert any("took more of" in warning for warning in planned["warnings"])
    again = run("up", "--yes")
    assert (again["changed"], again["release"]) == (False, first["release"])
    deployer("down", MODEL, "--yes").ok()
    anew = run("up", "--yes")
    assert anew["changed"] is True
    assert anew["measured"][0]["predicted_mib"] >= row["measured_mib"] + 4000
