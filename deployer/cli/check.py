"""`deployer check`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import completing, options, output
from deployer.errors import DeployerError, InterruptedByUserError
from deployer.paths import home

if TYPE_CHECKING:
    from deployer.workflow.checking import CapabilityResult, CheckReport, Target

_MARKS = {"works": "✓", "not supported": "-", "not run": "-", "broken": "✗"}


@click.command()
@click.argument("name", required=False, shell_complete=completing.deployment)
@click.option("--url", help="Base URL of any OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1.")
@click.option("--key-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the API key.")
@click.option("--model", help="Model name to ask for (default: the server's first).")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of one request (default: planned, or as told).")
@click.option("--timeout", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds for all checks.")
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, *, name: str | None, timeout: float, as_json: bool, **wishes: Any) -> None:
    """Ask a live server to show each capability; exit 6 when one that it claims is broken."""
    from deployer.workflow import checking

    server = checking.target(home(), name, **wishes)
    results: list[CapabilityResult] = []
    report, error = _run(server, timeout, results, quiet=as_json)
    if error is None and (broken := checking.broken(results)):
        error = checking.failure(server, broken)
    if as_json:
        output.document(_document(server, report, results, error))
    else:
        _table(results)
    if error is not None:
        output.failure(error, as_json=False)
        ctx.exit(error.exit_code)


def _run(
    server: "Target", timeout_s: float, results: list["CapabilityResult"], *, quiet: bool
) -> tuple["CheckReport | None", DeployerError | None]:
    """Fill `results` as they come; with the error of an interruption, which leaves those that came before it."""
    from deployer.workflow import checking

    progress = output.Progress(quiet=quiet)
    try:
        return checking.check(server, timeout_s=timeout_s, on_start=progress.step, on_result=results.append), None
    except KeyboardInterrupt:
        return None, InterruptedByUserError("interrupted: the checks that are not shown were not made")
    except InterruptedByUserError as error:
        return None, error
    finally:
        progress.clear()


def _document(
    server: "Target",
    report: "CheckReport | None",
    results: Sequence["CapabilityResult"],
    error: DeployerError | None,
) -> dict[str, object]:
    """One document, whatever happened: `complete` says whether every check was made."""
    complete = report is not None and not any(item.status == "not run" for item in results)
    found = {
        "format_version": 1,
        "base_url": server.base_url,
        "engine": None if report is None else report.engine,
        "model": server.model if report is None else report.model,
        "context": server.context if report is None else report.context,
        "complete": complete,
        "checks": results,
    }
    if error is None:
        return found
    words = {"kind": error.kind, "message": error.message, "hint": error.hint, "details": error.details}
    return {**found, "error": words}


def _table(results: Sequence["CapabilityResult"]) -> None:
    """A line each; nothing of it was shown before."""
    output.table(
        ("CAPABILITY", "STATUS", "SECONDS", "EVIDENCE"),
        [
            (item.name, f"{_MARKS[item.status]} {item.status}", f"{item.seconds:.2f}", output.printable(item.detail))
            for item in results
        ],
    )
