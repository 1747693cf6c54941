"""The operating system, its distribution, and whether it is WSL."""

import os
from pathlib import Path

import msgspec

from deployer.facts.text import read_text
from deployer.types import OsFacts


class Answers(msgspec.Struct, frozen=True):
    """`uname`, and the text of os-release(5)."""

    system: str
    kernel: str
    os_release: str


def probe(root: Path = Path("/")) -> OsFacts:
    """Ask this machine."""
    return read(ask(root))


def ask(root: Path = Path("/")) -> Answers:
    """Ask the kernel and read os-release."""
    kernel = os.uname()
    text = read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release")
    return Answers(kernel.sysname, kernel.release, text)


def read(answers: Answers) -> OsFacts:
    """Give `debian 12` (ID and VERSION_ID); a WSL kernel has "microsoft" in its release."""
    pairs = {}
    for line in answers.os_release.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            pairs[key.strip()] = value.strip().strip("\"'")
    words = [pairs[key] for key in ("ID", "VERSION_ID") if pairs.get(key)]
    return OsFacts(
        system=answers.system or None,
        distribution=" ".join(words) or None,
        kernel=answers.kernel or None,
        wsl="microsoft" in answers.kernel.lower(),
    )
