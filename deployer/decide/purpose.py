"""What a model is served for where nobody said it."""

import msgspec

from deployer.types import ModelSpec, Request
from deployer.types.encoder import is_encoder


def settled(request: Request, model: ModelSpec) -> Request:
    """The request with what follows from the model: one that only embeds or ranks is served for that.

    An encoder reads a text whole, and so does whatever makes one score of all of it.
    """
    by_itself = model.embedding and not request.workload_asked and request.workload == "chat"
    workload = "embedding" if by_itself else request.workload
    whole = workload == "embedding" and (is_encoder(model.architecture.name) or model.reranker)
    return msgspec.structs.replace(request, workload=workload, ranks=model.reranker, whole_texts=whole)


def embeds_by_itself(asked: Request, served: Request) -> str | None:
    """The sentence for a workload that was not asked for; for a reranker there is no other word to say it with."""
    if asked.workload == served.workload or served.ranks:
        return None
    return (
        f"{asked.model} answers with vectors and cannot chat, so it is served for embeddings (POST /v1/embeddings); "
        "--workload embedding says so plainly"
    )


def ranks(request: Request) -> tuple[str, ...]:
    """The reason for the endpoint of a reranker."""
    if not request.ranks:
        return ()
    return (f"{request.model} ranks texts against a query (POST /v1/rerank): it has no chat and makes no vectors",)
