from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from deployer.errors import BadInputError, DeployerError, ImageUnavailableError, PreconditionError, StartError
from deployer.execution import Completed
from deployer.paths import Home
from deployer.runtime import ComposeRuntime, containers, open_runtime
from deployer.runtime.compose import explain, up_argv
from deployer.types import Plan

CREATED = " Container deployer-demo-llm-1  Created\n"


def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def test_nothing_is_fetched_or_built_at_start() -> None:
    argv = up_argv("demo")
    assert argv[:6] == ("docker", "compose", "-p", "deployer-demo", "-f", "compose.yaml")
    assert {"-d", "--no-build", "never"} <= set(argv)
    assert "--wait" not in argv


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (15, "services.llm Additional property foo is not allowed", BadInputError),
        (18, "failed to resolve reference: connection refused", ImageUnavailableError),
        (1, "Error response from daemon: No such image: x@sha256:0", ImageUnavailableError),
        (1, "Bind for 127.0.0.1:8000 failed: port is already allocated", PreconditionError),
        (1, "listen tcp4 127.0.0.1:8000: bind: address already in use", PreconditionError),
        (1, 'Conflict. The container name "/x" is already in use by container "1"', PreconditionError),
        (1, 'could not select device driver "nvidia" with capabilities: [[gpu]]', PreconditionError),
        (1, "invalid mount config: bind source path does not exist: /m.gguf", PreconditionError),
        (1, "Cannot connect to the Docker daemon at unix:///x. Is it running?", PreconditionError),
        (125, "unknown shorthand flag: 'p' in -p", PreconditionError),
        (1, "docker: 'compose' is not a docker command.", PreconditionError),
        (1, "something new", StartError),
        (124, "", PreconditionError),
        (127, "", PreconditionError),
    ],
)
def test_composes_own_words_become_our_errors(status: int, said: str, kind: type[DeployerError]) -> None:
    error = explain(Completed(returncode=status, stdout=f"{CREATED}{said}\n", stderr=""))
    assert type(error) is kind
    assert error.hint
    assert said in error.message


def test_a_missing_plugin_is_named_though_the_usage_comes_last() -> None:
    said = "unknown shorthand flag: 'p' in -p\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n\nRun 'docker --help'\n"
    error = explain(Completed(returncode=125, stdout=said, stderr=""))
    assert error.message == "docker has no Compose plugin: unknown shorthand flag: 'p' in -p"
    assert "docker-compose-plugin" in error.hint


def test_control_characters_in_composes_words_are_escaped() -> None:
    error = explain(Completed(returncode=1, stdout="\x1b[31mred", stderr=""))
    assert "\\x1b" in error.message
    assert "\x1b" not in str(error.details)


def test_a_docker_that_is_not_there_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_plan: Callable[..., Plan]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    runtime = ComposeRuntime(home(tmp_path))
    for call in (
        lambda: runtime.start(make_plan(), tmp_path, print),
        lambda: runtime.stop("demo", print, 1),
        runtime.states,
    ):
        with pytest.raises(PreconditionError, match="Docker does not answer"):
            call()


def test_a_docker_that_this_user_may_not_use_is_said_plainly() -> None:
    said = "Error while fetching server API version: ('Connection aborted.', PermissionError(13, 'Permission denied'))"
    with (
        pytest.raises(PreconditionError, match="Docker does not answer: this user may not use it") as caught,
        containers._answering(),
    ):
        raise docker.errors.DockerException(said)
    assert "sudo" in caught.value.hint


def test_a_folder_without_a_compose_file_is_refused(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(BadInputError, match=r"no compose\.yaml"):
        ComposeRuntime(home(tmp_path)).start(make_plan(), tmp_path, print)


def test_a_runtime_that_does_not_exist_here(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="kubernetes"):
        open_runtime("kubernetes", home(tmp_path))
    assert isinstance(open_runtime("compose", home(tmp_path)), ComposeRuntime)
