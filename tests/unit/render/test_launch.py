"""`launch.py` as it is rendered, run for real: it hands the key over and keeps it out of the log, and no more."""

import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from deployer.paths import data_dir
from deployer.render import render
from tests.unit.render import plans

KEY = "dGhpcyBpcyBub3QgYSByZWFsIGtleSBhdCBhbGwh"


@pytest.fixture
def launcher(tmp_path: Path) -> tuple[str, str, str]:
    plan = plans.plan(launcher=("python3",), key_variable="THE_KEY")
    (tmp_path / "launch.py").write_text(render(plan).files["launch.py"])
    (tmp_path / "api_key").write_text(f"{KEY}\n")
    return sys.executable, str(tmp_path / "launch.py"), str(tmp_path / "api_key")


def run(launcher: tuple[str, ...], variable: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((*launcher, variable, *argv), capture_output=True, text=True, timeout=120, check=False)


def test_the_program_has_the_key_and_its_log_has_not(launcher: tuple[str, ...]) -> None:
    code = "import os, sys; print('key=' + os.environ['THE_KEY']); sys.stderr.write(os.environ['THE_KEY'][:9] + '\\n')"
    done = run(launcher, "THE_KEY", sys.executable, "-c", code)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(["key=[key]", KEY[:9]])
    assert done.stderr == ""


def test_a_key_that_is_written_in_parts_is_replaced_too(launcher: tuple[str, ...]) -> None:
    parts = (f"a {KEY[:7]}", KEY[7:20], f"{KEY[20:]} b")
    code = f"import time\nfor part in {parts}:\n  print(part, end='', flush=True)\n  time.sleep(0.1)"
    assert run(launcher, "-", sys.executable, "-c", code).stdout == "a [key] b"


def test_without_a_variable_the_environment_stays_as_it_is(launcher: tuple[str, ...]) -> None:
    code = f"import os; print('{KEY}' in str(os.environ))"
    assert run(launcher, "-", sys.executable, "-c", code).stdout == "False\n"


def test_a_large_output_comes_whole(launcher: tuple[str, ...]) -> None:
    done = run(launcher, "-", sys.executable, "-c", "print('x' * 1_000_000); print('end')")
    assert done.stdout == "x" * 1_000_000 + "\nend\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137), ("import os; os.abort()", 134)],
)
def test_the_exit_status_is_the_programs(launcher: tuple[str, ...], code: str, status: int) -> None:
    assert run(launcher, "-", sys.executable, "-c", code).returncode == status


def test_a_signal_reaches_the_program(launcher: tuple[str, ...]) -> None:
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(5)); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen((*launcher, "-", sys.executable, "-c", code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 5


def test_a_child_that_stays_behind_does_not_hold_it(launcher: tuple[str, ...]) -> None:
    child = Path(launcher[1]).with_name("child")
    code = f"import subprocess; open({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid))"
    try:
        with subprocess.Popen((*launcher, "-", sys.executable, "-c", code), stdout=subprocess.DEVNULL) as process:
            assert process.wait(120) == 0
        assert Path(f"/proc/{child.read_text()}").exists()
    finally:
        subprocess.run(("kill", "-9", child.read_text()), check=True)


def test_whoever_reads_the_log_may_be_slow() -> None:
    """The program has ended, and its output is larger than what the pipes hold: nothing of it is given up."""
    module = runpy.run_path(str(data_dir("templates") / "launch.py"))
    (reads, written), (log, copied) = os.pipe(), os.pipe()
    ended = threading.Event()
    ended.set()
    data = b"x" * 40_000 + b"\n"
    copier = threading.Thread(target=module["copy"], args=(reads, copied, KEY.encode(), ended))
    copier.start()
    for _ in range(4):  # more than the 64 KiB that a pipe holds, so the copier waits in its own write
        os.write(written, data)
    heard = b""
    while len(heard) < 4 * len(data):
        heard += os.read(log, 1000)
    copier.join()  # `written` is still open, as by a process that stays behind
    for descriptor in (reads, written, log, copied):
        os.close(descriptor)
    assert heard == 4 * data


@pytest.mark.parametrize(("key", "program", "status"), [("", sys.executable, 1), (KEY, "/no/such/program", 127)])
def test_what_cannot_be_started_says_why(launcher: tuple[str, ...], key: str, program: str, status: int) -> None:
    Path(launcher[2]).write_text(key)
    done = run(launcher, "THE_KEY", program)
    assert done.returncode == status
    assert "launch.py: " in done.stderr
    assert "Traceback" not in done.stderr


def test_it_stands_before_the_command_and_is_mounted_read_only() -> None:
    import yaml

    plan = plans.plan(launcher=("python3",), key_variable="THE_KEY", key_config="/s/api_key.yaml")
    bundle = render(plan)
    document = yaml.safe_load(bundle.files["compose.yaml"])
    service = document["services"]["llm"]
    assert service["entrypoint"] == ["python3"]
    assert service["command"] == ["/run/deployer/launch.py", "/run/secrets/api_key", "THE_KEY", *plan.command]
    (mount,) = [mount for mount in service["volumes"] if mount["target"] == "/run/deployer/launch.py"]
    assert (mount["source"], mount["read_only"]) == ("./launch.py", True)
    assert service["secrets"] == ["api_key", {"source": "api_key_config", "target": "api_key.yaml"}]
    assert document["secrets"]["api_key_config"] == {"file": "/s/api_key.yaml"}
    assert "launch.py" not in render(msgspec.structs.replace(plan, launcher=())).files


def test_what_an_engine_needs_of_its_container_is_given() -> None:
    import yaml

    plan = plans.plan(writable=("/var/tmp",), shm_mib=512, ulimits={"memlock": -1})
    service = yaml.safe_load(render(plan).files["compose.yaml"])["services"]["llm"]
    scratch, caches = service["tmpfs"]
    assert "noexec" in scratch
    assert caches.startswith("/var/tmp:rw,exec,nosuid,nodev,")
    assert service["shm_size"] == "512m"
    assert service["ulimits"] == {"memlock": -1}
