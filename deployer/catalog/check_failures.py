"""Failure signatures must be readable, and a final one must be sure of itself."""

import re
from collections.abc import Iterator, Sequence

from deployer.catalog.pattern import Problem
from deployer.types import FailureSignature

EVERYDAY = (
    *("", "error", "Error:", "ERROR", "WARNING", "warn", "failed", "Failed", "exception", "Exception", "fatal"),
    *("Traceback (most recent call last):", "RuntimeError: ", "ValueError: ", "ImportError: ", "timed out", "retrying"),
    *("Connection refused", "No such file or directory", "Permission denied", "Killed", "out of memory"),
    *("failed to load", "failed to start", "could not start", "initialization failed", "worker failed"),
    *("not supported", "shutting down", "exiting"),
)
"""What servers also write that then go on: no final pattern may be so general as to find one of these."""


def failure_problems(failures: Sequence[FailureSignature]) -> Iterator[Problem]:
    """Problems of a list of signatures, by place in it."""
    for index, signature in enumerate(failures):
        try:
            pattern = re.compile(signature.pattern)
        except re.error as error:
            yield f"{index}/pattern", f"not a regular expression: {error}"
            continue
        if not signature.final:
            continue
        if not (signature.source or "").strip():
            yield f"{index}/source", "a final line needs the place where it was seen or stands"
        if (found := next(filter(pattern.search, EVERYDAY), None)) is not None:
            yield f"{index}/pattern", f"too general to be final: it also finds {found!r}"
