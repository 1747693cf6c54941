"""A string can never change the structure of a file: whatever it holds, it comes back as the same string."""

import unicodedata
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployer.errors import BadInputError, DeployerError
from deployer.render import render
from deployer.render.readback import check_yaml
from deployer.types import Plan
from tests.unit.render import plans

NASTY = (
    "${HF_TOKEN}",
    "$$",
    "$",
    "$(id)",
    "`id`",
    'x"\n    privileged: true\n    z: "',
    "a\nb",
    "\t",
    "no",
    "1e3",
    "08080",
    "22:22",
    "0o17",
    "~",
    "null",
    "-rf",
    "--privileged",
    "- a",
    "a: b",
    "#x",
    "x #y",
    "{{7*7}}",
    "{% raw %}",
    "%s",
    "!!python/object",
    "&a",
    "*a",
    "[]",
    "{}",
    "'\"`\\",
    "\\",
    "\u202eevil",
    "\u2028\u2029",
    "\ufeff",
    "e\u0301",
    "\U0001f600",
    "\U000e0001",
    "\uffff",
    "",
    " ",
)
texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\t$\"'\\{}[]:#&*!|>%@`"), max_size=40
)
names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=20)


def parsed(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(render(plan).files["compose.yaml"])
    return document


def read(plan: Plan) -> dict[str, Any]:
    """The file as Compose reads it: YAML, then interpolation of `$$`."""
    document, plain = parsed(plan), parsed(plans.plan())
    assert set(document) == set(plain)
    assert set(document["services"]["llm"]) == set(plain["services"]["llm"])
    return document


def interpolated(text: str) -> str:
    assert "$" not in text.replace("$$", ""), "Compose would interpolate this"
    return text.replace("$$", "$")


@pytest.mark.parametrize("text", NASTY)
def test_nasty_words_come_back_as_they_are(text: str) -> None:
    found = read(plans.plan(command=("server", text, text), environment={"A": text}))["services"]["llm"]

    assert [interpolated(word) for word in found["command"]] == [text, text]
    assert interpolated(found["environment"]["A"]) == text


@settings(deadline=None)
@given(words=st.lists(texts, max_size=5), value=texts)
@example(words=['"]\n    privileged: true #'], value='"\nx: y')
def test_any_word_comes_back_as_it_is(words: list[str], value: str) -> None:
    found = read(plans.plan(command=("server", *words), environment={"KEY": value}))["services"]["llm"]

    assert [interpolated(word) for word in found["command"]] == words
    assert interpolated(found["environment"]["KEY"]) == value


@settings(deadline=None)
@given(name=names)
def test_any_file_name_comes_back_as_it_is(name: str) -> None:
    plan = plans.plan()
    model = msgspec.structs.replace(plan.model, path=f"/srv/{name}.gguf", files=(f"{name}.gguf",))

    (mount,) = read(msgspec.structs.replace(plan, model=model))["services"]["llm"]["volumes"]

    assert interpolated(mount["source"]) == f"/srv/{name}.gguf"
    assert interpolated(mount["target"]) == f"/models/{name}.gguf"


@settings(deadline=None)
@given(text=st.text(max_size=60))
@example(text="x\nservices: {evil: {privileged: true}}")
@example(text="\u2028privileged: true")
@example(text="\x85privileged: true")
@example(text="\ud800")
def test_a_comment_can_hold_anything_and_stays_a_comment(text: str) -> None:
    plan = plans.plan(warnings=(text,), reasons=(text,), engine_version=text)

    assert parsed(plan) == parsed(plans.plan())
    assert all(_shows(character) for character in render(plan).files["compose.yaml"])


@settings(deadline=None)
@given(text=st.text(max_size=30))
def test_any_reference_is_printed_or_refused_and_nothing_else(text: str) -> None:
    plan = plans.plan()
    model = msgspec.structs.replace(plan.model, ref=text, quantization=text, path=f"/srv/{text}")
    try:
        found = read(msgspec.structs.replace(plan, model=model))
    except BadInputError:
        return
    assert {"name", "services", "networks", "secrets"} == set(found)


def _shows(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    "text",
    ["a: 2\n", "a: '1'\n", "a: 1\nb: 2\n", "{}\n", "- a\n", "a: [1]\n", "a: true\n"],
)
def test_a_text_that_says_something_else_is_a_bug(text: str) -> None:
    with pytest.raises(DeployerError, match=r"does not say what the plan says") as caught:
        check_yaml(text, {"a": 1}, "compose.yaml")

    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("text", "why"), [("a: [", "not YAML"), ('a: "${B}"', "interpolate"), ('a: "$$$B"', "interpolate")]
)
def test_a_text_that_compose_would_read_otherwise_is_a_bug(text: str, why: str) -> None:
    with pytest.raises(DeployerError, match=why):
        check_yaml(text, {"a": "${B}"}, "compose.yaml")


def test_a_doubled_dollar_is_one() -> None:
    check_yaml('a: "$${B} $$$$"', {"a": "${B} $$"}, "compose.yaml")

    with pytest.raises(DeployerError):
        check_yaml('a: "$${B} $$"', {"a": "${B} $$"}, "compose.yaml")
