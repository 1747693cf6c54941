"""`models` and `images` with odd input: one clear message, the right exit code, never a traceback."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.test_bad_input import HOST, NAME, deployer, refused

MODEL = "smollm2-135m-instruct"


@pytest.mark.parametrize("verb", ["inspect", "pull", "rm"])
@pytest.mark.parametrize(
    "reference", ["", "a b", "../../x", "hf:a", "hf:a/b@../x", "hf:a/b:../x", "x" * 3000, "a\x1b[2J", "日本"]
)
def test_a_model_that_nothing_can_be_is_refused(verb: str, reference: str, tmp_path: Path) -> None:
    error = refused("models", verb, reference, home=tmp_path)
    assert str(error["message"]).isprintable()
    assert error["hint"]


def test_what_a_model_is_comes_as_one_document_with_its_version(tmp_path: Path) -> None:
    found = json.loads(deployer("models", "inspect", MODEL, "--json", home=tmp_path).stdout)
    assert (found["format_version"], found["name"]) == (1, MODEL)


def test_an_unknown_quantization_names_those_there_are(tmp_path: Path) -> None:
    assert "Q4_1" in str(refused("models", "pull", MODEL, "--quant", "nope", home=tmp_path)["message"])


def test_a_single_file_is_not_removed(tmp_path: Path) -> None:
    error = refused("models", "rm", "hf:org/repo:m.gguf", home=tmp_path)
    assert (error["kind"], error["hint"]) == ("bad-input", "all of it: hf:org/repo")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image", "server="), "no image stands behind"),
        (("--image", "server=Ghcr.io/X:1"), "did you mean ghcr.io/x:1?"),
        (("--image", "server=ghcr.io/x/y:"), "did you mean ghcr.io/x/y?"),
        (("--image", "=ghcr.io/x/y:1"), "say which image it stands for"),
        (("--allow-vulnerable", "CVE-2026-0000"), "no such vulnerability is known here"),
    ],
)
def test_a_flag_that_names_nothing_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in str(refused("plan", NAME, "--host", HOST, *words, home=tmp_path)["message"])


def test_fit_refuses_it_too(tmp_path: Path) -> None:
    error = refused("fit", NAME, "--host", HOST, "--image", "server=Ghcr.io/X:1", home=tmp_path)
    assert "did you mean ghcr.io/x:1?" in str(error["message"])


def test_a_moving_tag_is_told_in_the_plan(tmp_path: Path) -> None:
    words = ("--engine", "llama.cpp", "--image", "server-cuda=ghcr.io/x/y:latest")
    done = deployer("plan", NAME, "--host", HOST, *words, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ghcr.io/x/y:latest: the tag moves" in done.stdout


def test_an_engine_with_its_own_copy_says_so_in_the_plan(tmp_path: Path) -> None:
    done = deployer("plan", NAME, "--host", HOST, "--engine", "ollama", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ollama makes its own copy of the model: " in done.stdout


@pytest.mark.parametrize("words", [("export", "nobody", "x.tar"), ("import", "absent.tar"), ("import", "/dev/zero")])
def test_an_image_that_is_not_there_is_refused_before_docker_is_asked(words: tuple[str, ...], tmp_path: Path) -> None:
    assert refused("images", *words, home=tmp_path)["hint"]


def test_prune_needs_docker_and_says_so(tmp_path: Path) -> None:
    assert "Docker" in str(refused("images", "prune", home=tmp_path, code=3)["message"])
