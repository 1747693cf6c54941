"""`deployer bench`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options, output
from deployer.errors import BadInputError, did_you_mean, nearest
from deployer.paths import home

if TYPE_CHECKING:
    from deployer.types.benchmark import BenchRun
    from deployer.workflow.benching import Wish

_SUITES = "latency,batch,prompt,memory,users"
_SLO = "ttft:200,tpot:50"


@click.command()
@click.argument("name", required=False)
@click.option("--url", help="Base URL of any OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1.")
@click.option("--key-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the API key.")
@click.option("--model", help="Model name to ask for (default: the server's first).")
@click.option("--context", type=click.IntRange(min=64), help="Tokens of one request (default: planned, or as told).")
@click.option("--suite", default=_SUITES, show_default=True, help="Which measurements, separated by commas.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=20, show_default=True, help="Limit of each suite.")
@click.option("--users", type=click.IntRange(1, 64), help="Most requests at once (default: by the server's slots).")
@click.option("--input-tokens", type=click.IntRange(64, 1_000_000), default=128, show_default=True, help="Of a prompt.")
@click.option("--output-tokens", type=click.IntRange(2, 100_000), default=64, show_default=True, help="Of an answer.")
@click.option("--slo", default=_SLO, show_default=True, help="What counts as goodput, in ms.")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Folder: compare all runs in it.")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    name: str | None,
    suite: str,
    slo: str,
    report: Path | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Measure a live server: latency, batches, prompt lengths, memory, concurrent users.

    The same definitions for every engine; with --report also a comparison of all runs in a folder.
    """
    from deployer.workflow import benching

    server = {word: more.pop(word) for word in ("url", "key_file", "model", "context")}
    wish = _wish(suite, slo, **more)
    if report is not None:
        benching.ensure_report(report)
    progress = output.Progress(quiet=as_json)
    run, error = benching.measure(benching.subject(home(), name, **server), wish, progress)
    progress.clear()
    _show(run, as_json=as_json)
    if report is not None and run.first_request is not None and run.first_request.error is None:
        _say(benching.report(report, run, progress))
    if error is not None:
        output.failure(error, as_json=False)
        ctx.exit(error.exit_code)


def _wish(suite: str, slo: str, **numbers: Any) -> "Wish":
    """Raises BadInputError for a word that is none."""
    from deployer.types.benchmark import SUITES, Slo
    from deployer.workflow.benching import Wish

    words = [word.strip() for word in suite.split(",")]
    if unknown := [word for word in words if word not in SUITES]:
        meant = did_you_mean(nearest(unknown[0], SUITES))
        raise BadInputError(f"--suite {unknown[0]!r}: no such measurement{meant}", hint=f"--suite {','.join(SUITES)}")
    try:
        limits = {key.strip(): float(value) for key, _, value in (part.partition(":") for part in slo.split(","))}
        promised = Slo(ttft_ms=limits.pop("ttft"), tpot_ms=limits.pop("tpot"))
    except (KeyError, ValueError):
        limits, promised = {"": 0.0}, Slo(ttft_ms=0.0, tpot_ms=0.0)
    if limits or not 0 < promised.ttft_ms < float("inf") or not 0 < promised.tpot_ms < float("inf"):
        raise BadInputError(f"--slo {slo!r}: not two times in milliseconds", hint=f"--slo {_SLO}")
    return Wish(suites=tuple(word for word in SUITES if word in words), slo=promised, **numbers)


def _show(run: "BenchRun", *, as_json: bool) -> None:
    if as_json:
        output.document(run)
        return
    from deployer.cli import show_bench

    show_bench.show(run)


def _say(written: tuple[Path, ...]) -> None:
    for path in written:
        click.echo(f"wrote {output.printable(str(path))}", err=True)
