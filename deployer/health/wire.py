"""Bodies as they come over the wire: bounded in bytes and time, and failures said in the server's own words."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from deployer.health.answers import ProtocolError

if TYPE_CHECKING:
    import requests

BODY_LIMIT_BYTES = 8_000_000
_BLOCK, _OK = 65_536, 200
_REDIRECTS = range(300, 400)


def bounded(response: "requests.Response", deadline: float) -> Iterator[bytes]:
    """Yield the body as it comes; raises ProtocolError beyond the limit of bytes or time."""
    import urllib3

    size = 0
    while True:
        try:
            chunk = response.raw.read1(_BLOCK)
        except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
            raise ProtocolError("the answer did not end in time", timed_out=True) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ProtocolError("the connection was cut in the middle of the answer", refused=True) from error
        if not chunk:
            return
        size += len(chunk)
        if size > BODY_LIMIT_BYTES:
            raise ProtocolError(f"the answer is larger than {BODY_LIMIT_BYTES} bytes")
        if time.monotonic() > deadline:
            raise ProtocolError("the answer did not end in time", timed_out=True)
        yield chunk


def refuse_failure(response: "requests.Response", chunks: Iterator[bytes]) -> None:
    """Raise ProtocolError for a redirect, and for any status but 200, with what the server says."""
    status = int(response.status_code)
    if status in _REDIRECTS:
        raise ProtocolError(f"HTTP {status}: it redirects; give the final address", status=status)
    if status != _OK:
        text = b"".join(chunks)
        raise ProtocolError(f"HTTP {status}: {_said(text)}", status=status)


def _said(text: bytes) -> str:
    """The server's own error sentence where it has one."""
    document = decoded(text) or {}
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else error or document.get("message")
    return shown(message.encode(), 300) if isinstance(message, str) else shown(text)


def decoded(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body; None where there is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield whole lines, without their ends, as soon as they are complete."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def shown(text: bytes, limit: int = 120) -> str:
    """Return the start of a body for an error message, without control characters."""
    start = text[:limit].decode("utf-8", "replace")
    return repr("".join(letter if letter.isprintable() else " " for letter in start)) if text else "nothing"
