"""What a shell offers: models of the catalog, deployments, and what a file declares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployer import ledger
from deployer.paths import Home
from deployer.types import Adopted, Bundle
from tests.unit.plans import build_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = Home(config=tmp_path / "config", state=tmp_path, lock=tmp_path / "lock")
    ledger.create(home, build_plan("chat"), Bundle(files={}))
    ledger.adopt(home, Adopted(name="desk", base_url="http://127.0.0.1:1/v1", model="m"), None)
    (tmp_path / "deployer.yaml").write_text("deployments: {one: {model: m}, two: {model: m}}\n")
    return tmp_path


def offered(home: Path, *words: str) -> list[str]:
    env = {
        **os.environ,
        "DEPLOYER_HOME": str(home),
        "_DEPLOYER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("deployer", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "deployer"], env=env, cwd=home, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("verb", ["status", "down", "logs", "connect", "check", "history", "rollback"])
def test_names_of_deployments_are_offered(verb: str, folder: Path) -> None:
    assert offered(folder, verb, "d") == ["desk"]
    assert offered(folder, verb, "ch") == ["chat"]


@pytest.mark.parametrize("verb", ["plan", "up", "render", "fit"])
def test_models_of_the_catalog_are_offered_and_else_files(verb: str, folder: Path) -> None:
    assert offered(folder, verb, "smollm2-135") == ["smollm2-135m-instruct"]
    assert offered(folder, verb, "./x") == ["./x"]


def test_with_a_file_its_deployments_are_offered_once(folder: Path) -> None:
    assert offered(folder, "up", "-f", "deployer.yaml", "") == ["one", "two"]
    assert offered(folder, "down", "-f", "deployer.yaml", "one", "") == ["two"]
    assert offered(folder, "down", "-f", "nonesuch.yaml", "") == []


def test_a_damaged_state_offers_nothing_and_says_nothing(folder: Path) -> None:
    (folder / "deployments/desk/adopted.json").write_text("{")
    assert offered(folder, "down", "d") == []
