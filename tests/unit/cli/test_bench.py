"""`bench` of a URL: tables or one document, a report that grows, and what was measured when it is interrupted."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.types.benchmark import BenchRun
from tests.unit.bench.scheduled import GAP_S, ROUTE, TTFT_S, Scheduled, scheduled
from tests.unit.cli.begun import begun
from tests.unit.cli.test_bad_input import deployer, refused


@pytest.fixture
def server() -> Iterator[Scheduled]:
    with scheduled() as one:
        one.ttft_s, one.gap_s = 0.005, 0.0
        yield one


def started(server: Scheduled, home: Path, *args: str) -> subprocess.Popen[str]:
    """`latency` ends at its 100 answers, long before the time is up."""
    return begun("bench", server.url, server.key, home, "--seconds", "60", *args)


def bench(server: Scheduled, home: Path, *args: str) -> tuple[int, str, str]:
    process = started(server, home, *args)
    stdout, stderr = process.communicate(timeout=240)
    return process.returncode, stdout, stderr


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_five_of_any_url_in_one_document(server: Scheduled, tmp_path: Path) -> None:
    server.ttft_s, server.gap_s = TTFT_S, 0.001
    code, stdout, stderr = bench(server, tmp_path, "--json", "--users", "2", "--seconds", "5")
    assert code == 0, stderr
    document = json.loads(stdout)
    assert (document["format_version"], document["complete"], document["whose"]) == (1, True, "url")
    assert (document["model"]["name"], document["load"]["context"], document["engine"]) == ("demo", 2048, None)
    assert document["load"]["fixed_by"] == "ignore_eos"
    assert set(document["definitions"]) >= {"TTFT", "TPOT", "E2E", "ITL", "goodput", "knee"}
    results = document["results"]
    assert TTFT_S <= results["latency"]["ttft_s"]["p50"] < results["latency"]["e2e_s"]["p50"] < 10
    alone, both = results["batch"]["points"]
    assert (alone["at_once"], both["at_once"], alone["speed_up"]) == (1, 2, 1.0)
    rates = [point["output_tokens_per_s"]["mean"] for point in (alone, both)]
    assert both["speed_up"] == pytest.approx(rates[1] / rates[0], rel=0.01)
    assert results["prompt"]["points"][0]["prompt_tokens"] == 128
    assert [point["users"] for point in results["users"]["points"]] == [1, 2]
    assert results["memory"]["devices"] == []
    assert "not seen from here" in results["memory"]["why"]
    assert server.key not in stdout + stderr
    assert msgspec.json.decode(stdout, type=BenchRun).complete
    assert server.most >= 2  # a third one only while a cut one is let go


def test_the_tables_and_the_progress_are_apart(server: Scheduled, tmp_path: Path) -> None:
    server.gap_s = GAP_S
    code, stdout, stderr = bench(server, tmp_path, "--suite", "latency, memory", "--seconds", "5")
    assert code == 0
    assert "latency: one request after the other" in stdout
    assert "n too small" in stdout
    assert "not seen from here" in stdout
    assert "batch" not in stdout
    assert "✓ warm-up" in stderr
    assert "only " in stdout
    assert ": --seconds allows more" in stdout


def test_a_report_grows_by_every_run(server: Scheduled, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    for number in (1, 2):
        code, _, stderr = bench(server, tmp_path, "--suite", "latency", "--report", str(folder))
        assert code == 0, stderr
        assert len(list(folder.glob("run-*.json"))) == number
        assert f"wrote {folder}/report.html" in stderr
    (folder / "run-broken.json").write_text('{"format_version": 1')
    (folder / "run-later.json").write_text(next(folder.glob("run-2*.json")).read_text().replace(
        '"format_version": 1', '"format_version": 9', 1))  # fmt: skip
    code, _, stderr = bench(server, tmp_path, "--suite", "latency", "--report", str(folder), "--json")
    assert code == 0
    assert "run-broken.json is left out of the report" in stderr
    assert "has format version 9" in stderr
    text = (folder / "report.md").read_text()
    assert "| 1 | unknown engine · demo" in text
    assert text.count("| 1 |") == 1
    assert (folder / "results.csv").read_text().count("ttft_s.p50") == 3
    assert "<svg" in (folder / "report.html").read_text()
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".w*"))


def test_errors_are_counted_and_the_run_is_marked(server: Scheduled, tmp_path: Path) -> None:
    count = 0

    def change(events: list[Any]) -> list[Any]:
        nonlocal count
        count += 1
        return events[:-2] if count % 4 == 0 and count > 4 else events

    server.change = change
    code, stdout, _ = bench(server, tmp_path, "--suite", "latency", "--json")
    document = json.loads(stdout)
    assert code == 0
    tally = document["results"]["latency"]["tally"]
    assert tally["failed"] > 0
    assert tally["asked"] == tally["answered"] + tally["failed"] + tally["unfinished"]
    assert tally["errors"] == {"the stream ended without its end mark": tally["failed"]}
    assert any("requests failed" in mark["text"] for mark in document["marks"])


def test_short_answers_are_marked(server: Scheduled, tmp_path: Path) -> None:
    server.ignores_length = True
    _, stdout, _ = bench(server, tmp_path, "--suite", "latency")
    assert "answers had 4 to 4 tokens, where 64 were asked for" in stdout


def test_a_server_of_which_nothing_can_be_measured_is_exit_6_with_a_document(server: Scheduled, tmp_path: Path) -> None:
    server.change = lambda events: [one for one in events if "usage" not in one]
    code, stdout, stderr = bench(server, tmp_path, "--json", "--report", str(tmp_path / "report"))
    document = json.loads(stdout)
    assert (code, document["complete"]) == (6, False)
    assert list((tmp_path / "report").iterdir()) == []
    assert document["error"]["message"] == "nothing could be measured: the answer has no token `usage`"
    assert "deployer check --url" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_was_measured(server: Scheduled, tmp_path: Path, number: int, code: int) -> None:
    count = 0

    def change(events: list[Any]) -> list[Any]:
        """After 3 to warm up and 15 more, an answer that goes on for longer than anybody waits here."""
        nonlocal count
        count += 1
        if count <= 18:
            return events
        server.gap_s = 0.1
        return events[:2] + events[1:2] * 3000

    server.change = change
    process = started(server, tmp_path, "--json", "--seconds", "200", "--report", str(tmp_path / "report"))
    wait_for(lambda: count > 18)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    document = json.loads(stdout)
    assert (process.returncode, document["complete"], document["error"]["kind"]) == (code, False, "interrupted")
    assert 10 <= document["results"]["latency"]["tally"]["answered"] <= 15  # the last may not have been counted yet
    assert document["results"]["batch"] is None
    assert "Traceback" not in stderr
    assert "ended early" in (tmp_path / "report" / "report.md").read_text()
    wait_for(lambda: not server.busy)


def test_a_dead_port_a_wrong_key_and_a_server_of_vectors(server: Scheduled, tmp_path: Path) -> None:
    nobody = deployer("bench", "--url", "http://127.0.0.1:1", home=tmp_path)
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "nothing answers" in nobody.stderr
    server.routes[ROUTE] = lambda handler: handler.reply(401, {})
    code, _, stderr = bench(server, tmp_path)
    assert code == 2
    assert "refuses this key" in stderr
    unlisted = deployer("bench", "--url", server.url, home=tmp_path)
    assert unlisted.returncode == 2
    assert f"next:  deployer bench --url {server.url} --key-file FILE" in unlisted.stderr


def test_what_does_not_fit_in_the_context_is_not_asked(server: Scheduled, tmp_path: Path) -> None:
    code, stdout, _ = bench(server, tmp_path, "--input-tokens", "2000", "--json")
    assert code == 2
    assert "2000 tokens of prompt and 64 of answer do not fit" in json.loads(stdout)["error"]["message"]
    assert [path for path, _, _ in server.requests if path == ROUTE] == [ROUTE]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--suite", "latency,speed"), "--suite 'speed'"),
        (("--suite", ""), "--suite ''"),
        (("--slo", "ttft:200"), "--slo 'ttft:200'"),
        (("--slo", "ttft:200,tpot:-1"), "--slo"),
        (("--slo", "ttft:200,tpot:nan"), "--slo"),
        (("--slo", "ttft:200,tpot:50,e2e:1"), "--slo"),
        (("--seconds", "0"), "--seconds"),
        (("--users", "65"), "--users"),
        (("--output-tokens", "1"), "--output-tokens"),
        (("demo", "--url", "http://127.0.0.1:1"), "not both"),
        (("nobody",), "nobody"),
        (("--report", "/dev/null"), "--report"),
    ],
)
def test_words_that_are_none(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in str(refused("bench", *words, home=tmp_path)["message"])


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(server: Scheduled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, stderr = bench(server, tmp_path, "--report", str(tmp_path / "file" / "report"))
    assert code == 2
    assert "--report" in stderr
    assert server.requests == []
