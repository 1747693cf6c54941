"""Latency: one request after the other."""

from collections.abc import Callable, Sequence

from deployer.bench.reply import Reply, answered, tally
from deployer.bench.session import Session
from deployer.bench.spread import rounded, spread
from deployer.types.benchmark import LatencyResult

MOST_REQUESTS = 100
"""So many make a p99; a server that answers them within the time is not asked more."""


def latency(session: Session, keep: Callable[[LatencyResult], None]) -> None:
    """Ask until there are 100 answers or the time is up. `keep` gets the result, also of a part when interrupted."""
    began_s = session.begin(session.load.seconds)
    heard: list[Reply] = []
    try:
        for one in session.many(1, session.until(began_s + session.load.seconds, MOST_REQUESTS)):
            heard.append(one.reply)
            session.tell(f"latency: {len(heard)} of at most {MOST_REQUESTS} requests")
    finally:
        keep(result(heard, session.since(began_s)))


def result(heard: Sequence[Reply], took_s: float) -> LatencyResult:
    """The figures of these replies."""
    good = answered(heard)
    outputs = [reply.output_tokens or 0 for reply in good]
    tpots = [reply.tpot_s for reply in good]
    return LatencyResult(
        took_s=took_s,
        tally=tally(heard),
        prompt_tokens=spread(reply.prompt_tokens for reply in good),
        output_tokens_min=min(outputs, default=None),
        output_tokens_max=max(outputs, default=None),
        ttft_s=spread(reply.ttft_s for reply in good),
        tpot_s=spread(tpots),
        itl_s=spread(gap for reply in good for gap in reply.gaps_s),
        e2e_s=spread(reply.e2e_s for reply in good),
        tokens_per_s=spread(1 / tpot for tpot in tpots if tpot),
        pieces_per_token=rounded(sum(len(reply.pieces_s) for reply in good) / sum(outputs)) if outputs else None,
    )
