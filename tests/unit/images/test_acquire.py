import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import BadInputError, ImageUnavailableError, PreconditionError, VerificationError
from deployer.images import build, pull
from deployer.images.acquire import PREFLIGHT_S, recipe_of
from deployer.images.causes import cause_of, log_tail

OTHER = "sha256:" + "b" * 64


@pytest.fixture
def pulled(registry: Any, fake_engine: Any) -> str:
    """`host/app@digest`, in the registry and, once pulled, on the Engine too."""
    digest = registry.image("app", "v1", [])
    name = f"{registry.host}/app@{digest}"
    fake_engine.add(name, digests=(f"elsewhere/app@{OTHER}", name))
    return name


def test_a_tag_is_pulled_by_its_digest(registry: Any, pulled: str, fake_docker: Any) -> None:
    fake_docker.then("echo Pulling; echo Done >&2; exit 0")
    lines: list[str] = []
    image = pull(f"{registry.host}/app:v1", lines.append)
    assert image.digests[0] == pulled
    assert lines == ["Pulling", "Done"]
    assert fake_docker.calls == [f"pull {pulled}", f"tag {image.id} deployer.local/kept:eeeeeeeeeeee"]


def test_a_pinned_digest_wins_over_a_tag_that_moved(registry: Any, pulled: str, fake_docker: Any) -> None:
    registry.image("app", "v1", ["MOVED=1"])
    fake_docker.then("exit 0")
    pull(f"{registry.host}/app:v1@{pulled.partition('@')[2]}", print)
    assert fake_docker.calls[0] == f"pull {pulled}"


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, "not-found"), (403, "unauthorised")],
)
def test_a_registry_that_says_no_is_believed(
    registry: Any, fake_engine: Any, fake_docker: Any, status: int, cause: str
) -> None:
    registry.status = status
    with pytest.raises(ImageUnavailableError, match="cannot be pulled: registry") as caught:
        pull(f"{registry.host}/app:v1", print)
    assert caught.value.details["cause"] == cause
    assert caught.value.hint
    assert fake_docker.calls == []


def test_an_unreachable_registry_is_an_answer_within_five_seconds(
    fake_engine: Any, fake_docker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PREFLIGHT_S < 5
    monkeypatch.setattr("deployer.images.acquire.PREFLIGHT_S", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(ImageUnavailableError, match="did not answer") as caught,
    ):
        pull(f"127.0.0.1:{server.getsockname()[1]}/app:v1", print)
    assert caught.value.details["cause"] == "unreachable"
    assert fake_docker.calls == []


def test_a_broken_transfer_is_tried_again(registry: Any, pulled: str, fake_docker: Any) -> None:
    fake_docker.then("echo 'error pulling image configuration: unexpected EOF'; exit 1")
    fake_docker.then("echo 'read tcp: connection reset by peer'; exit 1")
    fake_docker.then("exit 0")
    lines: list[str] = []
    pull(pulled, lines.append, retry_after_s=(0.01, 0.02))
    assert [call for call in fake_docker.calls if call.startswith("pull")] == [f"pull {pulled}"] * 3
    assert len([line for line in lines if "once more" in line]) == 2


def test_a_transfer_that_always_breaks_gives_up(pulled: str, fake_docker: Any) -> None:
    fake_docker.then("echo 'unexpected EOF'; exit 1")
    with pytest.raises(ImageUnavailableError, match="broke off") as caught:
        pull(pulled, print, retry_after_s=(0.01, 0.01))
    assert caught.value.details["cause"] == "broken"
    assert caught.value.details["log_tail"] == ["unexpected EOF"]
    assert len(fake_docker.calls) == 3


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "no-space"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "wrong-platform"),
        ("pull access denied for x, repository does not exist or may require 'docker login'", "unauthorised"),
        ("Error response from daemon: manifest for x not found: manifest unknown", "not-found"),
        ("toomanyrequests: You have reached your pull rate limit.", "rate-limited"),
        ('Get "https://x/v2/": tls: failed to verify certificate: x509: unknown authority', "tls"),
        ("something new", "unknown"),
    ],
)
def test_what_cannot_work_a_second_time_is_not_tried_again(
    pulled: str, fake_docker: Any, text: str, cause: str
) -> None:
    fake_docker.then(f"cat <<'X'\n{text}\nX\nexit 1")
    with pytest.raises(ImageUnavailableError) as caught:
        pull(pulled, print)
    assert caught.value.details["cause"] == cause
    assert text in caught.value.message
    assert caught.value.hint
    assert len(fake_docker.calls) == 1


def test_other_bytes_than_the_digest_stop_everything(pulled: str, fake_docker: Any) -> None:
    fake_docker.then("echo 'manifest verification failed for digest sha256:aa'; exit 1")
    with pytest.raises(VerificationError) as caught:
        pull(pulled, print, retry_after_s=(0.01,))
    assert caught.value.exit_code == 6


def test_another_image_than_asked_for_stops_everything(registry: Any, fake_engine: Any, fake_docker: Any) -> None:
    name = f"{registry.host}/app@{registry.image('app', 'v1', [])}"
    fake_docker.then("exit 0")
    with pytest.raises(VerificationError, match="does not have it"):
        pull(name, print)
    fake_engine.add(name, digests=(f"{registry.host}/app@{OTHER}",))
    with pytest.raises(VerificationError, match=OTHER):
        pull(name, print)


def test_an_image_for_another_processor_is_refused(registry: Any, fake_engine: Any, fake_docker: Any) -> None:
    name = f"{registry.host}/app@{registry.image('app', 'v1', [])}"
    fake_engine.add(name, digests=(name,), architecture="arm64")
    fake_docker.then("exit 0")
    with pytest.raises(ImageUnavailableError, match="made for arm64; this machine is amd64"):
        pull(name, print)


def test_an_engine_behind_a_remote_host_decides_for_itself(
    registry: Any, fake_engine: Any, fake_docker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine.info["RegistryConfig"]["Mirrors"] = []
    monkeypatch.setattr("deployer.images.engine._is_remote", lambda _: True)
    registry.status = 404
    fake_docker.then("echo 'manifest unknown'; exit 1")
    with pytest.raises(ImageUnavailableError):
        pull(f"{registry.host}/app:v1", print)
    assert fake_docker.calls == [f"pull {registry.host}/app:v1"]


def test_a_pull_that_hangs_is_ended_with_its_children(pulled: str, fake_docker: Any) -> None:
    fake_docker.then("sleep 600 & echo $!; wait")
    lines: list[str] = []
    started = time.monotonic()
    with pytest.raises(ImageUnavailableError, match="in the time given") as caught:
        pull(pulled, lines.append, timeout_s=3)
    assert time.monotonic() - started < 120
    assert caught.value.details["cause"] == "timeout"
    assert not _runs(int(lines[0]))


def _runs(pid: int) -> bool:
    """True when it still runs after a minute: a killed process needs a moment to go."""
    for _ in range(3000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_no_docker_command(pulled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(PreconditionError, match="not on PATH"):
        pull(pulled, print)


def test_no_engine_is_found_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(PreconditionError, match="nothing is there"):
        pull("ghcr.io/a/b:v1", print)


BUILT = 'for last; do :; done; cp "$last/../Dockerfile" "$FAKE_DOCKER/seen"; ls -a "$last" > "$FAKE_DOCKER/context"\n'
IMAGE_ID = 'while [ "$1" != --iidfile ]; do shift; done; printf "sha256:%064d" 0 | tr 0 e > "$2"'


def test_a_build_has_recipe_arguments_and_an_empty_context(fake_engine: Any, fake_docker: Any) -> None:
    image_id = fake_engine.add("deployer/app:v1")
    fake_docker.then(f"{BUILT}{IMAGE_ID}\necho building; exit 0")
    lines: list[str] = []
    text = "# why\nFROM debian:sid-slim\n"
    image = build(text, "deployer/app:v1", {"B": "2 $x", "A": "1"}, lines.append, recipe="dockerfile:abc")
    assert image.id == image_id
    assert lines == ["building"]
    assert (fake_docker.folder / "seen").read_text() == text
    assert (fake_docker.folder / "context").read_text().split() == [".", ".."]
    call = fake_docker.calls[0]
    assert call.startswith("build --progress=plain --provenance=false --label io.deployer.recipe=dockerfile:abc ")
    assert "--build-arg A=1 --build-arg B=2 $x " in call
    assert fake_docker.calls[1] == f"tag {image_id} deployer.local/kept:eeeeeeeeeeee"


FAILED = """#5 [2/3] RUN make
#5 0.123 error: foo: not found
#5 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2
------
 > [2/3] RUN make:
0.123 error: foo: not found
------
Dockerfile:2
ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 2"""


def test_a_failed_step_is_named_with_its_last_lines(fake_docker: Any) -> None:
    fake_docker.then(f"cat <<'X'\n{FAILED}\nX\nexit 1")
    with pytest.raises(ImageUnavailableError, match=r"step \[2/3\] RUN make: error: foo: not found") as caught:
        build("FROM x\nRUN make\n", "deployer/app:v1", {}, print)
    assert caught.value.details["step"] == "2/3 RUN make"
    tail = caught.value.details["log_tail"]
    assert isinstance(tail, list)
    assert "0.123 error: foo: not found" in tail


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ERROR: failed to solve: ghcr.io/x: failed to resolve source metadata: dial tcp: no such host", "unreachable"),
        ("ERROR: failed to solve: ghcr.io/x:1: not found", "not-found"),
        ('#5 0.1 cp: No space left on device\nERROR: failed to solve: process "/bin/sh -c cp" did not', "no-space"),
    ],
)
def test_causes_of_a_failed_build(fake_docker: Any, text: str, cause: str) -> None:
    fake_docker.then(f"cat <<'X'\n{text}\nX\nexit 1")
    with pytest.raises(ImageUnavailableError) as caught:
        build("FROM x\n", "deployer/app:v1", {}, print)
    assert caught.value.details["cause"] == cause


def test_no_buildkit_is_a_precondition(fake_docker: Any) -> None:
    fake_docker.then("echo 'ERROR: BuildKit is enabled but the buildx component is missing or broken.'; exit 1")
    with pytest.raises(PreconditionError, match="no BuildKit"):
        build("FROM x\n", "deployer/app:v1", {}, print)


def test_a_build_that_takes_too_long(fake_docker: Any) -> None:
    fake_docker.then("echo start; sleep 600")
    with pytest.raises(ImageUnavailableError, match="not done after 1 s"):
        build("FROM x\n", "deployer/app:v1", {}, print, timeout_s=1)


@pytest.mark.parametrize(("tag", "argument"), [("-x", "A"), ("a b", "A"), ("a:b", "A=B"), ("a:b", "-A"), ("a:b", "")])
def test_names_that_could_be_flags_are_refused(fake_docker: Any, tag: str, argument: str) -> None:
    with pytest.raises(BadInputError):
        build("FROM x\n", tag, {argument: "1"}, print)
    assert fake_docker.calls == []


def test_ctrl_c_ends_the_build_and_leaves_nothing(fake_docker: Any, tmp_path: Path) -> None:
    fake_docker.then("sleep 600 & echo $!; wait")
    code = "from deployer.images import build\nbuild('FROM x', 'a:b', {}, lambda line: print(line, flush=True))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert list(tmp_path.glob("deployer-build-*"))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == -signal.SIGINT
    process.stdout.close()
    assert not _runs(child)
    assert list(tmp_path.glob("deployer-build-*")) == []


def test_a_recipe_ignores_comments_and_knows_arguments() -> None:
    plain = recipe_of("FROM x\nRUN y\n", {})
    assert recipe_of("# c\n\nFROM x   \n  # d\nRUN y\n", {}) == plain
    assert recipe_of("FROM x\nRUN z\n", {}) != plain
    assert recipe_of("FROM x\nRUN y\n", {"B": "2", "A": "1"}) == f"{plain}:A=1,B=2"


def test_the_tail_is_clean() -> None:
    text = "a\n\n\x1b[31mred\x1b[0m\x07\nproxy http://user:pass@proxy:3128/ failed\n"
    assert log_tail(text) == ["a", "red", "proxy http://proxy:3128/ failed"]
    assert log_tail("\n".join(map(str, range(50))), lines=3) == ["47", "48", "49"]


def test_no_output_is_an_unknown_cause() -> None:
    assert cause_of("").name == "unknown"
