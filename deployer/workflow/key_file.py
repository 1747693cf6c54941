"""The file of `--key-file`: the API key of a server that others run."""

from pathlib import Path

from deployer.errors import BadInputError
from deployer.paths import is_special

MAX_BYTES = 64 * 1024
_HINT = "--key-file FILE holds the key alone"


def read_key(path: Path) -> str:
    """The key in a regular file (links are followed) of at most 64 KiB. Raises BadInputError, which never shows it."""
    if is_special(path):
        raise BadInputError(f"{path}: not a regular file", hint=_HINT)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        key = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise BadInputError(f"{path}: no key can be read: {reason}", hint=_HINT) from None
    if len(content) > MAX_BYTES:
        raise BadInputError(f"{path}: larger than {MAX_BYTES >> 10} KiB; a key is never that long", hint=_HINT)
    if not key:
        raise BadInputError(f"{path}: the file is empty", hint=_HINT)
    return key
