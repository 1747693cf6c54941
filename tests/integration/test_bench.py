"""The five measurements of a real server, as ours and as one that was adopted, and their comparison."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.served import Served, resident_mib, serving

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

# Two threads that spin wait for each other where others use the processor too.
ONE_THREAD = ("--engine-arg=--threads", "--engine-arg=1")
ASKED = ("smollm2-135m-instruct", "--engine", "llama.cpp", "--image", "debian", "--quant", "Q4_1")
BRIEF = ("--seconds", "5", "--output-tokens", "16")


@pytest.fixture(scope="module")
def served(docker_engine: "docker.DockerClient") -> Iterator[Served]:
    words = (*ASKED, *ONE_THREAD, "--users", "2", "--context", "1024", "--runtime", "compose")
    with serving(docker_engine, "bench", *words) as found:
        yield found


@pytest.fixture(scope="module")
def report(served: Served) -> Path:
    return served.deployer.home.parent / "work" / "report"


@pytest.fixture(scope="module")
def ours(served: Served, report: Path) -> dict[str, Any]:
    """The first run, of the server as a deployment."""
    found: dict[str, Any] = served.run("bench", served.name, *BRIEF, "--report", str(report))
    return found


def test_what_is_measured_is_what_the_server_says_too(ours: dict[str, Any], served: Served) -> None:
    assert ours["complete"] is True
    latency = ours["results"]["latency"]
    assert latency["tally"]["failed"] == 0
    assert (latency["output_tokens_min"], latency["output_tokens_max"]) == (16, 16)
    assert latency["prompt_tokens"]["p50"] == pytest.approx(128, rel=0.1)
    assert 0.97 <= latency["pieces_per_token"] <= 1.02
    low, high = (latency["ttft_s"][place] + 15 * latency["tpot_s"][place] for place in ("p10", "p90"))
    assert low <= latency["e2e_s"]["p90"] * 1.1
    assert latency["e2e_s"]["p10"] <= high * 1.1
    assert ours["load"]["fixed_by"] == "ignore_eos"


def test_batches_lengths_and_users_of_ours(ours: dict[str, Any]) -> None:
    results = ours["results"]
    assert [point["at_once"] for point in results["batch"]["points"]] == [1, 2]
    assert results["batch"]["points"][0]["output_tokens_per_s"]["mean"] > 0
    lengths = results["prompt"]["points"]
    assert lengths[0]["wanted_tokens"] == 128
    for point in lengths:
        assert point["prompt_tokens"] == pytest.approx(point["wanted_tokens"], rel=0.1)
        assert point["cached_tokens"] < 40, "only the beginning of the chat template is the same in two prompts"
    assert [point["wanted_tokens"] for point in lengths] == sorted({point["wanted_tokens"] for point in lengths})
    assert [point["users"] for point in results["users"]["points"]][:2] == [1, 2]
    assert results["users"]["points"][0]["output_tokens_per_s"]["mean"] > 0


def test_memory_of_ours_is_beside_the_plan(
    ours: dict[str, Any], served: Served, docker_engine: "docker.DockerClient"
) -> None:
    (host,) = ours["results"]["memory"]["devices"]
    assert host["device"] == "host"
    assert 0 < host["idle_mib"] <= host["peak_mib"]
    assert host["prompt_cache_mib"] == served.run("plan", *served.asked)["settings"]["prompt_cache_mib"]
    assert -50 < host["error_percent"] <= 0, "more than the estimate and all prompts that may be kept"
    assert host["peak_mib"] >= 0.9 * resident_mib(served.container(docker_engine))


def test_the_record_says_what_was_measured(ours: dict[str, Any], served: Served) -> None:
    assert (ours["whose"], ours["engine"], ours["name"]) == ("deployed", "llama.cpp", served.name)
    assert ours["image"]["id"] == served.document["image"]["id"]
    assert ours["settings"]["slots"] == 2
    assert ours["model"]["quantization"] == "Q4_1"
    (digest,) = ours["model"]["sha256"].values()
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert re.fullmatch("[0-9a-f]{12}", ours["host_fingerprint"])
    assert served.key not in str(ours)


def test_an_adopted_server_is_measured_alike_and_compared(
    ours: dict[str, Any], served: Served, report: Path, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(served.key)
    served.run("adopt", served.document["base_url"], "--name", "desk", "--key-file", str(key_file), "--yes")
    try:
        found = served.run("bench", "desk", *BRIEF, "--seconds", "4", "--users", "2", "--report", str(report))
    finally:
        served.run("down", "desk", "--yes")
    assert (found["whose"], found["engine"], found["engine_version"]) == ("adopted", "llama.cpp", None)
    assert found["load"]["context"] == 1024
    assert found["results"]["memory"]["devices"] == []
    assert "not seen from here" in found["results"]["memory"]["why"]
    assert found["definitions"] == ours["definitions"]
    assert [point["at_once"] for point in found["results"]["batch"]["points"]] == [1, 2]
    table = (report / "report.md").read_text()
    assert table.count("\n| 1 | llama.cpp") == table.count("\n| 2 | llama.cpp") == 1
    assert (report / "report.html").read_text().count("<figure>") >= 2
    rows = list(csv.DictReader((report / "results.csv").read_text().splitlines()))
    assert {row["configuration"] for row in rows} == {"1", "2"}
    assert {row["suite"] for row in rows} == {"latency", "batch", "prompt", "memory", "users"}


def test_a_server_that_is_down_is_a_precondition(served: Served) -> None:
    served.run("down", served.name, "--yes")
    error = served.deployer("bench", served.name, "--json").exited(3).json()["error"]
    assert error["kind"] == "precondition"
    assert served.name in error["hint"]
