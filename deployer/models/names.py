"""Names that come from outside: safe to show, and safe to use as a path below a folder."""

import re

MAX_NAME = 1024
MAX_PART = 255


def printable(text: str | bytes, limit: int = 80) -> str:
    """`text` for one line of a message: every non-printable character becomes `?`, and long text is cut."""
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    shown = "".join(character if character.isprintable() else "?" for character in decoded[: limit + 1])
    return shown if len(decoded) <= limit else shown[:limit] + "…"


def unsafe_reason(name: str) -> str | None:
    """Why `name` may not be used as a relative file name, or None when it may."""
    if not name or len(name) > MAX_NAME:
        return f"its length is not between 1 and {MAX_NAME}"
    if not name.isprintable() or "\\" in name:
        return "it holds control characters, invisible characters or a backslash"
    if name.startswith("/"):
        return "it is absolute"
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "it holds an empty part, `.` or `..`"
    if any(len(part.encode()) > MAX_PART for part in parts):
        return f"one part is longer than {MAX_PART} bytes"
    return None


def slug(text: str) -> str:
    """A short lower-case name for a model: `SmolLM2-135M-Instruct` becomes `smollm2-135m-instruct`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:60].strip("-.") or "model"
