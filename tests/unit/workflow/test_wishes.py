"""Odd image references and unknown vulnerabilities are refused with what was probably meant; moving tags are told."""

import pytest

from deployer import catalog
from deployer.errors import BadInputError
from deployer.types import Knowledge, Request
from deployer.workflow import wishes

DIGEST = "@sha256:" + "a" * 64


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return catalog.load_knowledge()


def asked(reference: str | None = None, *allowed: str) -> Request:
    return Request(model="m", image="server", image_reference=reference, allow_vulnerable=allowed)


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("ghcr.io/Org/Image:v1", "ghcr.io/org/image:v1"),
        ("ghcr.io/org/image:", "ghcr.io/org/image"),
        ("ghcr.io/org/ image:v1", "ghcr.io/org/image:v1"),
        (" ghcr.io/org/image:v1", "ghcr.io/org/image:v1"),
        ("https://ghcr.io/org/image:v1", "ghcr.io/org/image:v1"),
        ("ghcr.io/org/image@", "ghcr.io/org/image"),
        ("Image:V1", "image:V1"),
    ],
)
def test_a_name_that_docker_would_not_take_is_refused_with_what_was_meant(
    knowledge: Knowledge, reference: str, meant: str
) -> None:
    with pytest.raises(BadInputError, match=r"is not the name of an image; did you mean") as caught:
        wishes.check(asked(reference), knowledge)
    assert caught.value.message.endswith(f"did you mean {meant}?")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("reference", ["$(id)", "a/b:c:d", "../x", "x@sha256:12", "x:-v", "\x00", "日本"])
def test_what_nobody_can_mean_is_refused_too(knowledge: Knowledge, reference: str) -> None:
    with pytest.raises(BadInputError):
        wishes.check(asked(reference), knowledge)


def test_nothing_behind_the_equals_sign(knowledge: Knowledge) -> None:
    with pytest.raises(BadInputError, match="no image stands behind"):
        wishes.check(asked(""), knowledge)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("ghcr.io/org/image", "has no tag, which means latest"),
        ("127.0.0.1:5000/image", "has no tag"),
        ("ghcr.io/org/image:latest", "moves"),
        ("ghcr.io/org/image:server-cuda", "moves"),
        ("ghcr.io/org/image:v0.33.0", None),
        ("ghcr.io/org/image:server-cuda-b11434", None),
        ("ghcr.io/org/image:latest" + DIGEST, None),
        ("ghcr.io/org/image" + DIGEST, None),
        (None, None),
    ],
)
def test_a_tag_that_moves_is_told(knowledge: Knowledge, reference: str | None, said: str | None) -> None:
    wishes.check(asked(reference), knowledge)
    found = wishes.moving_tag(asked(reference))
    assert (found is None) == (said is None)
    assert said is None or (said in str(found) and "@sha256" in str(found))


def test_an_unknown_vulnerability_names_the_nearest(knowledge: Knowledge) -> None:
    known = knowledge.advisories[0].id
    wishes.check(asked(None, known, known.lower()), knowledge)
    with pytest.raises(BadInputError, match=rf"no such vulnerability is known here; did you mean {known}(, | or |\?)"):
        wishes.check(asked(None, known[:-1] + "x"), knowledge)
    with pytest.raises(BadInputError, match="no such vulnerability") as caught:
        wishes.check(asked(None, "everything"), knowledge)
    assert "did you mean" not in caught.value.message
    assert known in str(caught.value.details["known"])
