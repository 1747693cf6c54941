"""What nobody can read decides nothing: the work goes on, and the exit code stays what it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.test_bad_input import HOST, NAME

STEPS = """
from deployer.cli.output import Progress
report = Progress(verbose=True)
for number in range(3):
    report.step("a step")
    report.detail("a line")
    report.done("a step", 0.1)
    report.note("a note")
print("done")
"""


@pytest.mark.parametrize("full", [False, True])
def test_progress_that_cannot_be_written_ends_nothing(full: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stderr = os.open("/dev/full", os.O_WRONLY) if full else writer
    done = subprocess.run(
        [sys.executable, "-c", STEPS], stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False
    )
    os.close(writer)
    if full:
        os.close(stderr)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize(("words", "code"), [(("status", "--json"), 3), (("plan", "nope", "--json"), 2)])
def test_a_full_disk_under_stdout_is_said_once(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as stdout:
        done = run(words, tmp_path, stdout=stdout.fileno(), stderr=subprocess.PIPE)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_exit_code_of_a_failure_does_not_need_a_reader(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(("plan", NAME, "--host", HOST, "--engine", "nope"), tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_stream_that_is_closed_is_no_bug(closed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m deployer plan {NAME} --host {HOST} {closed}'],
        env={**os.environ, "DEPLOYER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def run(words: tuple[str, ...], home: Path, *, stdout: int, stderr: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployer", *words],
        env={**os.environ, "DEPLOYER_HOME": str(home), "DOCKER_HOST": "unix:///nonexistent.sock"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )
