"""Every expected failure, with its exit code. `docs` and tests read this file as the list of what can go wrong.

An error says what happened and why in one message, and the next command in `hint`. `details` holds what a script
needs; it never holds a secret. The command line turns each into one clear line (or the `error` document of `--json`).
"""

from collections.abc import Iterable, Mapping


class DeployerError(Exception):
    """Base of all expected failures: `kind` is stable for scripts, `exit_code` is the process's."""

    kind = "bug"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})


class BadInputError(DeployerError):
    """Something the user wrote cannot be used: a flag, a name, a file."""

    kind, exit_code = "bad-input", 2


class ProfileError(BadInputError):
    """A profile, host file or configuration file has a wrong shape; the message starts with `file: path/in/file`."""

    kind = "bad-profile"


class ModelFileError(BadInputError):
    """A model file is cut short, hostile or not what it claims to be."""

    kind = "bad-model-file"


class UnknownModelError(BadInputError):
    """No model has this name; `details["nearest"]` lists what was probably meant."""

    kind = "unknown-model"


class PreconditionError(DeployerError):
    """The host is not ready for this: no Docker, port taken, no space."""

    kind, exit_code = "precondition", 3


class StalePlanError(PreconditionError):
    """A saved plan no longer matches the host or its own hash."""

    kind = "stale-plan"


class StateError(PreconditionError):
    """The state folder cannot be read or written, or was written by a newer version."""

    kind = "state"


class HubError(PreconditionError):
    """The model hub refused or could not be reached."""

    kind = "hub"


class ImageUnavailableError(PreconditionError):
    """An image could not be pulled or built; the message says which and why."""

    kind = "image-unavailable"


class NoFitError(DeployerError):
    """No engine fits this host and model; `details["rejected"]` has every reason."""

    kind, exit_code = "no-fit", 4


class LockedError(DeployerError):
    """Another change holds the lock; `details` says who and since when."""

    kind, exit_code = "locked", 5


class VerificationError(DeployerError):
    """A hash, digest or signature is not what was promised."""

    kind, exit_code = "verification", 6


class RolledBackError(DeployerError):
    """The change failed, and the previous release serves again."""

    kind, exit_code = "rolled-back", 7


class NotServingError(DeployerError):
    """The change failed, and nothing is serving."""

    kind, exit_code = "not-serving", 8


class StartError(DeployerError):
    """A started server did not become healthy. The workflow turns it into rolled-back or not-serving.

    `details` holds `cause` (one sentence), `log_tail` (last lines) and `container_exit_code` where there is one.
    """

    kind, exit_code = "start-failed", 8


class InterruptedByUserError(DeployerError):
    """Ctrl-C or SIGTERM; `exit_code` follows the signal."""

    kind, exit_code = "interrupted", 130


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """Up to three known words that look like `word`, best first, capitals aside; none that is much worse than the best.

    `cutoff` is difflib's, 0 to 1.
    """
    from difflib import SequenceMatcher, get_close_matches  # only for a word that is wrong

    by_folded = {item.casefold(): item for item in known}
    close = get_close_matches(word.casefold(), by_folded, n=3, cutoff=cutoff)
    likeness = [SequenceMatcher(None, match, word.casefold()).ratio() for match in close]
    pairs = zip(close, likeness, strict=True)
    return [by_folded[match] for match, ratio in pairs if ratio > likeness[0] - _MUCH_WORSE]


_MUCH_WORSE = 0.2


def did_you_mean(near: Iterable[str]) -> str:
    """The end of a sentence about a word that is wrong: `; did you mean A, B or C?`, or nothing."""
    *others, last = tuple(near) or ("",)
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if last else ""
