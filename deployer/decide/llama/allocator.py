"""How ggml places the tensors of a graph in one buffer: the size of that buffer is the compute buffer of the log.

Source: llama.cpp b11434 ggml/src/ggml-alloc.c (`ggml_dyn_tallocr_alloc`, `ggml_gallocr_allocate_node`). A tensor takes
the smallest hole that holds it, an operation may write over its only source of the same layout, and a tensor is freed
after its last reader.
"""

from collections.abc import Sequence

ALIGNMENT = 128
_LAST = ALIGNMENT - 1
_FAR = 1 << 60


class Tensor:
    """One tensor of a graph: its layout, its bytes, what it reads, and whether it may overwrite a source.

    `view_of` is the tensor whose memory it shows. A tensor with `size` 0 lives elsewhere (weights, caches).
    """

    __slots__ = (
        "allocated",
        "children",
        "known",
        "layout",
        "offset",
        "overwrites",
        "placed",
        "size",
        "sources",
        "view_of",
        "views",
    )

    def __init__(
        self,
        size: int,
        layout: tuple[int, ...],
        sources: Sequence["Tensor"] = (),
        *,
        overwrites: bool = False,
        view_of: "Tensor | None" = None,
    ) -> None:
        self.size = (size + _LAST) & ~_LAST
        self.layout = layout
        self.sources = sources
        self.overwrites = overwrites
        self.view_of = view_of
        self.children = self.views = self.offset = 0
        self.allocated = self.placed = self.known = False

    def grow(self, size: int) -> None:
        """Something of `size` bytes lies behind the tensor and is freed with it."""
        self.size += (size + _LAST) & ~_LAST


class Arena:
    """Holes and size of one buffer that grows at its end."""

    def __init__(self) -> None:
        self.holes: list[list[int]] = [[0, _FAR]]
        self.size = 0

    def take(self, size: int) -> int:
        """Offset of a new tensor of `size` bytes: the smallest hole that holds it, else the end."""
        best = -1
        for index in range(len(self.holes) - 1):
            if self.holes[index][1] >= size and (best < 0 or self.holes[index][1] <= self.holes[best][1]):
                best = index
        hole = self.holes[best]
        offset = hole[0]
        hole[0] += size
        hole[1] -= size
        if not hole[1]:
            del self.holes[best]
        self.size = max(self.size, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free `size` bytes at `offset`, joined with the holes beside them."""
        index = 0
        while index < len(self.holes) and self.holes[index][0] < offset:
            index += 1
        self.holes.insert(index, [offset, size])
        if index + 1 < len(self.holes) and offset + size == self.holes[index + 1][0]:
            self.holes[index][1] += self.holes.pop(index + 1)[1]
        if index and self.holes[index - 1][0] + self.holes[index - 1][1] == offset:
            self.holes[index - 1][1] += self.holes.pop(index)[1]


def buffer_bytes(inputs: Sequence[Tensor], nodes: Sequence[Tensor]) -> int:
    """Bytes of the buffer that holds `inputs` from the start and `nodes` while they are read, in this order."""
    arena = Arena()
    for tensor in inputs:
        _place(arena, tensor)
    for node in nodes:
        if node.view_of is not None:
            node.view_of.views += 1
        for source in node.sources:
            source.children += 1
    for node in nodes:
        if node.size and node.view_of is None:
            _place(arena, node)
        for source in node.sources:
            source.children -= 1
            if not source.children and not source.views and (source.allocated or source.view_of is not None):
                _release(arena, source)
    return arena.size


def _place(arena: Arena, tensor: Tensor) -> None:
    if tensor.placed:
        return
    tensor.placed = tensor.allocated = True
    if tensor.overwrites:
        for source in tensor.sources:
            if source.children == 1 and source.layout == tensor.layout and _reuse(arena, tensor, source):
                return
    tensor.offset = arena.take(tensor.size)


def _reuse(arena: Arena, tensor: Tensor, source: Tensor) -> bool:
    """Write over `source` (or what it shows), where nothing else reads it and the layout is the same."""
    if source.views:
        return False
    owner = source
    if source.view_of is not None:
        owner = source.view_of
        if owner.views != 1 or owner.children:
            return False
    if not owner.allocated or owner.size < tensor.size:
        return False
    tensor.offset, owner.allocated = owner.offset, False
    if owner.size > tensor.size:
        arena.give(owner.offset + tensor.size, owner.size - tensor.size)
    return True


def _release(arena: Arena, tensor: Tensor) -> None:
    if tensor.view_of is not None:
        owner = tensor.view_of
        owner.views -= 1
        if owner.views or owner.children:
            return
        tensor = owner
    if tensor.allocated:
        tensor.allocated = False
        arena.give(tensor.offset, tensor.size)
