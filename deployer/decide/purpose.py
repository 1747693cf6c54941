"""What a model is served for where nobody said it."""

import msgspec

from deployer.types import ModelSpec, Request


def settled(request: Request, model: ModelSpec) -> Request:
    """The request with the workload that follows from the model: one that only embeds is served for embeddings."""
    if not model.embedding or request.workload_asked or request.workload != "chat":
        return request
    return msgspec.structs.replace(request, workload="embedding")


def embeds_by_itself(asked: Request, served: Request) -> str | None:
    """The sentence for a workload that was not asked for."""
    if asked.workload == served.workload:
        return None
    return (
        f"{asked.model} answers with vectors and cannot chat, so it is served for embeddings (POST /v1/embeddings); "
        "--workload embedding says so plainly"
    )
