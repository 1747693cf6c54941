"""Build arguments pass an allow-list, and all of them are used."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import BadInputError, DeployerError
from deployer.render import jinja
from deployer.render.dockerfile import render_dockerfile
from deployer.types import Plan
from tests.unit.render import plans


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of templates instead of ours."""
    monkeypatch.setattr(jinja, "data_dir", lambda name: tmp_path)
    jinja.environment.cache_clear()
    yield tmp_path
    jinja.environment.cache_clear()


def with_argument(value: str, name: str = "CUDA_ARCH") -> Plan:
    return plans.built(build_args={name: value})


def test_the_header_says_how_to_build_it_by_hand() -> None:
    text = render_dockerfile(with_argument("61;70"))

    assert text.startswith("# Image cuda-source of llama.cpp, rendered by deployer 1.2.3.\n")
    assert "docker build --tag deployer/llama.cpp:cuda-source --build-arg CUDA_ARCH='61;70' - < Dockerfile" in text


@pytest.mark.parametrize(
    "value", ["61", "12.4.1", "debian:sid-slim", "61;70", "61-virtual;80-virtual;86-real;120a-real"]
)
def test_values_that_builds_need(value: str) -> None:
    assert "ARG CUDA_ARCH" in render_dockerfile(with_argument(value))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b",
        "a\nRUN id",
        "61;reboot",
        "$(id)",
        "${X}",
        "`id`",
        '"',
        "'",
        "\\",
        "-x",
        "a&&b",
        "a|b",
        "a>b",
        "\u202e",
        "#",
    ],
)
def test_values_that_could_be_more_than_values(value: str) -> None:
    with pytest.raises(BadInputError, match="CUDA_ARCH") as caught:
        render_dockerfile(with_argument(value))

    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["", "a", "A B", "A\n", "1A", "A=B"])
def test_names_that_are_no_build_argument(name: str) -> None:
    with pytest.raises(BadInputError, match="build_args"):
        render_dockerfile(with_argument("61", name))


@settings(deadline=None)
@given(value=st.text(max_size=20))
def test_no_value_adds_an_instruction(value: str) -> None:
    try:
        text = render_dockerfile(with_argument(value))
    except BadInputError:
        return
    assert _instructions(text) == _instructions(render_dockerfile(with_argument("61")))


def _instructions(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line[:1].isupper()]


def test_an_argument_that_the_dockerfile_does_not_declare_is_a_bug() -> None:
    with pytest.raises(DeployerError, match="does not declare the build arguments NOT_THERE") as caught:
        render_dockerfile(with_argument("61", "NOT_THERE"))

    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", [None, "", "../secret.j2", "/etc/passwd", "a/../b", "a//b", "a\nb"])
def test_a_template_outside_the_folder_is_refused(name: str | None) -> None:
    with pytest.raises(BadInputError, match="dockerfile"):
        render_dockerfile(plans.built(dockerfile=name))


@pytest.mark.parametrize(("field", "value"), [("reference", "a\nRUN id"), ("profile", "a b"), ("cuda", "$(id)")])
def test_other_values_that_a_template_may_print_are_held_to_the_same(field: str, value: str) -> None:
    plan = plans.built()
    image = msgspec.structs.replace(plan.image, **{field: value})

    with pytest.raises(BadInputError, match=f"image.{field}"):
        render_dockerfile(msgspec.structs.replace(plan, image=image))


def test_parser_directives_stay_on_top(templates: Path) -> None:
    (templates / "a.Dockerfile.j2").write_text("# syntax=docker/dockerfile:1\n# check=error=true\n# a\nFROM scratch\n")

    lines = render_dockerfile(plans.built(dockerfile="a.Dockerfile.j2", build_args={})).splitlines()

    assert lines[:2] == ["# syntax=docker/dockerfile:1", "# check=error=true"]
    assert lines[2].startswith("# Image cuda-source")
    assert lines[-2:] == ["# a", "FROM scratch"]
