"""What a user may write for MODEL, parsed once."""

import re
from pathlib import Path

import msgspec

from deployer.errors import BadInputError
from deployer.models.names import MAX_NAME, printable, unsafe_reason

FORMS = (
    "write a catalog name, hf:org/repo[@revision][:file], a path to a .gguf file or a model folder,"
    " or package:module/file"
)

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_CATALOG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")


class CatalogReference(msgspec.Struct, frozen=True):
    """A name of the catalog (or one of its aliases)."""

    name: str


class HubReference(msgspec.Struct, frozen=True):
    """A repository of the model hub. `file` may also be a quantization (`Q4_K_M`)."""

    repo: str
    revision: str | None = None
    file: str | None = None


class PackageReference(msgspec.Struct, frozen=True):
    """A file inside an installed Python package."""

    module: str
    file: str


class PathReference(msgspec.Struct, frozen=True):
    """A `.gguf` file or a model folder on this machine, as it was written."""

    path: Path


Reference = CatalogReference | HubReference | PackageReference | PathReference


def parse_reference(text: str) -> Reference:
    """Tell which kind of reference `text` is. Raises BadInputError with the accepted forms."""
    if not text or len(text) > MAX_NAME:
        raise _refused(text, f"its length is not between 1 and {MAX_NAME}")
    if not text.isprintable():
        raise _refused(text, "it holds control or invisible characters")
    if "\\" in text:
        raise _refused(text, "it holds a backslash")
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "hf":
        return _hub(text, rest)
    if colon and scheme == "package":
        return _package(text, rest)
    if "/" in text or text.lower().endswith(".gguf") or _exists(text):
        return PathReference(Path(text))
    if not _CATALOG.fullmatch(text):
        raise _refused(text, "it is none of the accepted forms")
    return CatalogReference(text)


def _hub(text: str, rest: str) -> HubReference:
    head, colon, file = rest.partition(":")
    repo, at, revision = head.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith((".git", ".", "-")):
        raise _refused(text, "the part after hf: is not org/repo")
    if at and (not _REVISION.fullmatch(revision) or unsafe_reason(revision)):
        raise _refused(text, "the part after @ is not a branch, tag or commit")
    if colon:
        _check_file(text, file)
    return HubReference(repo, revision or None, file or None)


def _package(text: str, rest: str) -> PackageReference:
    module, slash, file = rest.partition("/")
    if not slash or not _MODULE.fullmatch(module):
        raise _refused(text, "the part after package: is not the name of a top-level module, a slash and a file")
    _check_file(text, file)
    return PackageReference(module, file)


def _check_file(text: str, file: str) -> None:
    if reason := unsafe_reason(file):
        raise _refused(text, f"the file name cannot be used: {reason}")


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:
        return False


def _refused(text: str, reason: str) -> BadInputError:
    return BadInputError(f"{printable(text)!r} is not a model reference: {reason}", hint=FORMS)
