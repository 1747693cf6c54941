"""What YAML would guess or expand is refused, with the place in the file."""

from pathlib import Path

import pytest

from deployer.catalog import document
from deployer.errors import ProfileError


def refusal(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        document.parse_document(text, "profiles/x.yaml")
    return caught.value.message


def test_values_keep_their_yaml_types() -> None:
    text = "a: [1, 2.5, 'x', null, true]\nb: {c: ''}\n"
    assert document.parse_document(text, "x") == {"a": [1, 2.5, "x", None, True], "b": {"c": ""}}


def test_an_empty_file_is_none() -> None:
    assert document.parse_document("# only a comment\n", "x") is None


def test_a_duplicate_key_is_refused_with_its_place() -> None:
    text = "images:\n  - id: a\n    cuda: '1'\n    id: b\n"
    assert refusal(text) == "profiles/x.yaml:4: images/0: duplicate key 'id'"


@pytest.mark.parametrize(
    ("text", "word"), [("on: 1\non: 2\n", "on"), ("1: a\n1: b\n", "1"), ("yes: a\ntrue: b\n", "true")]
)
def test_a_duplicate_key_is_shown_as_it_is_written(text: str, word: str) -> None:
    assert refusal(text) == f"profiles/x.yaml:2: duplicate key {word!r}"


def test_several_documents_are_refused() -> None:
    assert "single document" in refusal("a: 1\n---\nb: 2\n")


def test_broken_yaml_is_refused_with_line_and_column() -> None:
    assert refusal("a: [1\nb: 2\n").startswith("profiles/x.yaml:2: column ")


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 100000 values" in refusal("\n".join(lines))


def test_an_alias_of_itself_is_refused() -> None:
    assert "levels" in refusal("a: &a [*a]\n")


def test_a_plain_alias_is_allowed() -> None:
    assert document.parse_document("a: &x [1]\nb: *x\n", "x") == {"a": [1], "b": [1]}


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000, "-\t" * 50_000])
def test_deep_nesting_is_refused_before_the_parser_recurses(text: str) -> None:
    assert refusal(text) == "profiles/x.yaml: nested too deeply"


def test_deep_indentation_is_refused() -> None:
    assert refusal("\n".join(" " * depth + "a:" for depth in range(300))) == "profiles/x.yaml: nested too deeply"


def test_forty_levels_are_the_most() -> None:
    assert "40 levels" in refusal("[" * 60 + "]" * 60)


@pytest.mark.parametrize(
    ("text", "word"),
    [("a: !!python/name:os.system x", "tag"), ("<<: {a: 1}", "merge"), ("a: !!binary aGk=", "tag"), ("[1]: x", "word")],
)
def test_unusual_yaml_is_refused(text: str, word: str) -> None:
    assert word in refusal(text)


def test_a_date_that_does_not_exist_is_refused() -> None:
    assert refusal("a: 2026-13-45") == "profiles/x.yaml: month must be in 1..12"


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("# " + "x" * document.MAX_BYTES)
    with pytest.raises(ProfileError, match="larger than 1000000 bytes"):
        document.read_document(path, "profiles/x.yaml")


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(ProfileError, match="not UTF-8 text, byte 3"):
        document.read_document(path, "profiles/x.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"profiles/x.yaml: cannot be read: No such file"):
        document.read_document(tmp_path / "x.yaml", "profiles/x.yaml")
