"""Whence an image came: Docker's recorded answers (26.1) of both image stores, built here and pulled from a registry.

`Identity` is of Engines with API 1.53 (moby pull request 51737); its shape is moby's, the rest of the answer recorded.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from deployer.images import inspect_image
from deployer.images.inspect import RECIPE_LABEL, LocalImage

ANSWERS = Path(__file__).parent / "answers"
APP, OWN = "127.0.0.1:5000/example/app:v1", "example/own:v1"


def image(fake_engine: Any, name: str, answer: str, **changes: Any) -> LocalImage:
    fake_engine.images[name] = json.loads((ANSWERS / f"{answer}.json").read_text()) | changes
    found = inspect_image(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answer", "name", "containerd", "origin"),
    [
        ("classic-built", OWN, False, "here"),
        ("classic-pulled", APP, False, "registry"),
        ("containerd-built", OWN, True, "unknown"),
        ("containerd-pulled", APP, True, "unknown"),
    ],
)
def test_the_store_is_told_from_the_answer(
    fake_engine: Any, answer: str, name: str, containerd: bool, origin: str
) -> None:
    found = image(fake_engine, name, answer)
    assert (found.containerd, found.origin(name)) == (containerd, origin)
    assert found.origin("elsewhere/other:v1") == "here"


@pytest.mark.parametrize(
    ("answer", "name", "identity", "origin"),
    [
        ("containerd-pulled", APP, {"Pull": [{"Repository": "127.0.0.1:5000/example/app"}]}, "registry"),
        ("containerd-built", OWN, {"Build": [{"Ref": "x", "CreatedAt": "2026-11-20T12:00:00Z"}]}, "here"),
        ("containerd-built", OWN, {"Pull": [{"Repository": "docker.io/example/another"}]}, "here"),
        ("containerd-built", OWN, {"Pull": [{"Repository": "docker.io/example/own"}]}, "registry"),
        ("containerd-built", OWN, {}, "here"),
    ],
)
def test_an_engine_that_says_whence_is_believed(
    fake_engine: Any, answer: str, name: str, identity: dict[str, Any], origin: str
) -> None:
    assert image(fake_engine, name, answer, Identity=identity).origin(name) == origin


def test_our_own_build_is_known_by_its_label(fake_engine: Any) -> None:
    config = {"Env": [], "Labels": {RECIPE_LABEL: "dockerfile:1"}}
    assert image(fake_engine, OWN, "containerd-built", Config=config).origin(OWN) == "here"


def test_the_descriptor_tells_the_store_too(fake_engine: Any) -> None:
    found = image(fake_engine, OWN, "containerd-built", RepoDigests=[], Descriptor={"digest": "sha256:1"})
    assert found.containerd


def test_the_digest_under_a_name(fake_engine: Any) -> None:
    found = image(fake_engine, APP, "containerd-pulled")
    assert found.digest_of(APP) == found.id
    assert found.digest_of(OWN) is None
