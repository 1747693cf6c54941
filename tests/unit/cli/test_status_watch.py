"""`status --watch` as a person, a log and a script read it, over a real server that publishes metrics."""

import contextlib
import itertools
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployer import ledger
from deployer.cli import show_status
from deployer.paths import Home
from deployer.types import Adopted, Live, Row

KEY = "right-key"
TEXT = """# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total {tokens}
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds 148.5
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 3
"""


class Metrics(ThreadingHTTPServer):
    daemon_threads = True
    looks = 0


class Server(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        """50 tokens from one look to the next, for those who have the key."""
        assert isinstance(self.server, Metrics)
        self.server.looks += self.path == "/metrics"
        pages = {
            "/metrics": TEXT.format(tokens=1000 + 50 * self.server.looks),
            "/v1/models": json.dumps({"data": [{"id": "demo", "object": "model"}]}),
        }
        allowed = self.headers.get("Authorization") == f"Bearer {KEY}"
        body = pages.get(self.path, "").encode() if allowed else b""
        self.send_response(200 if body else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An installation that knows one server, which is not ours: no container engine is needed to ask it."""
    server = Metrics(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    found = Adopted(
        name="theirs", base_url=f"http://127.0.0.1:{server.server_address[1]}", model="demo", engine="llama.cpp"
    )
    place = tmp_path / "home"
    ledger.adopt(Home(config=place / "config", state=place, lock=place / "lock"), found, KEY)
    yield place
    server.shutdown()
    thread.join()
    server.server_close()


def start(home: Path, *words: str, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deployer", "status", *words],
        env={**os.environ, "DEPLOYER_HOME": str(home), "DOCKER_HOST": "unix:///nonexistent.sock", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Ctrl-C ends it with 0 and without a word; returns what else it had written."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out or ""


def test_json_is_one_document_a_line_with_speed_by_difference(home: Path) -> None:
    process = start(home, "--watch", "--interval", "0.5", "--json")
    assert process.stdout is not None
    looks = [json.loads(process.stdout.readline()) for _ in range(3)]
    ended(process)
    lives = [look["deployments"][0]["live"] for look in looks]
    first = lives[0]
    assert (first["tokens_per_s"], first["over_s"]) == (148.5, None)
    assert (first["requests_running"], first["requests_waiting"]) == (2.0, 3.0)
    assert [live["generated_tokens"] for live in lives] == [1050, 1100, 1150]
    for before, now in itertools.pairwise(lives):
        seconds = now["at_s"] - before["at_s"]  # a look that came late is followed by one at once
        assert now["tokens_per_s"] == pytest.approx(50 / seconds, abs=0.06)
        assert now["over_s"] == pytest.approx(seconds, abs=0.006)
    assert all(look["at"].endswith("Z") for look in looks)


def test_without_a_terminal_it_is_a_line_each_time(home: Path) -> None:
    process = start(home, "--watch", "--interval", "0.3")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    ended(process)
    assert all("name=theirs status=adopted answers=yes" in line for line in lines)
    assert "tokens/s=148.5 running=2 waiting=3" in lines[0]


def test_on_a_terminal_a_table_stays_until_ctrl_c(home: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(home, "--watch", "--interval", "0.3", output=theirs)
    os.close(theirs)
    seen, until = "", time.monotonic() + 60
    while seen.count("theirs") < 3 and time.monotonic() < until:
        if select.select([ours], [], [], 0.2)[0]:
            seen += os.read(ours, 65536).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # EIO: the other end was closed
        while select.select([ours], [], [], 60)[0]:
            os.read(ours, 65536)
    _, err = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, err) == (0, "")
    assert "TOKENS/S" in seen
    assert seen.count("theirs") >= 3


def test_one_document_has_the_metrics_and_the_table_does_not_ask(home: Path) -> None:
    once = start(home, "--json")
    out, _ = once.communicate(timeout=60)
    (row,) = json.loads(out)["deployments"]
    assert row["live"]["tokens_per_s"] == 148.5
    assert row["live"]["memory_mib"] == {}
    table, _ = start(home).communicate(timeout=60)
    assert "theirs" in table
    assert "TOKENS/S" not in table


def test_without_its_key_it_says_why(home: Path) -> None:
    key = home / "secrets/theirs/api_key"
    key.chmod(0o600)
    key.write_text("wrong")
    out, _ = start(home, "--json").communicate(timeout=60)
    (row,) = json.loads(out)["deployments"]
    assert row["answers"] is False
    assert row["live"]["why"].startswith("HTTP 401")


def test_an_interval_of_nothing_is_refused(home: Path) -> None:
    process = start(home, "--watch", "--interval", "0")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--interval" in err


def test_memory_of_several_devices_is_named() -> None:
    live = Live(memory_mib={"host": 400, "GPU-0e2b7f4a-5c39": 20480}, kv_cache_usage=0.125, why="no \x1b[31mreason")
    row = Row(name="a", status="running", release=1, engine="vllm", devices=("RTX 4090",), live=live)
    assert show_status.watched(row)[4:6] == ("RTX 4090", "host 400 MiB, GPU-0e2b 20.0 GiB")
    assert show_status.watched(row)[9] == "12%"
    assert "\x1b" not in show_status.line(row, "now")
