"""The operations of a graph in the order that ggml runs them, with the sizes of what they write.

Source: llama.cpp b11434 ggml/src/ggml.c (`ggml_build_forward_impl`): an operation comes after its sources, in their
order. Every element is a float of 4 bytes unless said otherwise.
"""

import math

from deployer.decide.llama.allocator import Tensor, buffer_bytes

FLOAT = 4
_STRIDED = -1


class Graph:
    """A graph under construction: tensors are made first and get their place in the order with `expand`.

    `first_value`: what all layers of RWKV 7 read of the first.
    """

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.nodes: list[Tensor] = []
        self.first_value: Tensor | None = None

    def buffer_bytes(self, copies: int = 1) -> int:
        """Bytes of the buffer that the graph needs. With several `copies` of its inputs, none is ever free again."""
        if copies > 1:
            for tensor in self.inputs:
                tensor.children += 1
        return buffer_bytes(self.inputs, self.nodes) + (copies - 1) * sum(tensor.size for tensor in self.inputs)

    def input(self, size: int, layout: tuple[int, ...] = ()) -> Tensor:
        """A tensor of `size` bytes that is there from the start."""
        tensor = Tensor(size, layout)
        self.inputs.append(tensor)
        tensor.known = True
        return tensor

    def expand(self, tensor: Tensor) -> Tensor:
        """Put `tensor` in the order, after everything it needs."""
        if not tensor.known:
            tensor.known = True
            for source in tensor.sources:
                if not source.known:
                    self.expand(source)
            self.nodes.append(tensor)
        return tensor


def new(layout: tuple[int, ...], *sources: Tensor) -> Tensor:
    """The result of an operation that needs memory of its own (matrix product, copy, attention)."""
    return Tensor(math.prod(layout, start=FLOAT), layout, sources)


def inplace(*sources: Tensor) -> Tensor:
    """The result of an operation that may write over a source (sum, product, norm, rotation); laid out as the first."""
    layout = plain(sources[0].layout)
    return Tensor(math.prod(layout, start=FLOAT), layout, sources, overwrites=True)


def reshape(source: Tensor, layout: tuple[int, ...]) -> Tensor:
    """The same elements, differently counted."""
    return Tensor(0, layout, (source,), view_of=source.view_of or source)


def part(source: Tensor, layout: tuple[int, ...]) -> Tensor:
    """Some of the elements, or all of them in another order: no operation on it writes over its source."""
    return Tensor(0, (*layout, _STRIDED), (source,), view_of=source.view_of or source)


def store(*sources: Tensor) -> Tensor:
    """A write into a cache, which needs no memory here."""
    return Tensor(0, (), sources)


def weighted(source: Tensor, *, layer_norm: bool = False) -> Tensor:
    """A norm and its weight. Only the root mean square norm writes over its source."""
    normed = new(plain(source.layout), source) if layer_norm else inplace(source)
    return Tensor(normed.size, normed.layout, (normed,), overwrites=True)


def plain(layout: tuple[int, ...]) -> tuple[int, ...]:
    """The counts of a layout, whether or not it is one of a part."""
    return layout[:-1] if layout and layout[-1] == _STRIDED else layout
