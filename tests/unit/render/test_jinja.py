"""The template environment: strict, and one filter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployer.errors import DeployerError
from deployer.render import jinja


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of templates instead of ours."""
    monkeypatch.setattr(jinja, "data_dir", lambda name: tmp_path)
    jinja.environment.cache_clear()
    yield tmp_path
    jinja.environment.cache_clear()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("no", '"no"'),
        ("a$b", '"a$$b"'),
        ("é", '"é"'),
        ("\u202e", '"\\u202e"'),
        ("\x7f\x85", '"\\u007f\\u0085"'),
        ("\U000e0001", '"\\U000e0001"'),
        (8000, "8000"),
        (True, "true"),
        (0.5, "0.5"),
        (["a", "$"], '["a", "$$"]'),
        (("a",), '["a"]'),
        ({"a": False}, '{"a": false}'),
        ([], "[]"),
    ],
)
def test_a_scalar_is_one_line(value: object, text: str) -> None:
    assert jinja.scalar(value) == text


@pytest.mark.parametrize("value", ["\U0001f600", "\u2028", "\ufeff", "\\u0041", "\uffff", "\U000e0001", "a\u200bb"])
def test_yaml_reads_back_what_was_written(value: str) -> None:
    assert yaml.safe_load(jinja.scalar(value)) == value


@pytest.mark.parametrize("value", [None, object(), b"bytes", {1, 2}])
def test_what_is_not_a_value_is_a_bug(value: object) -> None:
    with pytest.raises(DeployerError, match="not there"):
        jinja.scalar(value)


@pytest.mark.parametrize(
    "text", ["{{ missing }}", "{{ missing | scalar }}", "{{ given.missing | scalar }}", "{% if missing %}{% endif %}"]
)
def test_an_undefined_name_is_a_bug_that_names_it(text: str, templates: Path) -> None:
    (templates / "a.j2").write_text(text)

    with pytest.raises(DeployerError, match=r"template a\.j2: .*missing"):
        jinja.render_template("a.j2", given={})


@pytest.mark.parametrize("text", ["{% if %}", "{{ 'a' | nothing }}", "{% include 'gone.j2' %}"])
def test_a_broken_template_is_a_bug(text: str, templates: Path) -> None:
    (templates / "a.j2").write_text(text)

    with pytest.raises(DeployerError):
        jinja.render_template("a.j2")


@pytest.mark.parametrize("name", ["gone.j2", "../../../etc/passwd", "/etc/passwd"])
def test_only_our_own_templates_are_read(name: str, templates: Path) -> None:
    with pytest.raises(DeployerError, match="not part of this installation"):
        jinja.render_template(name)


def test_blocks_leave_no_trace_and_the_last_newline_stays(templates: Path) -> None:
    (templates / "a.j2").write_text("a:\n  {% for x in [1] %}\n  - {{ x }}\n  {% endfor %}\n")

    assert jinja.render_template("a.j2") == "a:\n  - 1\n"
