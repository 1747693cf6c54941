"""`render --dir`: the plan is there too, folders are not mixed, and nothing else is touched."""

import json
from pathlib import Path

import msgspec
import pytest

from deployer.types import Plan
from tests.unit.cli.test_bad_input import ROOT, deployer, refused

CARD = str(ROOT / "profiles/hosts/rtx4090-580.json")
SMALL = "qwen2.5-0.5b-instruct"
LLAMA = (SMALL, "--engine", "llama.cpp", "--host", CARD, "--runtime", "compose")
VLLM = (SMALL, "--engine", "vllm", "--host", CARD, "--runtime", "compose")


def rendered(home: Path, folder: Path, *words: str) -> tuple[set[str], str]:
    """Names of the files that are in the folder then, and stderr."""
    done = deployer("render", *words, "--dir", str(folder), home=home)
    assert done.returncode == 0, done.stderr
    return {path.name for path in folder.iterdir()}, done.stderr


def test_the_plan_that_the_header_names_is_there_and_gives_the_same_files(tmp_path: Path) -> None:
    folder, again = tmp_path / "a", tmp_path / "b"
    files, _ = rendered(tmp_path / "home", folder, *LLAMA)
    assert {"compose.yaml", "plan.json"} <= files
    text = (folder / "compose.yaml").read_text()
    assert "deployer render plan.json" in text
    assert msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan).plan_hash in text
    assert rendered(tmp_path / "home", again, str(folder / "plan.json"))[0] == files
    assert {name: (again / name).read_bytes() for name in files} == {
        name: (folder / name).read_bytes() for name in files
    }


def test_a_render_of_the_same_deployment_replaces_it_and_leaves_no_mixture(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    before, _ = rendered(tmp_path / "home", folder, *VLLM)
    assert "launch.py" in before or "haproxy.cfg" in before
    (folder / "notes.txt").write_text("mine")
    after, said = rendered(tmp_path / "home", folder, *LLAMA)
    assert after == {"compose.yaml", "plan.json", "notes.txt"}
    for name in before - after:
        assert f"removed {folder / name}" in said


def test_a_file_that_somebody_changed_is_left_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    before, _ = rendered(tmp_path / "home", folder, *VLLM)
    extra = min(before - {"compose.yaml", "plan.json"})
    (folder / extra).write_text("my own\n")
    _, said = rendered(tmp_path / "home", folder, *LLAMA)
    assert (folder / extra).read_text() == "my own\n"
    assert f"{folder / extra} was left: it is not as `render` wrote it" in said


def test_another_deployment_s_files_are_replaced_after_a_yes_only(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    rendered(tmp_path / "home", folder, *VLLM, "--name", "one", "--monitoring")
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = ("render", *LLAMA, "--name", "two", "--dir", str(folder))
    error = refused(*words, home=tmp_path / "home", code=3)
    assert "--dir DIR, or add --yes" in str(error["hint"])
    done = deployer(*words, home=tmp_path / "home")
    assert f"{folder} holds the files of one; they would be replaced by those of two" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    found = deployer(*words, "--yes", "--json", home=tmp_path / "home")
    assert {path.name for path in folder.iterdir()} == {"compose.yaml", "plan.json"}
    document = json.loads(found.stdout)
    assert {Path(path).name for path in document["files"]} == {"compose.yaml", "plan.json"}
    assert {Path(path).name for path in document["removed"]} == set(kept) - {"compose.yaml", "plan.json"}


@pytest.mark.parametrize("plan", ["", "{}", '{"name": 1}'])
def test_a_compose_file_of_somebody_else_is_not_overwritten(plan: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "compose.yaml").write_text("services: {mine: {image: x}}\n")
    if plan:
        (folder / "plan.json").write_text(plan)
    refused("render", *LLAMA, "--dir", str(folder), home=tmp_path / "home", code=3)
    assert (folder / "compose.yaml").read_text() == "services: {mine: {image: x}}\n"


def test_files_of_before_the_plan_was_there_are_known_by_their_header(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    rendered(tmp_path / "home", folder, *LLAMA)
    (folder / "plan.json").unlink()
    assert "plan.json" in rendered(tmp_path / "home", folder, *LLAMA)[0]
    (folder / "plan.json").unlink()
    refused("render", *LLAMA, "--name", "two", "--dir", str(folder), home=tmp_path / "home", code=3)


def test_several_have_a_folder_each_and_the_gateway_too(tmp_path: Path) -> None:
    file, folder = tmp_path / "deployer.yaml", tmp_path / "out"
    text = "deployments: {a: {model: M, engine: llama.cpp}}\ndefaults: {runtime: compose}\ngateway: true\n"
    file.write_text(text.replace("M", SMALL))
    for _ in range(2):
        rendered(tmp_path / "home", folder, "-f", str(file), "--host", CARD)
    assert {path.name for path in folder.iterdir()} == {"a", "gateway"}
    assert (folder / "a/plan.json").is_file()
    refused("render", *LLAMA, "--name", "b", "--dir", str(folder / "gateway"), home=tmp_path / "home", code=3)


def test_rendering_touches_no_state(tmp_path: Path) -> None:
    home = tmp_path / "home"
    _, said = rendered(home, tmp_path / "a", SMALL, "--engine", "vllm", "--host", CARD, "--monitoring")
    assert {path.name for path in home.iterdir()} <= {"cache"}
    assert "Grafana's password is made by `deployer up`" in said


def test_a_process_has_its_folder_too(tmp_path: Path) -> None:
    host = tmp_path / "host.json"
    host.write_text(json.dumps({**json.loads(Path(CARD).read_text()), "programs": {"llama-server": "/usr/bin/x"}}))
    words = (SMALL, "--gpus", "none", "--engine", "llama.cpp", "--runtime", "process", "--host", str(host))
    assert rendered(tmp_path / "home", tmp_path / "a", *words)[0] == {"plan.json", "process.json"}
    (tmp_path / "a/plan.json").unlink()
    refused("render", *words, "--name", "two", "--dir", str(tmp_path / "a"), home=tmp_path / "home", code=3)
