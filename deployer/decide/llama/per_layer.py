"""Embeddings that every layer adds of its own (Gemma 3n and 4) as operations.

Source: llama.cpp b11434 src/models/gemma4.cpp and gemma3n.cpp, `build_inp_per_layer` and `project_per_layer_inputs`.
"""

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.graph import FLOAT, Graph, inplace, new, part, reshape, weighted
from deployer.decide.llama.settings import LATE_SCALING
from deployer.decide.llama.work import Work
from deployer.types import Architecture


def layer_rows(graph: Graph, architecture: Architecture, tokens: int, *, on_gpu: bool) -> Tensor:
    """Embeddings of all layers for each token (Gemma 3n and 4), copied to a GPU from main memory."""
    layout = (architecture.per_layer_embedding * architecture.layers, tokens)
    if on_gpu:
        return graph.input(layout[0] * tokens * FLOAT, layout)
    return graph.expand(new(layout, graph.input(tokens * FLOAT)))


def per_layer(work: Work, current: Tensor, rows: Tensor) -> Tensor:
    """What each layer adds: `rows`, and what is projected from the token's own vector."""
    architecture, tokens = work.architecture, work.tokens
    width = architecture.per_layer_embedding * architecture.layers
    each = (architecture.per_layer_embedding, architecture.layers, tokens)
    if architecture.name == "gemma4" and work.settings.build >= LATE_SCALING:
        chosen = reshape(inplace(rows), each)
    else:
        chosen = work.graph.expand(inplace(reshape(rows, each)))
    projected = reshape(inplace(work.matrix(current, width)), each)
    summed = inplace(inplace(weighted(projected), chosen))
    return new((width, tokens), part(summed, (architecture.per_layer_embedding, tokens, architecture.layers)))
