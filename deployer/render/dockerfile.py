"""Plan to `Dockerfile`: a template of ours and build arguments from an allow-list."""

import re

import deployer
from deployer.errors import BadInputError, DeployerError
from deployer.render.jinja import render_template
from deployer.types import Plan

_TEMPLATE = re.compile(r"[a-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_ARGUMENT = re.compile(r"[A-Z][A-Z0-9_]*")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/@=-]*")
_CMAKE_LIST = re.compile(r"[0-9]{2,3}[a-z]?(-real|-virtual)?(;[0-9]{2,3}[a-z]?(-real|-virtual)?)*")
_DECLARED = re.compile(r"^\s*ARG\s+([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE | re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*(syntax|escape|check)\s*=", re.IGNORECASE)


def render_dockerfile(plan: Plan) -> str:
    """Text of the Dockerfile. Raises BadInputError for a value outside the allow-list.

    A build argument that the Dockerfile does not declare would be ignored by the build: that is a bug and raised.
    """
    name = plan.image.dockerfile
    if name is None or _TEMPLATE.fullmatch(name) is None:
        raise _refusal("dockerfile", name or "")
    _refuse_arguments(plan)
    for field, text in (
        ("reference", plan.image.reference),
        ("profile", plan.image.profile),
        ("cuda", plan.image.cuda),
    ):
        if text is not None and _PLAIN.fullmatch(text) is None:
            raise _refusal(field, text)
    text = render_template(name, image=plan.image)
    if unused := sorted(set(plan.image.build_args) - set(_DECLARED.findall(text))):
        raise DeployerError(f"template {name} does not declare the build arguments {', '.join(unused)}")
    return _with_header(text, plan)


def _refuse_arguments(plan: Plan) -> None:
    for name, value in plan.image.build_args.items():
        if _ARGUMENT.fullmatch(name) is None:
            raise _refusal("build_args", name)
        if _PLAIN.fullmatch(value) is None and _CMAKE_LIST.fullmatch(value) is None:
            raise _refusal(f"build_args.{name}", value)


def _with_header(text: str, plan: Plan) -> str:
    """Docker reads parser directives (`# syntax=`) only at the very top, so the header comes after them."""
    lines = text.splitlines(keepends=True)
    top = next((index for index, line in enumerate(lines) if _DIRECTIVE.match(line) is None), len(lines))
    arguments = "".join(f" --build-arg {name}={value}" for name, value in sorted(plan.image.build_args.items()))
    tag = f"deployer/{plan.engine}:{plan.image.profile}"
    header = [
        f"# Image {plan.image.profile} of {plan.engine}, rendered by deployer {deployer.__version__}.\n",
        "# Make it again: deployer render plan.json --target compose\n",
        f"# Build it by hand: docker build --tag {tag}{_quoted(arguments)} - < Dockerfile\n",
    ]
    return "".join(lines[:top] + header + lines[top:])


def _quoted(arguments: str) -> str:
    return re.sub(r"=(\S*;\S*)", r"='\1'", arguments)


def _refusal(field: str, value: str) -> BadInputError:
    return BadInputError(
        f"plan: image.{field}: {ascii(value)[:120]} cannot stand in a Dockerfile",
        hint="make the plan again: deployer plan MODEL --out plan.json",
    )
