"""Commands that give an engine its model: in order, a failure named with its last words, and some that may fail."""

from pathlib import Path
from typing import Any

import pytest

from deployer.errors import StartError
from deployer.execution import Completed
from deployer.paths import Home
from deployer.runtime import RUNTIMES
from deployer.workflow import setting_up
from tests.unit.plans import build_plan


class Container:
    """Docker's place: remembers what was run, and ends as `said` tells."""

    def __init__(self, said: dict[str, tuple[int, str]]) -> None:
        self.said, self.ran = said, list[tuple[str, ...]]()

    def execute(self, name: str, argv: tuple[str, ...], on_line: Any, timeout_s: float) -> Completed:
        assert (name, timeout_s) == ("demo", 7.0)
        self.ran.append(argv)
        status, text = self.said.get(argv[1], (0, ""))
        return Completed(returncode=status, stdout=text, stderr="")


class Quiet:
    """Nobody reads the progress."""

    def step(self, text: str) -> None: ...

    def done(self, text: str, seconds: float) -> None: ...

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


def run(container: Container, steps: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "compose", lambda _: container)
    home = Home(config=tmp_path, state=tmp_path, lock=tmp_path)
    setting_up.set_up(build_plan(runtime="compose", setup=steps), home, Quiet(), 7.0)


def test_steps_are_run_in_order_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = Container({})
    run(container, [["/bin/x", "create", "a b; c"], ["-", "/bin/x", "run", ""]], tmp_path, monkeypatch)
    assert container.ran == [("/bin/x", "create", "a b; c"), ("/bin/x", "run", "")]


def test_a_failure_ends_it_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = Container({"create": (1, "copying\nError: invalid file magic\n\n")})
    with pytest.raises(StartError, match="x create: Error: invalid file magic") as failed:
        run(container, [["/bin/x", "create"], ["/bin/x", "run"]], tmp_path, monkeypatch)
    assert failed.value.details["exit_code"] == 1
    assert container.ran == [("/bin/x", "create")]


def test_one_that_says_nothing_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="said nothing"):
        run(Container({"create": (137, "")}), [["/bin/x", "create"]], tmp_path, monkeypatch)


def test_a_step_that_may_fail_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = Container({"run": (1, "does not support generate")})
    run(container, [["-", "/bin/x", "run"], ["/bin/x", "last"]], tmp_path, monkeypatch)
    assert [argv[1] for argv in container.ran] == ["run", "last"]
