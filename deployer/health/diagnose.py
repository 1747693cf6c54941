"""Why a server failed, in one sentence, from its log and its exit status."""

import re
from collections.abc import Sequence

from deployer.types import FailureSignature, Value

LINES = 20
_LINE_LIMIT = 500
_OURS = "deployer: "  # what a supervisor of ours adds to a log

# ECMA-48 escape sequences, then what is left of C0, DEL, C1 and bidirectional overrides.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# The last line of a Python traceback.
_EXCEPTION = re.compile(r"(?<!\w)[A-Z]\w*(?:Error|Exception): \S")

# Docker's 125, and 128 + signal (bash(1) EXIT STATUS, signal(7)).
_EXITS: dict[int, tuple[str, str]] = {
    125: ("Docker could not create or start the container (exit status 125)", "deployer probe"),
    126: (
        "the program in the image cannot be executed (exit status 126)",
        "choose another image: deployer plan MODEL --explain",
    ),
    127: ("the program is not in the image or not installed (exit status 127)", "deployer probe"),
    132: (
        "the program uses a processor instruction that this CPU lacks (SIGILL, exit status 132)",
        "choose an image for this CPU: deployer plan MODEL --explain",
    ),
    134: (
        "the program gave up on an internal error (SIGABRT, exit status 134)",
        "read the last lines of the log: deployer logs",
    ),
    135: (
        "the program could not reach mapped memory (SIGBUS, exit status 135): shared memory or disk is too small",
        "give it more shared memory, and check the disk: deployer probe",
    ),
    137: (
        "the program was killed from outside (SIGKILL, exit status 137), often by the kernel for lack of memory",
        "ask for less context or fewer users, or a smaller quantization",
    ),
    139: (
        "the program crashed (SIGSEGV, exit status 139)",
        "choose another image or version: deployer plan MODEL --explain",
    ),
    143: ("the program was asked to end (SIGTERM, exit status 143)", "start it again: deployer up"),
}
_OUT_OF_MEMORY = (
    "the kernel killed the program because it reached its memory limit",
    "ask for less context or fewer users, or a smaller quantization",
)


class Diagnosis(Value, frozen=True, kw_only=True):
    """The cause in one sentence, the way out, and the lines that show it (the matching one and the last ones).

    `known` is False when neither the log nor the exit status has a meaning that we know: what was seen from outside
    is then the better sentence. `evidence` is the log line that a signature matched.
    """

    cause: str
    hint: str
    lines: tuple[str, ...]
    known: bool = True
    evidence: str | None = None


def diagnose(
    log_text: str,
    exit_code: int | None,
    oom_killed: bool | None,  # noqa: FBT001 - a fact of the container, like the exit status before it
    signatures: Sequence[FailureSignature],
) -> Diagnosis:
    """Name the cause: the memory killer, else the first signature of the list that is in the log, else the exit status.

    Signatures are in order of priority, wrappers last. Patterns are searched line by line. The evidence of a final one
    is the exception that it goes on to tell, if any: the engine's own word for what nobody foresaw.
    """
    lines = [line for line in clean(log_text).split("\n") if line.strip()]
    last = tuple(lines[-LINES:])
    if oom_killed:
        return Diagnosis(cause=_OUT_OF_MEMORY[0], hint=_OUT_OF_MEMORY[1], lines=last)
    for signature in signatures:
        found = _evidence(signature, lines)
        if found is not None:
            shown = last if found in last else (found, *last[1:])
            return Diagnosis(cause=signature.cause, hint=signature.hint, lines=shown, evidence=found.strip())
    cause, hint = _from_status(exit_code, last)
    return Diagnosis(cause=cause, hint=hint, lines=last, known=exit_code in _EXITS)


def _evidence(signature: FailureSignature, lines: Sequence[str]) -> str | None:
    pattern = re.compile(signature.pattern)
    place = next((place for place, line in enumerate(lines) if pattern.search(line)), None)
    if place is None:
        return None
    told = (line for line in lines[place:] if _EXCEPTION.search(line))
    return next(told, lines[place]) if signature.final else lines[place]


def clean(text: str) -> str:
    """Return `text` without escape sequences and control characters, lines cut at 500 characters; tabs stay."""
    plain = _CONTROL.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))
    return "\n".join(line[:_LINE_LIMIT] for line in plain.split("\n"))


def exit_in_words(exit_code: int | None, *, oom_killed: bool | None) -> str:
    """Say what an exit status means, without a log."""
    if oom_killed:
        return _OUT_OF_MEMORY[0]
    if exit_code is None:
        return "the server ended"
    return _EXITS[exit_code][0] if exit_code in _EXITS else f"the server ended with exit status {exit_code}"


def _from_status(exit_code: int | None, last: tuple[str, ...]) -> tuple[str, str]:
    if exit_code is not None and exit_code in _EXITS:
        return _EXITS[exit_code]
    own = [line for line in last if not line.startswith(_OURS)]
    said = f"; its last line: {own[-1]}" if own else " and wrote nothing"
    hint = "read the log: deployer logs"
    if exit_code is None:
        return f"no known cause is in the log{said}" if own else "the log is empty", hint
    return f"the server ended with exit status {exit_code}{said}", hint
