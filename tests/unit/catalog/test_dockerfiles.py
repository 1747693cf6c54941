"""Dockerfiles of the profiles: they render, pass hadolint, and keep to the rules for an image of ours."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from deployer import catalog
from deployer.paths import data_dir
from deployer.types import ImageProfile, PlanImage

IMAGES = [image for engine in catalog.load_engines() for image in engine.images if image.dockerfile is not None]


def rendered(image: ImageProfile) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(enabled_extensions=()),
    )
    environment.filters["scalar"] = json.dumps
    plan = PlanImage(
        profile=image.id, reference=None, digest=None, source="build", cuda=image.cuda, accelerator=image.accelerator,
        recipe=image.recipe, dockerfile=image.dockerfile, build_args=image.build_args,
    )  # fmt: skip
    return environment.get_template(image.dockerfile or "").render(image=plan)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.id)
def test_hadolint_is_content(image: ImageProfile) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "-"], check=False, input=rendered(image), capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.id)
def test_the_rules_for_an_image_of_ours(image: ImageProfile) -> None:
    text = rendered(image)
    last = text[text.rindex("\nFROM ") :]
    assert "\nUSER 65532:65532\n" in last
    assert re.search(r"install .*\bcurl\b", last)
    assert "rm -rf /var/lib/apt/lists/*" in last
    assert "org.opencontainers.image.licenses=" in last
    assert f'ENTRYPOINT ["{image.command[0]}"]' in last
    assert not re.search(r"^COPY (?!--from=)", text, re.MULTILINE)  # the build has no context


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.id)
def test_build_arguments_are_declared(image: ImageProfile) -> None:
    declared = re.findall(r"^ARG ([A-Z0-9_]+)", rendered(image), re.MULTILINE)
    assert set(image.build_args) <= set(declared)


def test_the_source_build_is_of_the_profile_s_version() -> None:
    image = next(image for image in IMAGES if image.id == "cuda-source")
    text = rendered(image)
    assert f"ARG LLAMA_BUILD={image.version.removeprefix('b')}\n" in text
    assert f"ARG CUDA_VERSION={image.cuda}\n" in text
