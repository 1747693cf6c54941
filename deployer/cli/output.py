"""Data on stdout, everything for people on stderr. Nothing else prints."""

import shutil
import sys
import traceback
from collections.abc import Sequence

import click
import msgspec

from deployer import __version__
from deployer.errors import DeployerError, PreconditionError


def document(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def document_line(value: object) -> None:
    """One JSON document on one line of stdout, sent at once: for those who read along."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def confirm(question: str, hint: str = "add --yes") -> None:
    """Ask on stderr. click.Abort for a no, PreconditionError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise PreconditionError("there is no terminal to ask for a yes", hint=hint)
    click.confirm(question, abort=True, err=True)


def failure(error: DeployerError, *, as_json: bool) -> None:
    """What happened and why, the last log lines where there are any, and the next command."""
    if as_json:
        document(_failure_document(error))
    click.echo(f"{click.style('error:', fg='red', bold=True)} {printable(error.message)}", err=True)
    for line in _lines(error.details.get("log_tail")):
        click.echo(f"  | {printable(line)}", err=True)
    if error.hint:
        click.echo(f"{click.style('next:', bold=True)}  {printable(error.hint)}", err=True)


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

    trace = traceback.format_exc()
    if as_json:
        last = trace.splitlines()[-1]
        document({"format_version": 1, "error": {"kind": "bug", "message": last, "hint": "", "details": {}}})
    click.echo(
        "This is a bug in deployer. Please report what follows:\n\n"
        f"```\ndeployer {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"$ deployer {' '.join(args)}\n{trace}```",
        err=True,
    )


def printable(text: str) -> str:
    """Text from outside with its control characters escaped, so that it cannot drive a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table: upper-case header, two spaces between columns, no borders."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Progress:
    """Progress for a person: a line a step with its seconds, on stderr. Quiet prints notes only."""

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
            click.echo(
                f"{click.style('✓', fg='green')} {printable(text)}  {click.style(f'{seconds:.1f} s', dim=True)}",
                err=True,
            )

    def detail(self, text: str) -> None:
        """A line of progress inside the step."""
        if self._verbose and not self._quiet:
            click.echo(f"  | {printable(text)}", err=True)
        else:
            self._transient(f"… {text}")

    def note(self, text: str) -> None:
        """Something the reader has to know."""
        self._transient("")
        click.echo(f"{click.style('!', fg='yellow')} {printable(text)}", err=True)

    def _transient(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns
            click.echo("\r\033[K" + printable(text)[: width - 1], nl=False, err=True)
