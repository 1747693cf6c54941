"""Trial of ranking texts against a query."""

from deployer.health.answers import ProtocolError
from deployer.health.scores import ANSWERS, QUERY, RERANK, TEXTS, said
from deployer.health.trial import Live, NotSupported, refused


def rerank(live: Live) -> str:
    """Each text gets a score of its own. A server that tells what its model is for is not asked in vain: one dies."""
    if live.capabilities.reranker is not None and not live.reranker:
        raise NotSupported(f"{live.title} says that its model is no reranker")
    try:
        scores = live.client.rerank(QUERY, TEXTS, model=live.model)
    except ProtocolError as error:
        raise (error if live.reranker else refused(error, RERANK)) from error
    live.ranks = True
    live.reranker = live.reranker or live.capabilities.ranks_alone
    skill = "is" if max(scores) == scores[ANSWERS] else "is not (the model's skill, not the server's)"
    return f"scores {said(scores)} for {len(TEXTS)} texts; the highest {skill} that of the one that answers"
