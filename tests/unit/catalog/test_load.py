"""Errors of profiles name the file and the path in it; what is consistent loads, with recipes and overlays."""

import hashlib
import shutil
from pathlib import Path

import pytest

from deployer import catalog
from deployer.errors import ProfileError
from deployer.paths import data_dir

LABEL = "profiles/engines/llama.cpp.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the packaged profiles, with the templates beside it."""
    shutil.copytree(data_dir("profiles"), tmp_path / "profiles")
    shutil.copytree(data_dir("templates"), tmp_path / "templates")
    return tmp_path / "profiles"


def change(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def refusal(root: Path, old: str, new: str) -> ProfileError:
    change(root, "engines/llama.cpp.yaml", old, new)
    with pytest.raises(ProfileError) as caught:
        catalog.load_engine("llama.cpp", root)
    return caught.value


def test_the_packaged_knowledge_loads() -> None:
    knowledge = catalog.load_knowledge()
    assert [engine.engine for engine in knowledge.engines] == sorted(engine.engine for engine in knowledge.engines)
    assert "llama.cpp" in [engine.engine for engine in knowledge.engines]
    assert catalog.load_engine("llama.cpp") in knowledge.engines
    assert knowledge.gpus == catalog.load_gpus()
    assert catalog.load_engines() == knowledge.engines


def test_a_number_where_text_belongs_says_quote_it(root: Path) -> None:
    error = refusal(root, 'cuda: "12.4.1"', "cuda: 12.4")
    assert error.message == f"{LABEL}: images/2/cuda: expected str, got float, quote it"
    assert "quotes" in error.hint


@pytest.mark.parametrize(("text", "kind"), [("no", "bool"), ("12", "int"), ("2026-11-20", "date"), ("1:30", "int")])
def test_other_guesses_of_yaml_say_quote_it(root: Path, text: str, kind: str) -> None:
    assert refusal(root, 'cuda: "12.8.1"', f"cuda: {text}").message == (
        f"{LABEL}: images/0/cuda: expected str, got {kind}, quote it"
    )


def test_an_unquoted_off_is_caught(root: Path) -> None:
    message = refusal(root, 'value: "off"', "value: off").message
    assert message.startswith(f"{LABEL}: flags/")
    assert message.endswith("/value: expected str, got bool, quote it")


def test_an_unknown_key_names_the_nearest(root: Path) -> None:
    error = refusal(root, "reference:", "refrence:")
    assert error.message == f"{LABEL}: images/0: unknown key 'refrence'; did you mean reference?"
    assert "reference" in error.hint


def test_an_unknown_key_at_the_top(root: Path) -> None:
    assert refusal(root, "license:", "zzz:").message == f"{LABEL}: unknown key 'zzz'"


def test_a_missing_key_is_named(root: Path) -> None:
    assert refusal(root, "  - id: server-cuda\n    version: b11434\n", "  - id: server-cuda\n").message == (
        f"{LABEL}: images/0: missing key 'version'"
    )


def test_a_missing_key_in_a_nested_value(root: Path) -> None:
    assert refusal(root, "  path: /health\n", "").message == f"{LABEL}: health: missing key 'path'"


def test_a_wrong_word_lists_the_right_ones(root: Path) -> None:
    message = refusal(root, "accelerator: cuda", "accelerator: coda").message
    assert message.startswith(f"{LABEL}: images/0/accelerator: expected one of ")
    assert "cuda" in message
    assert message.endswith("got 'coda'; did you mean cuda?")


def test_a_mapping_where_a_list_belongs(root: Path) -> None:
    message = refusal(root, 'sass: ["8.6", "8.9", "12.0a"]', "sass: {a: b}").message
    assert message == f"{LABEL}: images/0/sass: expected list, got mapping"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("id: server-cuda13", "id: server-cuda", "images/1/id: 'server-cuda' is already at 0"),
        ('sass: ["8.6",', 'sass: ["86",', "images/0/sass/0: not a compute capability such as 8.6: '86'"),
        ("gfx: [gfx908", "gfx: [908gfx", "images/3/gfx/0: not a target such as gfx1100: '908gfx'"),
        (
            "pattern: 'device kernel",
            "pattern: '(device kernel",
            "failures/6/pattern: not a regular expression: missing )",
        ),
        ("cuda-source.Dockerfile.j2", "none.j2", "images/2/dockerfile: no such template: engines/llama.cpp/none.j2"),
        ("engines/llama.cpp/debian.Dockerfile.j2", "../x", "images/7/dockerfile: no such template: ../x"),
        ("setting: alias", "setting: model", "flags/1/setting: 'model' is already at 0"),
        ("  - Q8_0\n", "  - Q9_9\n", "quantizations/3: 'Q9_9' is not in quantizations.yaml"),
        ("engine: llama.cpp", "engine: llama", "engine: 'llama' is not the name of the file, 'llama.cpp'"),
        ('driver_min: "550"', 'driver_min: "R550"', "images/0/driver_min: not a version such as 12.8.1: 'R550'"),
        ('driver_min: "550"', "size_mib: 1", "images/0: has sass but no driver_min"),
        ("command: [/app/llama-server]", "command: []", "images/0/command: empty"),
        ('cuda: "12.8.1"', "digest: sha256:abc", "images/0/digest: not sha256: and 64 hex digits: 'sha256:abc'"),
    ],
)
def test_inconsistencies_are_refused(root: Path, old: str, new: str, expected: str) -> None:
    assert refusal(root, old, new).message.startswith(f"{LABEL}: {expected}")


def test_an_image_has_one_origin(root: Path) -> None:
    message = refusal(root, "    dockerfile: engines", "    program: x\n    dockerfile: engines").message
    assert message == f"{LABEL}: images/2: exactly one of reference, dockerfile and program, got dockerfile and program"


def test_an_image_without_origin(root: Path) -> None:
    line = "    reference: ghcr.io/ggml-org/llama.cpp:server-cuda-b11434\n"
    assert refusal(root, line, "").message.endswith("program, got none")


def test_an_unknown_engine_lists_the_known() -> None:
    with pytest.raises(ProfileError, match="no engine 'lama'") as caught:
        catalog.load_engine("lama")
    assert "llama.cpp" in caught.value.hint


def test_names_of_gpus_are_of_one_gpu_only(root: Path) -> None:
    change(root, "gpus.yaml", "{name: Tesla P4,", "{name: tesla p40,")
    with pytest.raises(ProfileError, match=r"^profiles/gpus\.yaml: \d+: .*is also a name of 'tesla p40'"):
        catalog.load_gpus(root)


def test_a_quality_above_one_is_refused(root: Path) -> None:
    change(root, "quantizations.yaml", "quality: 0.9996", "quality: 99.96")
    with pytest.raises(ProfileError, match=r"^profiles/quantizations\.yaml: 3/quality: not between 0 and 1: 99.96"):
        catalog.load_quantizations(root)


def test_a_model_name_is_used_once(root: Path) -> None:
    change(root, "models/smollm2.yaml", "- name: smollm2-360m-instruct", "- name: smollm2-135m-instruct")
    with pytest.raises(ProfileError, match=r"^profiles/models/smollm2\.yaml: 1: the name 'smollm2-135m.*' is taken by"):
        catalog.load_models(root)


def test_recipes_say_what_an_image_is_made_from() -> None:
    images = {image.id: image for image in catalog.load_engine("llama.cpp").images}
    assert images["server"].recipe == images["server"].reference
    assert images["xllamacpp"].recipe == "xllamacpp"
    kind, _, digest = images["debian"].recipe.partition(":")
    assert kind == "dockerfile"
    assert len(digest) == len(hashlib.sha256().hexdigest())
    assert images["debian"].recipe != images["cuda-source"].recipe


def test_comments_do_not_change_a_recipe(root: Path) -> None:
    def recipe() -> str:
        return next(image.recipe for image in catalog.load_engine("llama.cpp", root).images if image.id == "debian")

    first = recipe()
    template = root.parent / "templates/engines/llama.cpp/debian.Dockerfile.j2"
    template.write_text("# another comment\n\n" + template.read_text())
    assert recipe() == first
    template.write_text(template.read_text().replace("EXPOSE 8080", "EXPOSE 8081"))
    assert recipe() != first


def test_an_overlay_replaces_a_file_of_the_same_name_and_adds_others(tmp_path: Path) -> None:
    overlay = tmp_path / "mine"
    (overlay / "engines").mkdir(parents=True)
    text = catalog.engine_text("llama.cpp")
    (overlay / "engines" / "llama.cpp.yaml").write_text(text.replace("title: llama.cpp (llama-server)", "title: ours"))
    (overlay / "engines" / "fork.yaml").write_text(text.replace("engine: llama.cpp", "engine: fork"))
    (overlay / "gpus.yaml").write_text(
        "- {name: Card, vendor: nvidia, architecture: x, memory_mib: 1, bandwidth_gb_s: 1}\n"
    )
    engines = catalog.load_engines(overlay=overlay)
    assert ("fork", "llama.cpp (llama-server)") in [(engine.engine, engine.title) for engine in engines]
    assert catalog.load_engine("llama.cpp", overlay=overlay).title == "ours"
    assert [gpu.name for gpu in catalog.load_gpus(overlay=overlay)] == ["Card"]
    assert "title: ours" in catalog.engine_text("llama.cpp", overlay=overlay)


def test_an_error_in_an_overlay_names_its_own_path(tmp_path: Path) -> None:
    (tmp_path / "gpus.yaml").write_text("- {}\n")
    with pytest.raises(ProfileError) as caught:
        catalog.load_gpus(overlay=tmp_path)
    assert caught.value.message == f"{tmp_path}/gpus.yaml: 0: missing key 'name'"
