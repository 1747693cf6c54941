"""A value of `deployer.yaml` that only the decision refuses is named with file, line and path."""

from pathlib import Path
from typing import Any

import pytest

from deployer.errors import BadInputError
from deployer.paths import Home
from deployer.workflow import several
from tests.unit.cli.test_bad_input import HOST

MODEL = "qwen2.5-0.5b-instruct"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def refused(home: Home, text: str, **given: Any) -> str:
    path = home.state.parent / "d.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        several.plan(several.read(path, home, given), home, host_file=Path(HOST))
    assert str(caught.value) == caught.value.message
    assert caught.value.hint
    return caught.value.message.replace(str(path), "d.yaml")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gpus: 7", "gpus: 7: this host has no GPU 7"),
        ("gpus: all", "gpus: all: not a list of GPU indexes"),
        ("engine: lamacpp", "engine: lamacpp: not known here; did you mean llama.cpp?"),
        ("quant: q4_km", "quant: q4_km: not known here; did you mean Q4_K_M"),
        ("kv-type: q8", "kv-type: q8: not known here; did you mean q8_0?"),
        ("image: 'server=X Y'", "image: server: 'X Y' is not the name of an image; did you mean xy?"),
        ("allow-vulnerable: foo", "allow-vulnerable: foo: no such vulnerability"),
        ("engine-arg: --port=1", "engine-arg: --port: "),
    ],
)
def test_a_value_of_a_deployment(word: str, message: str, home: Home) -> None:
    text = f"deployments:\n  b: {{model: {MODEL}}}\n  a:\n    model: {MODEL}\n    {word}\n"
    assert refused(home, text).startswith(f"d.yaml:5: deployments/a/{message}")


def test_a_value_of_the_defaults(home: Home) -> None:
    text = f"deployments:\n  a: {{model: {MODEL}}}\ndefaults:\n  users: 2\n  gpus: 7\n"
    assert refused(home, text) == "d.yaml:5: defaults/gpus: 7: this host has no GPU 7"


def test_the_name_of_a_model(home: Home) -> None:
    text = "deployments:\n  a:\n    users: 2\n    model: qwen2.5-0.5b-instrct\n"
    assert refused(home, text).startswith("d.yaml:4: deployments/a/model: no model 'qwen2.5-0.5b-instrct' in the cat")


def test_the_image_of_the_gateway(home: Home) -> None:
    text = f"deployments:\n  a: {{model: {MODEL}}}\ngateway:\n  image: 'x y'\n"
    assert refused(home, text) == "d.yaml:4: gateway/image: 'x y' is not the name of an image"


def test_what_a_flag_or_the_environment_says_instead_is_no_fault_of_the_file(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"deployments:\n  a: {{model: {MODEL}, gpus: 7}}\n"
    assert refused(home, text, gpus=(8,)) == "a: --gpus 8: this host has no GPU 8"
    monkeypatch.setenv("DEPLOYER_GPUS", "9")
    assert refused(home, text) == "a: --gpus 9: this host has no GPU 9"
