"""Who says a word, with real files: flags, `DEPLOYER_*`, `deployer.yaml`, user, system, built in."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
import pytest

from deployer.cli import options
from deployer.errors import BadInputError, ProfileError
from deployer.paths import Home
from deployer.types import Request
from deployer.types.deployments import Declared, Wishes
from deployer.workflow.configuration import (
    FIELDS,
    every,
    files,
    flags,
    parse_gpus,
    request,
    said,
    variable,
    wishes_of,
    words,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "user", state=tmp_path / "state", lock=tmp_path / "lock")


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(text)


def values(home: Home, environ: Mapping[str, str], system: Path) -> dict[str, object]:
    return {word: setting.value for word, setting in said(home, environ, system).items()}


def test_every_layer_wins_over_the_one_below_and_says_where(home: Home, tmp_path: Path) -> None:
    system = tmp_path / "etc"
    write(system, "users: 2\nengine: vllm\ncontext: 1024\n")
    write(home.config, "users: 3\nengine: sglang\n")
    found = said(home, {"DEPLOYER_USERS": "5"}, system)
    assert {word: (item.value, item.origin) for word, item in found.items()} == {
        "users": (5, "environment"),
        "context": (1024, "system"),
        "engine": ("sglang", "user"),
    }
    assert found["users"].where == "DEPLOYER_USERS"
    assert found["engine"].where == f"{home.config}/config.yaml:2"
    assert found["context"].where == f"{system}/config.yaml:3"


def test_nobody_says_anything_on_a_new_machine(home: Home, tmp_path: Path) -> None:
    assert said(home, {}, tmp_path / "etc") == {}
    built = {setting.word: setting.value for setting in every(home, {}, tmp_path / "etc")}
    assert (built["users"], built["workload"], built["engine"]) == (1, "chat", None)
    assert tuple(built) == words()


def test_root_has_the_system_s_file_only(tmp_path: Path) -> None:
    system = tmp_path / "etc"
    write(system, "users: 2\n")
    root = Home(config=system, state=tmp_path, lock=tmp_path)
    assert said(root, {}, system)["users"].origin == "system"


def test_a_moved_home_has_nothing_of_the_system(home: Home, tmp_path: Path) -> None:
    write(tmp_path / "etc", "users: 2\n")
    assert values(home, {"DEPLOYER_HOME": str(tmp_path)}, tmp_path / "etc") == {}


def test_an_empty_variable_says_nothing(home: Home, tmp_path: Path) -> None:
    assert values(home, {"DEPLOYER_USERS": ""}, tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "text"), [("DEPLOYER_USERS", "x"), ("DEPLOYER_WORKLOAD", "chatt"), ("DEPLOYER_ADDRESS", "here")]
)
def test_a_wrong_variable_is_named(name: str, text: str, home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=f"^{name}: "):
        said(home, {name: text}, tmp_path)


def test_a_wrong_file_is_named_with_its_line(home: Home, tmp_path: Path) -> None:
    write(home.config, "users: 2\nengin: vllm\n")
    with pytest.raises(ProfileError, match=r"config\.yaml:2: unknown key 'engin'; did you mean engine"):
        said(home, {}, tmp_path)


def test_lists_come_as_shell_words(home: Home, tmp_path: Path) -> None:
    found = values(home, {"DEPLOYER_ENGINE_ARG": "--a 'b c'", "DEPLOYER_ALLOW_VULNERABLE": "CVE-2026-1"}, tmp_path)
    assert found == {"engine-arg": ("--a", "b c"), "allow-vulnerable": ("CVE-2026-1",)}


def test_name_and_port_come_from_the_environment_alone(home: Home, tmp_path: Path) -> None:
    environ = {"DEPLOYER_NAME": "chat", "DEPLOYER_PORT": "9000"}
    found = said(home, environ, tmp_path)
    assert flags(found) == {"name": "chat", "port": 9000}
    assert wishes_of(found, ["environment"]) == Wishes()
    with pytest.raises(BadInputError, match=r"^DEPLOYER_PORT: .*1024"):
        said(home, {"DEPLOYER_PORT": "80"}, tmp_path)
    write(home.config, "port: 9000\n")
    with pytest.raises(ProfileError, match="unknown key 'port'"):
        said(home, {}, tmp_path)


def test_the_files_that_are_looked_for_are_told_there_or_not(home: Home, tmp_path: Path) -> None:
    write(home.config, "users: 2\n")
    found = [(file.origin, file.path, file.present) for file in files(home, {}, tmp_path / "etc")]
    expected = [("user", home.config, True), ("system", tmp_path / "etc", False)]
    assert found == [(origin, f"{folder}/config.yaml", there) for origin, folder, there in expected]
    moved = files(home, {"DEPLOYER_HOME": str(tmp_path)}, tmp_path / "etc")
    assert [file.path for file in moved] == [f"{home.config}/config.yaml"]


def test_all_becomes_the_command_line_s_own_parameters(home: Home, tmp_path: Path) -> None:
    environ = {"DEPLOYER_GPUS": "none", "DEPLOYER_QUANT": "Q4_K_M", "DEPLOYER_ENGINE_ARG": "--x", "DEPLOYER_USERS": "2"}
    found = flags(said(home, environ, tmp_path))
    assert found == {"gpus": "none", "quantization": "Q4_K_M", "engine_args": ("--x",), "users": 2}


def asked(declared: Declared, *lower: Wishes, above: Wishes | None = None, **given: object) -> Request:
    layers = (above or Wishes(), declared, *lower)
    return request("chat", declared, layers, given=given, base=Path("/srv/app"))


def test_flags_win_then_the_environment_then_the_deployment_then_defaults() -> None:
    declared = Declared(model="m", users=2, context=1024, engine="vllm", port=9000)
    found = asked(declared, Wishes(users=9, quant="Q8_0"), above=Wishes(users=3, context=2048), users=4)
    assert (found.users, found.context, found.engine, found.quantization) == (4, 2048, "vllm", "Q8_0")
    assert (found.name, found.port, found.model) == ("chat", 9000, "m")


def test_words_mean_what_the_flags_mean() -> None:
    declared = Declared(
        model="m", gpus="1,0", kv_type="Q8_0", image="server=ghcr.io/a/b:c", engine_arg="--x", allow_vulnerable=("a",)
    )
    flagged = options.make_request(
        "m",
        gpus="1,0",
        kv_type="Q8_0",
        image="server=ghcr.io/a/b:c",
        engine_args=("--x",),
        allow_vulnerable=("a",),
        name="chat",
    )
    assert asked(declared) == flagged


def test_a_workload_counts_as_asked_for_whoever_names_it() -> None:
    silent = asked(Declared(model="m"))
    assert (silent.workload, silent.workload_asked) == ("chat", False)
    assert silent == options.make_request("m", gpus=None, name="chat")
    for told in (asked(Declared(model="m", workload="chat")), asked(Declared(model="m"), Wishes(workload="chat"))):
        assert told == options.make_request("m", gpus=None, name="chat", workload="chat")
        assert told.workload_asked


@pytest.mark.parametrize(("model", "expected"), [("./m.gguf", "/srv/app/m.gguf"), ("../m", "/srv/m"), ("/m", "/m")])
def test_a_model_beside_the_file_is_found_from_anywhere(model: str, expected: str) -> None:
    assert asked(Declared(model=model)).model == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("none", ()), (0, (0,)), ("1,0", (0, 1)), ((2, 1), (1, 2)), ("3", (3,))]
)
def test_gpus_can_be_written_in_every_form(value: object, expected: tuple[int, ...]) -> None:
    assert parse_gpus(value) == expected


def test_gpus_that_are_none_are_refused() -> None:
    with pytest.raises(BadInputError, match="not a list of GPU indexes"):
        parse_gpus("a")


def test_every_flag_of_a_request_is_a_word_with_the_same_bounds() -> None:
    @click.command()
    @options.request_options
    def command(**_: object) -> None:
        """Only its flags are of interest."""

    params = {
        option.opts[0].removeprefix("--"): option for option in command.params if isinstance(option, click.Option)
    }
    assert set(params) - {"name"} == set(words()) | {"port"}
    schemas = msgspec.json.schema(Declared)["$defs"]["Declared"]["properties"]
    for word, option in params.items():
        parts = schemas.get(word, {}).get("anyOf", [schemas.get(word, {})])
        if isinstance(option.type, click.IntRange):
            (bounds,) = [part for part in parts if part["type"] == "integer"]
            assert (option.type.min, option.type.max) == (bounds.get("minimum"), bounds.get("maximum"))
        if isinstance(option.type, click.Choice):
            (known,) = [part["enum"] for part in parts if "enum" in part]
            assert set(option.type.choices) == set(known)
        if word != "name" and word in words():
            assert option.name == FIELDS.get(word, word)
            assert variable(word).isupper()
