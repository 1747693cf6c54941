"""Why figures are not to be trusted fully, said beside them."""

from collections.abc import Iterator, Mapping

from deployer.bench.latency import MOST_REQUESTS
from deployer.types.benchmark import SUITES, BenchLoad, BenchMark, BenchResults, LatencyResult, Suite, Tally

BUSY = 0.25
"""Part of the machine's processors that other programs may use (docs/decisions/0021)."""
CLIENT = 0.8
"""Part of one processor at which Python's threads begin to wait for each other."""
_COUNT = 0.02
_LENGTH = 0.1


def marks(load: BenchLoad, results: BenchResults) -> tuple[BenchMark, ...]:
    """All that the results themselves show."""
    found = [BenchMark(suite=suite, text=text) for suite, text in _errors(results)]
    if results.latency is not None:
        found += [BenchMark(suite="latency", text=text) for text in _latency(load, results.latency)]
    if results.users is not None and any(not point.cut for point in results.users.points):
        few = ", ".join(str(point.users) for point in results.users.points if not point.cut)
        text = f"too few requests to leave out the beginning and the end, with {few} users: --seconds allows more"
        found.append(BenchMark(suite="users", text=text))
    return tuple(found)


def busy(suite: Suite, others: float, client: float) -> tuple[BenchMark, ...]:
    """About the processors during a suite.

    `others`: part of the machine's processors that programs used which are neither the server nor this one; `client`:
    processors that this program used.
    """
    found = []
    if others >= BUSY:
        found.append(BenchMark(suite=suite, text=f"other programs used {others:.0%} of the processors"))
    if client >= CLIENT:
        text = f"this program used {client:.0%} of a processor: it may be what limits the figures"
        found.append(BenchMark(suite=suite, text=text))
    return tuple(found)


def strangers(processes: Mapping[str, int]) -> tuple[BenchMark, ...]:
    """About processes of others on the server's GPUs: how many by GPU."""
    texts = [f"{count} other process(es) hold memory of {gpu}" for gpu, count in processes.items() if count]
    return tuple(BenchMark(text=text) for text in texts)


def _errors(results: BenchResults) -> Iterator[tuple[Suite, str]]:
    for suite in SUITES:
        found = [one for one in tallies(results, suite) if one.failed]
        if found:
            failed, asked = sum(one.failed for one in found), sum(one.asked for one in tallies(results, suite))
            first = next(iter(found[0].errors))
            yield suite, f"{failed} of {asked} requests failed; the first: {first}"


def tallies(results: BenchResults, suite: Suite) -> tuple[Tally, ...]:
    """What became of the requests of a suite."""
    result = getattr(results, suite)
    if isinstance(result, LatencyResult):
        return (result.tally,)
    return tuple(point.tally for point in getattr(result, "points", ()))


def _latency(load: BenchLoad, found: LatencyResult) -> Iterator[str]:
    shortest, longest = found.output_tokens_min, found.output_tokens_max
    if shortest is not None and shortest < load.output_tokens * (1 - _LENGTH):
        yield f"answers had {shortest} to {longest} tokens, where {load.output_tokens} were asked for"
    counted = found.prompt_tokens.p50
    if counted is not None and abs(counted - load.input_tokens) > _LENGTH * load.input_tokens:
        yield f"prompts had {counted:g} tokens, where {load.input_tokens} were aimed at"
    if found.pieces_per_token is not None and found.pieces_per_token > 1 + _COUNT:
        yield f"{found.pieces_per_token:.2f} chunks with text for each token of `usage`: it counts too few"
    if 0 < found.tally.answered < min(MOST_REQUESTS, 30):
        yield f"only {found.tally.answered} requests were answered within {load.seconds:g} s: --seconds allows more"
