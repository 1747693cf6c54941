"""What an image is made from, as one comparable word."""

import hashlib
from pathlib import Path

from deployer.types import ImageProfile


def recipe_of(image: ImageProfile, templates: Path) -> str:
    """The reference, the program, or `dockerfile:<sha256>` of the template.

    Comment and blank lines of the template are left out of the hash: they do not change what is built.
    """
    if image.dockerfile is not None:
        return f"dockerfile:{_digest((templates / image.dockerfile).read_text())}"
    return image.reference or image.program or ""


def _digest(template: str) -> str:
    lines = (line.rstrip() for line in template.splitlines())
    kept = [line for line in lines if line and not line.lstrip().startswith(("#", "{#"))]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()
