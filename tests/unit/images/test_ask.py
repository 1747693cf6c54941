"""How a program of an image is asked: shut in, told apart when it is missing, and gone afterwards."""

import json
import os
import sys
from pathlib import Path

import pytest

from deployer.errors import PreconditionError
from deployer.images.ask import NoSuchProgramError, Question, ask_image

DOCKER = """#!{python}
import json, os, sys, time
with open(os.environ["SEEN"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "run":
    sys.stdout.write(os.environ.get("SAYS", ""))
    sys.stderr.write(os.environ.get("COMPLAINS", ""))
    sys.stdout.flush()
    time.sleep(float(os.environ.get("SLEEPS", "0")))
    sys.exit(int(os.environ.get("STATUS", "0")))
"""
QUESTION = Question(
    image="sha256:" + "ab" * 32,
    argv=("/app/llama", "fit-params", "--model", "/models/m.gguf"),
    files={"/models/m.gguf": Path("/state/m.gguf")},
    user="65532:65532",
)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a `docker` at the front of PATH was called with, one line a call."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return tmp_path / "seen"


def calls(seen: Path) -> list[list[str]]:
    return [json.loads(line) for line in seen.read_text().splitlines()]


def after(words: list[str], flag: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == flag]


def test_the_container_is_shut_in(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYS", "Host 1 2 3 \n")
    assert ask_image(QUESTION, timeout_s=120).stdout == "Host 1 2 3 \n"
    (words,) = calls(seen)
    assert words[:2] == ["run", "--rm"]
    assert {"--read-only"} < {*words}
    for flag, value in {
        "--network": "none", "--cap-drop": "ALL", "--security-opt": "no-new-privileges", "--pull": "never",
        "--user": "65532:65532", "--entrypoint": "/app/llama",
        "--mount": "type=bind,source=/state/m.gguf,target=/models/m.gguf,readonly",
    }.items():  # fmt: skip
        assert after(words, flag) == [value]
    assert words[-4:] == [QUESTION.image, "fit-params", "--model", "/models/m.gguf"]
    assert not {"--gpus", "--device", "--group-add", "--privileged"} & {*words}


def test_gpus_are_handed_over_by_name(seen: Path) -> None:
    question = Question(
        image="x", argv=("p",), files={}, user="0:0", nvidia_ids=("GPU-a", "GPU-b"), device_paths=("/dev/kfd",),
        groups=("44", "109"), environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    )  # fmt: skip
    ask_image(question, timeout_s=120)
    (words,) = calls(seen)
    assert after(words, "--gpus") == ['"device=GPU-a,GPU-b"']
    assert after(words, "--device") == ["/dev/kfd"]
    assert after(words, "--group-add") == ["44", "109"]
    assert after(words, "--env") == ["HOME=/tmp", "CUDA_DEVICE_ORDER=PCI_BUS_ID"]


def test_a_comma_in_a_path_is_no_new_field(seen: Path) -> None:
    ask_image(Question(image="x", argv=("p",), files={"/m": Path('/a,b/"c"')}, user="0:0"), timeout_s=120)
    assert after(calls(seen)[0], "--mount") == ['type=bind,"source=/a,b/""c""",target=/m,readonly']


def test_a_program_that_is_not_there_is_told_apart(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runc = "docker: Error response from daemon: failed to create task: OCI runtime create failed: exec: no such file"
    monkeypatch.setenv("STATUS", "127")
    monkeypatch.setenv("COMPLAINS", runc)
    with pytest.raises(NoSuchProgramError, match="has no /app/llama"):
        ask_image(QUESTION, timeout_s=120)
    monkeypatch.setenv("STATUS", "125")
    monkeypatch.setenv("COMPLAINS", "docker: Error response from daemon: No such image")
    with pytest.raises(PreconditionError, match=r"Docker cannot run /app/llama: .*No such image"):
        ask_image(QUESTION, timeout_s=120)


def test_no_docker_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreconditionError, match="Docker cannot run"):
        ask_image(QUESTION, timeout_s=120)


def test_a_failure_of_the_program_is_its_answer(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "1")
    monkeypatch.setenv("COMPLAINS", "failed to load model")
    assert (ask_image(QUESTION, timeout_s=120).returncode, len(calls(seen))) == (1, 1)


def test_a_container_that_does_not_answer_is_removed(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPS", "600")
    found = ask_image(QUESTION, timeout_s=4)
    assert found.timed_out
    started, removed = calls(seen)
    assert removed == ["rm", "--force", *after(started, "--name")]


def test_an_interruption_leaves_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []

    def interrupted(argv: tuple[str, ...], *, timeout_s: float) -> None:
        commands.append(argv)
        if argv[1] == "run":
            raise KeyboardInterrupt

    monkeypatch.setattr("deployer.images.ask.run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask_image(QUESTION, timeout_s=5)
    started, removed = commands
    assert removed == ("docker", "rm", "--force", started[started.index("--name") + 1])
