"""Data on stdout, everything for people on stderr. Nothing else prints."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

import click
import msgspec

from deployer import __version__
from deployer.cli import layout
from deployer.errors import DeployerError, PreconditionError


def document(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def document_line(value: object) -> None:
    """One JSON document on one line of stdout, sent at once: for those who read along."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def tell(text: str, *, nl: bool = True) -> None:
    """A line on stderr. Where nobody can read it any more (a closed pipe, a terminal that is gone) the work goes on."""
    try:
        click.echo(text, nl=nl, err=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Let what is written and still to be written to a stream that failed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def confirm(question: str, hint: str = "add --yes") -> None:
    """Ask on stderr. click.Abort for a no, PreconditionError where nobody can be asked."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise PreconditionError("there is no terminal to ask for a yes", hint=hint)
    click.confirm(question, abort=True, err=True)


def failure(error: DeployerError, *, as_json: bool) -> None:
    """What happened and why, the last log lines where there are any, and the next command."""
    if as_json:
        _last_document(_failure_document(error))
    tell(f"{click.style('error:', fg='red', bold=True)} {printable(error.message)}")
    for line in _lines(error.details.get("log_tail")):
        tell(f"  | {printable(line)}")
    if error.hint:
        tell(f"{click.style('next:', bold=True)}  {printable(error.hint)}")


def _last_document(value: object) -> None:
    """The document of a failure, which may be that stdout cannot be written: the exit code says it all the same."""
    try:
        document(value)
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)


def _failure_document(error: DeployerError) -> dict[str, object]:
    """The `error` document; when nothing fits, `rejected` stands beside it as in a plan."""
    words = {"kind": error.kind, "message": error.message, "hint": error.hint, "details": error.details}
    beside = {"rejected": error.details["rejected"]} if "rejected" in error.details else {}
    return {"format_version": 1, "error": words, **beside}


def _lines(value: object) -> list[str]:
    return [str(line) for line in value] if isinstance(value, (list, tuple)) else []


def bug_report(args: list[str], *, as_json: bool) -> None:
    """A report that can be pasted: version, command and traceback, between two fences."""
    import platform
    import traceback

    trace = traceback.format_exc()
    if as_json:
        last = trace.splitlines()[-1]
        _last_document({"format_version": 1, "error": {"kind": "bug", "message": last, "hint": "", "details": {}}})
    tell(
        "This is a bug in deployer. Please report what follows:\n\n"
        f"```\ndeployer {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"$ deployer {' '.join(args)}\n{trace}```"
    )


def printable(text: str) -> str:
    """Text from outside with its control characters escaped, so that it cannot drive a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def columns(stream: TextIO) -> int | None:
    """Columns of the terminal; None for a file or a pipe, where lines are as long as they are."""
    return _width() if stream.isatty() else None


def _width() -> int:
    import shutil  # only for a terminal: it brings every archive format

    return shutil.get_terminal_size().columns


def lines(texts: Iterable[str], *, err: bool = False) -> None:
    """Lines of a page, wrapped on a terminal; what begins with `next:` is there to be copied, and stays whole."""
    width = columns(sys.stderr if err else sys.stdout)
    for text in texts:
        shown = printable(text)
        for piece in [shown] if shown.startswith("next:") else layout.wrapped(shown, width):
            click.echo(piece, err=err)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table, on a narrow terminal in another form (see `layout.table`)."""
    for line in layout.table(header, rows, columns(sys.stdout)):
        click.echo(line)


class Progress:
    """Progress for a person: a line a step with its seconds, on stderr. Quiet prints notes only.

    That nobody reads it never decides how a change ends: see `tell`.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._live = sys.stderr.isatty() and not quiet

    def step(self, text: str) -> None:
        """A step begins: shown only where it can be overwritten."""
        self._transient(f"… {text}")

    def clear(self) -> None:
        """Take away what could be overwritten."""
        self._transient("")

    def done(self, text: str, seconds: float) -> None:
        """A step ended well."""
        self._transient("")
        if not self._quiet:
            tell(f"{click.style('✓', fg='green')} {printable(text)}  {click.style(f'{seconds:.1f} s', dim=True)}")

    def detail(self, text: str) -> None:
        """A line of progress inside the step."""
        if self._verbose and not self._quiet:
            tell(f"  | {printable(text)}")
        else:
            self._transient(f"… {text}")

    def note(self, text: str) -> None:
        """Something the reader has to know."""
        self._transient("")
        tell(f"{click.style('!', fg='yellow')} {printable(text)}")

    def _transient(self, text: str) -> None:
        if self._live:
            room, shown = _width() - 1, printable(text)
            tell("\r\033[K" + (shown if len(shown) <= room else f"{shown[: room - 1]}…"), nl=False)
