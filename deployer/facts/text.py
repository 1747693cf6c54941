"""Small files of the kernel, read whole: a file that is missing or refused is an empty text."""

from pathlib import Path

_LIMIT_BYTES = 16 * 1024 * 1024


def read_text(path: Path) -> str:
    """Read a small text file; "" when it is missing, refused or not a file."""
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def colon_pairs(text: str) -> dict[str, str]:
    """Read `key : value` lines into a dict; of a repeated key the first value stays."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            pairs.setdefault(key.strip(), value.strip())
    return pairs


def count_list(text: str) -> int:
    """Count the members of a kernel list such as `0-3,8` (4 + 1); 0 for an empty one."""
    total = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            total += int(last if last.isdigit() else first) - int(first) + 1
    return total
