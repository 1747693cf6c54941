"""What one micro-batch works on, as the layers see it."""

import msgspec

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.graph import Graph, new, plain
from deployer.decide.llama.settings import LlamaSettings
from deployer.decide.llama.traits import Traits
from deployer.types import Architecture


class Work(msgspec.Struct, frozen=True):
    """The graph, what all layers read (by window: masks, numbers of cells, rotations of keys and of values), and facts.

    `tokens` are computed at once. `weight_bytes` and `expert_bytes` are the bytes of one weight that is not on the
    device that computes: such a matrix is copied there just before its product, and so are the keys and values of its
    layer (ggml/src/ggml-backend.cpp, `need_new_split`); 0: they are where they are used.
    `half_copies`: attention copies its keys and values to 16 bits first.
    """

    graph: Graph
    architecture: Architecture
    settings: LlamaSettings
    traits: Traits
    tokens: int
    positions: Tensor
    masks: dict[int, Tensor]
    cells: dict[int, tuple[Tensor, Tensor]]
    rotations: dict[int, tuple[Tensor | None, Tensor | None]]
    copies: Tensor
    weight_bytes: float = 0.0
    expert_bytes: float = 0.0
    half_copies: bool = False

    def matrix(self, source: Tensor, width: int) -> Tensor:
        """Product of `source` with a weight matrix that gives `width` elements a row."""
        inner, *rows = plain(source.layout)
        if not self.weight_bytes:
            return new((width, *rows), source)
        return new((width, *rows), source, *self.copied(self.weight_bytes, inner * width))

    def expert_matrix(self, source: Tensor, chosen: Tensor, width: int) -> Tensor:
        """Product with the matrices of the experts that each token has chosen, which are copied all."""
        used, tokens = chosen.layout[0], chosen.layout[1]
        weights = source.layout[0] * width * self.architecture.experts
        return new((width, used, tokens), source, chosen, *self.copied(self.expert_bytes, weights))

    def turned(self, layer: int) -> bool:
        """Whether queries and keys of `layer` are turned by their positions."""
        if self.traits.turned == "windows":
            return bool(self.architecture.windows[layer])
        return self.traits.turned == "all"

    def copied(self, each: float, count: int) -> tuple[Tensor, ...]:
        """A copy of `count` elements of `each` bytes, where they are elsewhere."""
        return (Tensor(int(each * count), ()),) if each else ()

    def kv_heads(self, layer: int) -> int:
        """Key and value heads of `layer`."""
        each = self.architecture.kv_heads_by_layer
        return each[layer] if each else self.architecture.kv_heads

    def feed_forward(self, layer: int) -> int:
        """Width of the dense feed-forward part of `layer`."""
        each = self.architecture.feed_forward_by_layer
        return each[layer] if each else self.architecture.feed_forward
