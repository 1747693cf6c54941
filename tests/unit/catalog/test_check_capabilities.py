"""Errors of what a profile says for `check`."""

import shutil
from pathlib import Path

import pytest

from deployer import catalog
from deployer.errors import ProfileError
from deployer.paths import data_dir


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the packaged profiles, with the templates beside it."""
    shutil.copytree(data_dir("profiles"), tmp_path / "profiles")
    shutil.copytree(data_dir("templates"), tmp_path / "templates")
    return tmp_path / "profiles"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("detect: {path: /v1/models", "detect: {path: v1/models", "capabilities/detect/path: not an absolute path"),
        ("key: data.0.owned_by", "key: data..owned_by", "capabilities/detect/key: not a dotted path"),
        ("field: structured_outputs.regex", "field: a..b", "capabilities/regex/field: not a dotted name"),
        ("structured_outputs.regex, form: regex", "x, form: list", "capabilities/regex/form: regex is written as"),
        ("form: list, source: 0.32.0 (run)", "form: list, source: ' '", "capabilities/choice/source"),
        ("GET /v1/models,", "GET /v1/models, GET /v1/models,", "capabilities/routes"),
        ("GET /v1/models,", "DELETE /v1/models,", "capabilities/routes/0: not a method and a path"),
        ("GET /v1/models,", "GET v1/models,", "capabilities/routes/0: not a method and a path"),
        ("form: list", "form: words", "capabilities/choice/form"),
        ("  choice: {", "  choise: {", "capabilities: unknown key 'choise'; did you mean choice?"),
    ],
)
def test_errors_name_the_place(root: Path, old: str, new: str, expected: str) -> None:
    path = root / "engines/vllm.yaml"
    before, mark, after = path.read_text().partition("\ncapabilities:\n")
    assert old in after
    path.write_text(before + mark + after.replace(old, new, 1))
    with pytest.raises(ProfileError) as raised:
        catalog.load_engine("vllm", root)
    assert raised.value.message.startswith("profiles/engines/vllm.yaml: ")
    assert expected in raised.value.message


def test_the_engines_that_were_run_say_how_they_are_told_and_asked() -> None:
    for name in ("llama.cpp", "vllm", "sglang"):
        said = catalog.load_engine(name).capabilities
        assert said is not None
        assert said.detect is not None
        assert said.choice is not None
        assert "POST /v1/chat/completions" in said.routes
