"""The process's edge: signals, exit codes, and one clear line for each expected failure."""

import errno
import os
import signal
import sys
from types import FrameType

import click

from deployer.cli import commands, output
from deployer.errors import (
    BadInputError,
    DeployerError,
    InterruptedByUserError,
    PreconditionError,
    did_you_mean,
    nearest,
)


def main() -> None:
    """Run the command line and exit with the documented code."""
    _reopen()
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` wants it to go on
        signal.signal(signal.SIGHUP, _terminated)
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command line; returns its exit code."""
    if not args:
        args = ["--help"]
    try:
        code = commands.group.main(args=args, prog_name="deployer", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        output.silence(sys.stdout)
        return 0
    except SystemExit:
        return 0  # click's own answer to a closed pipe, and the end of a shell completion
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: a bug becomes a report
        return _failed(error, args)
    return code if isinstance(code, int) else 0


def _failed(error: BaseException, args: list[str]) -> int:
    as_json = "--json" in args
    expected = _expected(error)
    if expected is None:
        output.bug_report(args, as_json=as_json)
        return 1
    output.failure(expected, as_json=as_json)
    return expected.exit_code


def _expected(error: BaseException) -> DeployerError | None:
    """The failure in our own words, or None for a bug."""
    match error:
        case DeployerError():
            return error
        case click.exceptions.Abort() | KeyboardInterrupt():
            return InterruptedByUserError("interrupted")
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return PreconditionError(
                "no space is left on the disk", hint="df -h shows which; make room and run it again"
            )
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else "deployer"
            return BadInputError(_usage(error), hint=f"{where} --help")
        case click.ClickException():
            return BadInputError(error.format_message(), hint="deployer --help")
        case _:
            return None


def _usage(error: click.UsageError) -> str:
    """Click's own words; what was meant by an unknown option or subcommand is said as everywhere."""
    word = getattr(error, "option_name", None) or getattr(error, "command_name", None)
    possible = getattr(error, "possibilities", None)
    if word is None or not possible:
        return error.format_message()
    return error.message.removesuffix(".") + did_you_mean(nearest(word, possible))


def _reopen() -> None:
    """What goes to a stream that was closed before the start (`2>&-`) goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _terminated(number: int, _frame: FrameType | None) -> None:
    """What was begun is undone. A second SIGTERM ends it at once; a second SIGHUP comes with every closed terminal."""
    signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
    error = InterruptedByUserError("the terminal is gone" if number == signal.SIGHUP else "terminated")
    error.exit_code = 128 + number
    raise error
